// SPDX-License-Identifier: GPL-2.0

//! Pages of RAM whose memory is given away, so that the kernel keeps the page but must not use it.
//!
//! A [`Spare`] page is allocated and still has its memory. Once that is gone the page is among those [`Away`], which are no
//! part of the kernel's memory: `MemTotal` is smaller by them, and no dump reads them.
//!
//! C headers: `include/linux/mm.h`, `include/linux/page-flags.h`

use core::ptr::{
    self,
    NonNull, //
};

use abi::types::Gfn;

use crate::bindings;

/// Pages of which each holds the next, the last one in first.
///
/// # Invariants
///
/// `first` begins a chain of `count` valid pages that belong to this value, which ends with a null pointer.
struct Stack {
    first: *mut bindings::page,
    count: usize,
}

impl Stack {
    const fn new() -> Self {
        // INVARIANT: A chain of none.
        Self {
            first: ptr::null_mut(),
            count: 0,
        }
    }

    /// # Safety
    ///
    /// The page is valid and belongs to the caller, who gives it up; its list head is not used.
    unsafe fn push(&mut self, page: NonNull<bindings::page>) {
        // SAFETY: By the safety requirements.
        unsafe { bindings::away_set_next(page.as_ptr(), self.first) };
        // INVARIANT: One more.
        self.first = page.as_ptr();
        self.count = self.count.saturating_add(1);
    }

    /// The page belongs to the caller then.
    fn pop(&mut self) -> Option<NonNull<bindings::page>> {
        let page = NonNull::new(self.first)?;
        // SAFETY: By the type invariants the page is valid and holds the next.
        self.first = unsafe { bindings::away_next(page.as_ptr()) };
        // INVARIANT: One less.
        self.count = self.count.saturating_sub(1);
        Some(page)
    }

    fn gfns(&self) -> impl Iterator<Item = Gfn> + '_ {
        let mut next = self.first;
        core::iter::from_fn(move || {
            let page = NonNull::new(next)?;
            // SAFETY: By the type invariants the page is valid and holds the next; the chain stays while it is borrowed.
            next = unsafe { bindings::away_next(page.as_ptr()) };
            // SAFETY: As above.
            Some(Gfn(unsafe { bindings::page_frame(page.as_ptr()) }))
        })
    }
}

/// Pages that are allocated, hold zeros and are not used; freed on drop.
pub struct Spare(Stack);

// SAFETY: The pages belong to the value alone, and pages belong to no thread.
unsafe impl Send for Spare {}

impl Spare {
    /// Allocates up to `count` pages. Does not try hard: there are fewer, or none, when memory is short.
    pub fn new(count: usize) -> Self {
        let mut pages = Stack::new();
        while pages.count < count {
            // SAFETY: The function has no requirements.
            let Some(page) = NonNull::new(unsafe { bindings::away_alloc() }) else {
                break;
            };
            // SAFETY: It was just allocated.
            unsafe { pages.push(page) };
        }
        Self(pages)
    }

    /// How many pages.
    pub fn count(&self) -> usize {
        self.0.count
    }

    /// The frame numbers of the pages, in the order in which [`Away::send`] takes them.
    pub fn gfns(&self) -> impl Iterator<Item = Gfn> + '_ {
        self.0.gfns()
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        while let Some(page) = self.0.pop() {
            // SAFETY: The reference is that of the allocation.
            unsafe { bindings::page_put(page.as_ptr()) };
        }
    }
}

/// Pages without memory. Those that are left at the drop stay away, and are found by the next [`Away::find`].
pub struct Away(Stack);

// SAFETY: As for `Spare`.
unsafe impl Send for Away {}

impl Away {
    /// Takes over what an earlier owner left away: nothing, mostly.
    ///
    /// # Safety
    ///
    /// There is no other value of this type until this one is dropped.
    pub unsafe fn find() -> Self {
        let mut pages = Stack::new();
        let mut pfn = 0;
        // SAFETY: The frame number is writable.
        while let Some(page) = NonNull::new(unsafe { bindings::away_find(&mut pfn) }) {
            // SAFETY: By the safety requirements nobody else has it; its last owner left it valid.
            unsafe { pages.push(page) };
        }
        Self(pages)
    }

    /// How many pages.
    pub fn count(&self) -> usize {
        self.0.count
    }

    /// The frame numbers of the pages, in the order in which [`fetch`](Self::fetch) takes them.
    pub fn gfns(&self) -> impl Iterator<Item = Gfn> + '_ {
        self.0.gfns()
    }

    /// Counts the first pages of `spare` as away: their memory is gone, or will be at once.
    pub fn send(&mut self, spare: &mut Spare, count: usize) {
        for _ in 0..count {
            let Some(page) = spare.0.pop() else {
                return;
            };
            // SAFETY: The page is valid, allocated, and nobody else's.
            unsafe {
                bindings::away_send(page.as_ptr());
                self.0.push(page);
            }
        }
    }

    /// Gives the first pages back to the kernel.
    ///
    /// # Safety
    ///
    /// They have memory again.
    pub unsafe fn fetch(&mut self, count: usize) {
        for _ in 0..count {
            let Some(page) = self.0.pop() else {
                return;
            };
            // SAFETY: The page was counted as away and has memory again; the reference is that of its allocation.
            unsafe {
                bindings::away_fetch(page.as_ptr());
                bindings::page_put(page.as_ptr());
            }
        }
    }
}

/// Pages that the kernel manages now.
pub fn managed() -> u64 {
    // SAFETY: The function has no requirements.
    unsafe { bindings::ram_managed() }
}

/// Pages that can be had without swapping, as `MemAvailable` tells.
pub fn available() -> u64 {
    // SAFETY: The function has no requirements.
    u64::try_from(unsafe { bindings::si_mem_available() }).unwrap_or(0)
}

#[kernel::prelude::kunit_tests(oxen_away)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_and_come_and_the_kernel_counts_them() {
        // SAFETY: The balloon runs on Xen only, and these tests do not.
        let mut away = unsafe { Away::find() };
        assert_eq!(away.count(), 0);
        let before = managed();
        let mut spare = Spare::new(3);
        assert_eq!(spare.count(), 3);
        let second = spare.gfns().nth(1);
        let last = spare.gfns().nth(2);
        away.send(&mut spare, 2);
        assert_eq!((spare.count(), away.count()), (1, 2));
        assert_eq!(spare.gfns().next(), last);
        assert_eq!(away.gfns().next(), second);
        assert_eq!(managed() + 2, before);
        // SAFETY: Their memory never went.
        unsafe { away.fetch(5) };
        assert_eq!((away.count(), managed()), (0, before));
    }

    #[test]
    fn what_is_left_away_is_found_again() {
        // SAFETY: As above; the first is dropped before the second is made.
        let mut first = unsafe { Away::find() };
        first.send(&mut Spare::new(2), 2);
        let gfns = [first.gfns().next(), first.gfns().nth(1)];
        drop(first);
        // SAFETY: As above.
        let mut second = unsafe { Away::find() };
        assert_eq!(second.count(), 2);
        assert!(gfns
            .iter()
            .flatten()
            .all(|gfn| second.gfns().any(|found| found == *gfn)));
        // SAFETY: Their memory never went.
        unsafe { second.fetch(2) };
        drop(second);
        // SAFETY: As above.
        assert_eq!(unsafe { Away::find() }.count(), 0);
    }

    #[test]
    fn spare_pages_hold_zeros() {
        assert!(Spare::new(0).gfns().next().is_none());
        let spare = Spare::new(1);
        assert!(available() <= managed());
        assert_eq!(spare.count(), 1);
    }
}
