// SPDX-License-Identifier: GPL-2.0

//! References to pages that somebody else owns.
//!
//! A page under I/O belongs to a file system or a process. When a peer does not let go of it in time,
//! a [`PageRef`] keeps the page from being freed and given to another owner.
//!
//! C header: `include/linux/mm.h`

use crate::bindings;
use abi::types::Gfn;
use core::ptr::NonNull;

/// A counted reference to a page, which stays allocated as long as this value lives.
///
/// # Invariants
///
/// `page` is a valid page, and one of its references is ours.
pub struct PageRef {
    page: NonNull<bindings::page>,
}

// SAFETY: The reference count is atomic and a page belongs to no thread.
unsafe impl Send for PageRef {}
// SAFETY: As above; a shared `PageRef` gives only the page's number.
unsafe impl Sync for PageRef {}

impl PageRef {
    /// Takes a reference to `page`, unless it is of a kind that is not counted, such as slab memory.
    ///
    /// # Safety
    ///
    /// `page` must be a valid page that stays allocated during the call.
    pub unsafe fn get(page: NonNull<bindings::page>) -> Option<Self> {
        // SAFETY: The page is valid by the safety requirements.
        let taken = unsafe { bindings::page_try_get(page.as_ptr()) };
        // INVARIANT: the helper took the reference that is kept here.
        taken.then(|| Self { page })
    }

    /// The frame number of the page.
    pub fn gfn(&self) -> Gfn {
        // SAFETY: The page is valid by the type invariants.
        Gfn(unsafe { bindings::page_frame(self.page.as_ptr()) })
    }
}

impl Drop for PageRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariants one reference is ours; it is given up here and not used again.
        unsafe { bindings::page_put(self.page.as_ptr()) };
    }
}

#[kernel::prelude::kunit_tests(oxen_page)]
mod tests {
    use super::*;
    use kernel::prelude::*;

    /// The page that a value on the heap lies in.
    fn page_of<T>(value: &T) -> Result<NonNull<bindings::page>> {
        // SAFETY: Heap memory has a page.
        let page = unsafe { bindings::page_of(core::ptr::from_ref(value).cast()) };
        NonNull::new(page).ok_or(EFAULT)
    }

    #[test]
    fn slab_memory_is_not_counted() -> Result {
        let value = KBox::new([1u64; 8], GFP_KERNEL)?;
        let page = page_of(&*value)?;
        // SAFETY: The page holds the value, which is still allocated.
        assert!(unsafe { PageRef::get(page) }.is_none());
        Ok(())
    }

    #[test]
    fn a_page_outlives_its_owner_while_it_is_held() -> Result {
        let owner = kernel::page::Page::alloc_page(GFP_KERNEL)?;
        let page = NonNull::new(owner.as_ptr().cast()).ok_or(EFAULT)?;
        // SAFETY: The page is allocated.
        let held = unsafe { PageRef::get(page) }.ok_or(EFAULT)?;
        drop(owner);
        // A page that was freed has no count.
        // SAFETY: The page is held.
        assert!(unsafe { PageRef::get(page) }.is_some());
        drop(held);
        Ok(())
    }
}
