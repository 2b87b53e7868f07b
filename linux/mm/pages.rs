// SPDX-License-Identifier: GPL-2.0

//! Whole pages of our own, to be shared with a peer or to be replaced by Xen's.
//!
//! C header: `include/linux/gfp.h`

use crate::bindings;
use abi::{
    shared::RawMemory,
    types::Gfn, //
};
use core::{
    marker::PhantomData,
    mem,
    ptr::NonNull, //
};
use kernel::prelude::*;

pub use abi::types::PAGE_SIZE;

// Pages are shared whole.
const _: () = assert!(PAGE_SIZE == kernel::page::PAGE_SIZE);

/// One page, freed on drop.
///
/// # Invariants
///
/// `base` is the address of a page that is allocated on its own and belongs to this value.
pub struct OwnedPage {
    base: NonNull<u8>,
}

// SAFETY: The page belongs to the value alone, and pages belong to no thread.
unsafe impl Send for OwnedPage {}
// SAFETY: A shared `OwnedPage` gives nothing but the frame number.
unsafe impl Sync for OwnedPage {}

impl OwnedPage {
    /// The frame number of the page.
    pub fn gfn(&self) -> Gfn {
        // SAFETY: By the type invariants this is the address of a page.
        Gfn(unsafe { bindings::page_frame(bindings::page_of(self.base.as_ptr().cast())) })
    }
}

impl Drop for OwnedPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the page is allocated on its own and ours, and it is not used again.
        unsafe { bindings::free_pages_exact(self.base.as_ptr().cast(), PAGE_SIZE) };
    }
}

/// A page that a program may have in its memory, as long as what it was borrowed from is.
pub struct UserPage<'a> {
    gfn: Gfn,
    _pages: PhantomData<&'a OwnedPages>,
}

impl UserPage<'_> {
    pub(crate) fn gfn(&self) -> Gfn {
        self.gfn
    }
}

/// Contiguous zeroed pages, freed on drop.
///
/// # Invariants
///
/// `memory` covers `count` pages from `base` on, which belong to this value; each is allocated on its own, so that any
/// of them can be freed without the others.
pub struct OwnedPages {
    base: NonNull<u8>,
    count: usize,
    memory: RawMemory,
}

// SAFETY: The pages belong to the value alone, and pages belong to no thread.
unsafe impl Send for OwnedPages {}
// SAFETY: A shared value gives `RawMemory`, whose accesses are atomic, and frame numbers.
unsafe impl Sync for OwnedPages {}

impl OwnedPages {
    /// Allocates `count` zeroed pages. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` for none, `ENOMEM`.
    pub fn new(count: usize) -> Result<Self> {
        let size = count.checked_mul(PAGE_SIZE).ok_or(ENOMEM)?;
        if size == 0 {
            return Err(EINVAL);
        }
        // SAFETY: The function has no requirements.
        let base = unsafe { bindings::pages_alloc(size) };
        let base = NonNull::new(base.cast::<u8>()).ok_or(ENOMEM)?;
        // SAFETY: Pages are aligned and mapped until freed, which the drop of this value does; they are reached only
        // through `memory`.
        let memory = unsafe { RawMemory::new(base, size) };
        // INVARIANT: The allocator splits the block into pages of their own.
        Ok(Self {
            base,
            count,
            memory,
        })
    }

    /// How many pages.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The pages as shared memory.
    pub fn memory(&self) -> &RawMemory {
        &self.memory
    }

    /// The frame numbers of the pages, in order.
    pub fn gfns(&self) -> impl Iterator<Item = Gfn> + '_ {
        // SAFETY: By the type invariants this is the address of a page.
        let first = unsafe { bindings::page_frame(bindings::page_of(self.base.as_ptr().cast())) };
        (first..).map(Gfn).take(self.count)
    }

    /// The address of the first page, if there is one.
    pub(crate) fn first(&self) -> Option<NonNull<u8>> {
        (self.count > 0).then_some(self.base)
    }

    /// The page of this number, for a program, which reaches it as a peer does.
    pub fn user_page(&self, index: usize) -> Option<UserPage<'_>> {
        self.gfns().nth(index).map(|gfn| UserPage {
            gfn,
            _pages: PhantomData,
        })
    }

    /// Never frees the pages: somebody else still uses them.
    pub fn leak(self) {
        mem::forget(self);
    }

    /// Takes all pages out, each on its own; none is left. Pages that the iterator does not come to are leaked.
    pub fn take(&mut self) -> impl Iterator<Item = OwnedPage> {
        let (base, count) = (self.base, self.count);
        // INVARIANT: No page is left here, so each belongs to the one `OwnedPage` made below.
        self.count = 0;
        // SAFETY: No byte is covered.
        self.memory = unsafe { RawMemory::new(base, 0) };
        (0..count).map(move |index| OwnedPage {
            // INVARIANT: The page was allocated on its own, as an invariant of the block says.
            // SAFETY: `index` is below the count of pages of the block.
            base: unsafe { base.add(index.wrapping_mul(PAGE_SIZE)) },
        })
    }
}

impl Drop for OwnedPages {
    fn drop(&mut self) {
        if self.count == 0 {
            return;
        }
        // SAFETY: By the type invariants the pages are ours, and they are not used again.
        unsafe {
            bindings::free_pages_exact(
                self.base.as_ptr().cast(),
                self.count.wrapping_mul(PAGE_SIZE),
            );
        }
    }
}

#[kunit_tests(oxen_pages)]
mod tests {
    use super::*;
    use abi::shared::Memory;

    #[test]
    fn pages_are_zeroed_and_written_to_their_last_byte() -> Result {
        let pages = OwnedPages::new(3)?;
        let memory = pages.memory();
        assert_eq!((pages.count(), memory.size()), (3, 3 * PAGE_SIZE));
        let mut last = [1u8; 8];
        memory.read(3 * PAGE_SIZE - 8, &mut last);
        assert_eq!(last, [0; 8]);
        memory.write(3 * PAGE_SIZE - 1, &[0x5a]);
        memory.read(3 * PAGE_SIZE - 8, &mut last);
        assert_eq!(last, [0, 0, 0, 0, 0, 0, 0, 0x5a]);
        Ok(())
    }

    #[test]
    fn frame_numbers_follow_each_other() -> Result {
        let pages = OwnedPages::new(4)?;
        let mut gfns = pages.gfns();
        let first = gfns.next().ok_or(EINVAL)?;
        for number in 1..4 {
            assert_eq!(gfns.next(), Some(Gfn(first.0 + number)));
        }
        assert_eq!(gfns.next(), None);
        Ok(())
    }

    #[test]
    fn no_pages_are_no_value() {
        assert_eq!(OwnedPages::new(0).err(), Some(EINVAL));
        assert_eq!(OwnedPages::new(usize::MAX).err(), Some(ENOMEM));
    }

    #[test]
    fn a_block_comes_apart_into_pages_that_are_freed_alone() -> Result {
        let mut block = OwnedPages::new(3)?;
        let mut pages = KVec::with_capacity(3, GFP_KERNEL)?;
        for page in block.take() {
            pages.push(page, GFP_KERNEL)?;
        }
        assert_eq!(
            (pages.len(), block.count(), block.memory().size()),
            (3, 0, 0)
        );
        // The middle one first, and the block while one is left.
        drop(pages.remove(1).ok());
        drop(block);
        assert_eq!(pages.len(), 2);
        Ok(())
    }
}
