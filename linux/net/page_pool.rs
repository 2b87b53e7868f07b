// SPDX-License-Identifier: GPL-2.0

//! Pages to receive into, reused when the stack is done with them (C header: `include/net/page_pool/types.h`).

use crate::{
    bindings,
    mm::page::PageRef, //
};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

pub use kernel::page::PAGE_SIZE;

/// A supply of pages.
///
/// # Invariants
///
/// The pool is valid. Pages are taken from it only through `&mut self`, as its cache demands.
pub struct PagePool {
    raw: NonNull<bindings::page_pool>,
}

// SAFETY: A pool is not bound to a thread.
unsafe impl Send for PagePool {}

impl PagePool {
    /// Makes a pool that keeps about `size` pages.
    pub fn new(size: usize) -> Result<Self> {
        // SAFETY: All fields may be zero.
        let mut params: bindings::page_pool_params = unsafe { MaybeUninit::zeroed().assume_init() };
        params.__bindgen_anon_1.__bindgen_anon_1.pool_size = size.try_into()?;
        params.__bindgen_anon_1.__bindgen_anon_1.nid = bindings::NUMA_NO_NODE;
        // SAFETY: The parameters are copied.
        let raw = from_err_ptr(unsafe { bindings::page_pool_create(&params) })?;
        // INVARIANT: It was just made.
        Ok(Self {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
        })
    }

    pub(super) fn raw(&self) -> NonNull<bindings::page_pool> {
        self.raw
    }

    /// Takes a page out, without sleeping. A fresh page is zeroed; a reused one holds what it was last used for.
    pub fn alloc(&mut self) -> Option<RxPage> {
        // SAFETY: The pool is valid by the type invariant, and `&mut self` makes us its only consumer.
        let page = unsafe { bindings::page_pool_alloc_zeroed(self.raw.as_ptr()) };
        // INVARIANT: The page is the pool's and now ours.
        Some(RxPage {
            page: NonNull::new(page)?,
            pool: self.raw,
            owned: PhantomData,
        })
    }
}

impl Drop for PagePool {
    fn drop(&mut self) {
        // SAFETY: The pool is valid; it lives on until the last of its pages is back.
        unsafe { bindings::page_pool_destroy(self.raw.as_ptr()) }
    }
}

/// A page of a pool, to be lent to a backend and then passed up in a packet.
///
/// # Invariants
///
/// `page` came from `pool` and is owned by this value. The pool outlives its pages.
pub struct RxPage {
    page: NonNull<bindings::page>,
    pool: NonNull<bindings::page_pool>,
    owned: PhantomData<bindings::page>,
}

// SAFETY: A page is not bound to a thread.
unsafe impl Send for RxPage {}

impl RxPage {
    /// The number of the page's frame.
    pub fn pfn(&self) -> u64 {
        // SAFETY: The page is ours by the type invariant.
        unsafe { bindings::page_to_pfn(self.page.as_ptr()) as u64 }
    }

    /// Fills the page with zeros.
    pub fn clear(&mut self) {
        // SAFETY: The page is ours by the type invariant, and pool pages are mapped.
        unsafe { bindings::clear_page_of(self.page.as_ptr()) }
    }

    /// Moves `len` bytes from one place of the page to another; only if both lie inside it.
    pub fn shift(&mut self, from: usize, to: usize, len: usize) {
        let inside = |at: usize| at.checked_add(len).is_some_and(|end| end <= PAGE_SIZE);
        if inside(from) && inside(to) && from != to {
            // SAFETY: The page is ours by the type invariant, and pool pages are mapped. Both places are inside it.
            // CAST: At most a page.
            unsafe { bindings::page_move(self.raw(), to as u32, from as u32, len as u32) }
        }
    }

    pub(super) fn pool(&self) -> NonNull<bindings::page_pool> {
        self.pool
    }

    pub(super) fn raw(&self) -> *mut bindings::page {
        self.page.as_ptr()
    }

    /// Hands the page over to a packet.
    pub(super) fn into_raw(self) -> *mut bindings::page {
        let page = self.page.as_ptr();
        core::mem::forget(self);
        page
    }

    /// Takes the page out of its pool for good, so that it can outlive it.
    pub fn leave_pool(self) -> Option<PageRef> {
        // SAFETY: The page is ours by the type invariant.
        let page = unsafe { PageRef::get(self.page) };
        if page.is_none() {
            // Pages of a pool are counted, so this does not happen. A page lost is better than one reused too early.
            core::mem::forget(self);
        }
        // The pool does not reuse a page that somebody else has a reference to.
        page
    }
}

impl Drop for RxPage {
    fn drop(&mut self) {
        // SAFETY: The page is ours and its pool's by the type invariant.
        unsafe { bindings::page_pool_put_full_page(self.pool.as_ptr(), self.page.as_ptr(), false) }
    }
}
