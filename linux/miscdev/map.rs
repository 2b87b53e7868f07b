// SPDX-License-Identifier: GPL-2.0

//! Pages of the kernel's in a program's memory: `mmap(2)` of a device.
//!
//! What a file hands out is alive as long as any part of the program's mapping: it is dropped when the page tables do not name
//! its pages any more. A page comes into them when the program touches it. They count as no pages to the rest of the kernel
//! (`VM_PFNMAP`), so nobody takes a reference to them through the mapping.
//!
//! C header: `include/linux/mm.h`

use kernel::{
    bindings,
    mm::virt::{
        flags,
        VmaRef, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

use crate::mm::pages::UserPage;

/// Pages that a program may have in its memory.
pub trait UserPages: Send + Sync + 'static {
    /// The page of this number; none past the last one.
    fn page(&self, index: usize) -> Option<UserPage<'_>>;
}

/// The pages of a device that cannot be mapped.
pub enum NoPages {}

impl UserPages for NoPages {
    fn page(&self, _index: usize) -> Option<UserPage<'_>> {
        match *self {}
    }
}

/// What a program wants to map.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// Where it begins in the file, in pages.
    pub first: u64,
    /// Where it is in the program's memory.
    pub address: usize,
    /// How many pages.
    pub count: usize,
    /// Whether what is written is seen by others.
    pub is_shared: bool,
    /// Whether the program may write. One that may not at first never may.
    pub is_writable: bool,
}

impl Area {
    /// # Safety
    ///
    /// The VMA is valid, and nobody changes it meanwhile.
    pub(super) unsafe fn of(vma: *const bindings::vm_area_struct) -> Self {
        // SAFETY: By the safety requirements.
        let (first, vma) = unsafe { ((*vma).vm_pgoff, VmaRef::from_raw(vma)) };
        Self {
            // CAST: `usize` has 64 bits.
            first: first as u64,
            address: vma.start(),
            count: vma.end().wrapping_sub(vma.start()) / PAGE_SIZE,
            is_shared: vma.flags() & flags::SHARED != 0,
            is_writable: vma.flags() & flags::WRITE != 0,
        }
    }
}

/// What a VMA points to: a counted reference.
pub(super) struct Mapping<P> {
    pages: Arc<P>,
    /// Where the first of them is in the file, in pages.
    first: u64,
}

impl<P: UserPages> Mapping<P> {
    const OPERATIONS: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::open),
        close: Some(Self::close),
        fault: Some(Self::fault),
        ..pin_init::zeroed()
    };

    /// Has a VMA show `pages`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a private mapping, of which the program would get copies; `ENOMEM`.
    ///
    /// # Safety
    ///
    /// Called by the VFS for a new VMA, by the last step of the mapping that can fail. The module that has this code stays
    /// loaded as long as the VMA's file is open.
    pub(super) unsafe fn set_up(
        vma: *mut bindings::vm_area_struct,
        area: &Area,
        pages: Arc<P>,
    ) -> Result {
        if !area.is_shared {
            return Err(EINVAL);
        }
        let mapping = Arc::new(
            Self {
                pages,
                first: area.first,
            },
            GFP_KERNEL,
        )?;
        // SAFETY: By the safety requirements the VMA is this caller's alone.
        unsafe {
            crate::bindings::vma_set_up(vma.cast(), area.is_writable);
            (*vma).vm_private_data = Arc::into_raw(mapping).cast_mut().cast();
            (*vma).vm_ops = &Self::OPERATIONS;
        }
        Ok(())
    }

    /// The mapping of a VMA.
    ///
    /// # Safety
    ///
    /// [`set_up`](Self::set_up) was called for the VMA, for the same `P`, or for one that it was split or copied from, and it
    /// is valid during `'a`.
    unsafe fn of<'a>(vma: *const bindings::vm_area_struct) -> &'a Self {
        // SAFETY: By the safety requirements; the VMA owns a reference until `close`, after which nobody uses it.
        unsafe { &*(*vma).vm_private_data.cast::<Self>() }
    }

    /// # Safety
    ///
    /// Called by the kernel for a VMA that was split or copied from one that was set up.
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The pointer is that of an `Arc`, of which the VMA that this is a copy of has a reference.
        let mapping = unsafe { ArcBorrow::from_raw((*vma).vm_private_data.cast::<Self>()) };
        // The copy owns another, which is the same pointer.
        let _ = Arc::into_raw(Arc::from(mapping));
    }

    /// # Safety
    ///
    /// Called by the kernel once for each VMA, when the page tables name nothing of it any more.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The VMA's own reference, which is given up here.
        drop(unsafe { Arc::from_raw((*vma).vm_private_data.cast::<Self>()) });
    }

    /// # Safety
    ///
    /// Called by the kernel for a VMA that was set up, which stays as it is meanwhile.
    unsafe extern "C" fn fault(fault: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: By the safety requirements.
        let (vma, place, address) = unsafe {
            let at = (*fault).__bindgen_anon_1;
            (at.vma, at.pgoff, at.address)
        };
        // SAFETY: As above.
        let mapping = unsafe { Self::of(vma) };
        let page = (place as u64)
            .checked_sub(mapping.first)
            .and_then(|index| mapping.pages.page(usize::try_from(index).ok()?));
        match page {
            // SAFETY: The VMA was set up for frames; the page stays allocated as long as `pages` lives, which the VMA keeps.
            Some(page) => unsafe { bindings::vmf_insert_pfn(vma, address, page.gfn().0 as usize) },
            None => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
        }
    }
}
