// SPDX-License-Identifier: GPL-2.0

//! The data of a request, page by page.

use crate::{
    bindings,
    mm::{
        page::PageRef,
        pages::OwnedPages, //
    },
};
use abi::types::Gfn;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// Part of one page that holds data of a request.
///
/// # Invariants
///
/// `page` is valid as long as the request is, which `'a` is part of. `offset + len` is at most a page.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    page: NonNull<bindings::page>,
    offset: u32,
    len: u32,
    _request: PhantomData<&'a ()>,
}

impl Segment<'_> {
    /// The frame number of the page.
    pub fn gfn(&self) -> Gfn {
        // SAFETY: The page is valid by the type invariants.
        Gfn(unsafe { bindings::page_frame(self.page.as_ptr()) })
    }

    /// Where the data starts in the page.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// Bytes of data, at least 1.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Always false: there is no empty segment.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Holds on to the page beyond the end of the request; `None` for memory that is not counted.
    pub fn page(&self) -> Option<PageRef> {
        // SAFETY: The page is valid by the type invariants.
        unsafe { PageRef::get(self.page) }
    }

    /// Copies the data to the first of `pages`, which a peer may see, at the same place as in its own page.
    pub fn copy_to(&self, pages: &OwnedPages) {
        let Some(to) = pages.first() else {
            return;
        };
        // SAFETY: The page is valid by the type invariants, and so is the range in it; `to` is a page with room for it. A
        // peer that changes it meanwhile changes bytes of its own.
        unsafe {
            bindings::page_read(
                self.page.as_ptr(),
                self.offset,
                to.as_ptr().add(self.offset as usize).cast(),
                self.len,
            )
        };
    }

    /// Copies the data from the first of `pages`, as [`copy_to`](Self::copy_to).
    pub fn copy_from(&self, pages: &OwnedPages) {
        let Some(from) = pages.first() else {
            return;
        };
        // SAFETY: As in `copy_to`; the block layer lets the driver write the page of a read until the request ends.
        unsafe {
            bindings::page_write(
                self.page.as_ptr(),
                self.offset,
                from.as_ptr().add(self.offset as usize).cast(),
                self.len,
            )
        };
    }

    /// Whether `next` goes on where this one ends, in the same page.
    fn joins(&self, next: &Segment<'_>) -> bool {
        self.page == next.page && self.offset.wrapping_add(self.len) == next.offset
    }
}

/// Iterator over the data of a request that has not been transferred yet; none for a flush or a discard.
///
/// Adjacent pieces of one page come as one segment, so that there are not more than the queue's limit.
///
/// # Invariants
///
/// `bio` is null or one of the request's bios, and `iter` a position in it; they are valid during `'a`.
pub struct Segments<'a> {
    bio: *mut bindings::bio,
    iter: bindings::bvec_iter,
    /// Read ahead, to see whether it joins.
    next: Option<Segment<'a>>,
    _request: PhantomData<&'a ()>,
}

impl<'a> Segments<'a> {
    /// # Safety
    ///
    /// `rq` must be a request that the driver owns during `'a`.
    pub(super) unsafe fn new(rq: *mut bindings::request) -> Self {
        // SAFETY: The request is valid and ours.
        let bio = unsafe { (*rq).bio };
        let iter = if bio.is_null() {
            pin_init::zeroed()
        } else {
            // SAFETY: A bio of a valid request is valid.
            unsafe { (*bio).bi_iter }
        };
        // INVARIANT: the first bio with its own position.
        let mut this = Self {
            bio,
            iter,
            next: None,
            _request: PhantomData,
        };
        this.next = this.piece();
        this
    }

    fn piece(&mut self) -> Option<Segment<'a>> {
        let mut piece: bindings::bio_vec = pin_init::zeroed();
        // SAFETY: By the type invariants the bio is valid, or null, which the helper takes as the end.
        let more = unsafe { bindings::bio_next_piece(&mut self.bio, &mut self.iter, &mut piece) };
        if !more {
            return None;
        }
        // INVARIANT: the block layer keeps the page until the request ends; the piece is within one page.
        Some(Segment {
            page: NonNull::new(piece.bv_page)?,
            offset: piece.bv_offset,
            len: piece.bv_len,
            _request: PhantomData,
        })
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let mut segment = self.next.take()?;
        loop {
            match self.piece() {
                Some(next) if segment.joins(&next) => {
                    // INVARIANT: `next` is within the same page.
                    segment.len = segment.len.wrapping_add(next.len);
                }
                next => {
                    self.next = next;
                    return Some(segment);
                }
            }
        }
    }
}
