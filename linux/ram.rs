// SPDX-License-Identifier: GPL-2.0

//! RAM that the hypervisor is told the frame numbers of.
//!
//! C header: `include/linux/gfp.h`

use crate::bindings;
use abi::{
    shared::RawMemory,
    types::Gfn, //
};
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// Bytes of a frame.
pub const FRAME: usize = 4096;

/// Zeroed frames, one after the other, freed on drop.
///
/// # Invariants
///
/// `base` is the start of `count` frames in the kernel's linear mapping, which belong to this value.
pub struct Ram {
    base: NonNull<u8>,
    count: usize,
    memory: RawMemory,
}

// SAFETY: The frames belong to the value alone, and memory belongs to no thread.
unsafe impl Send for Ram {}
// SAFETY: A shared value gives `RawMemory`, whose accesses are atomic, and frame numbers.
unsafe impl Sync for Ram {}

impl Ram {
    /// Allocates `count` frames.
    ///
    /// # Errors
    ///
    /// `EINVAL` for none, `ENOMEM`.
    pub fn new(count: usize) -> Result<Self> {
        let size = count.checked_mul(FRAME).ok_or(ENOMEM)?;
        if size == 0 {
            return Err(EINVAL);
        }
        let flags = kernel::bindings::GFP_KERNEL | kernel::bindings::__GFP_ZERO;
        // SAFETY: The function has no requirements.
        let base = unsafe { bindings::alloc_pages_exact_noprof(size, flags) };
        let base = NonNull::new(base.cast::<u8>()).ok_or(ENOMEM)?;
        // SAFETY: Frames are aligned and mapped until the drop of this value, and are reached only through `memory`.
        let memory = unsafe { RawMemory::new(base, size) };
        // INVARIANT: The allocator gave us these frames out of the linear mapping.
        Ok(Self {
            base,
            count,
            memory,
        })
    }

    /// The frames as shared memory.
    #[inline]
    pub fn memory(&self) -> &RawMemory {
        &self.memory
    }

    /// The frame numbers, in order.
    pub fn gfns(&self) -> impl Iterator<Item = Gfn> + '_ {
        // SAFETY: By the type invariants the address lies in the linear mapping.
        let first = unsafe { bindings::virt_to_gfn(self.base.as_ptr().cast()) };
        (first..).map(Gfn).take(self.count)
    }

    /// Never frees the frames: somebody else still uses them.
    pub fn leak(self) {
        let _ = ManuallyDrop::new(self);
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the frames are ours, and they are not used again.
        unsafe {
            bindings::free_pages_exact(self.base.as_ptr().cast(), self.count.wrapping_mul(FRAME));
        }
    }
}
