// SPDX-License-Identifier: GPL-2.0

//! Pages of our own that the backend gets in place of those of requests.
//!
//! They are granted as long as the connection lasts, so a request costs a copy and no grant, and nothing of the guest's
//! but its data is ever in them: they begin zeroed, and no page has another use.

use abi::{
    block::request,
    shared::Memory,
    types::{
        DomainId,
        GrantRef, //
    },
};
use grant_table::GrantedPages;
use kernel::prelude::*;
use linux::block::Segment;

/// Pages that are made in one go.
const STEP: usize = 32;

/// One page, which the backend may read and write.
pub(crate) struct Buffer(KBox<GrantedPages>);

impl Buffer {
    /// Makes a page for `backend`. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENOBUFS` when the grant table is full.
    pub(crate) fn new(backend: DomainId) -> Result<Self> {
        Ok(Self(KBox::new(GrantedPages::new(backend, 1)?, GFP_KERNEL)?))
    }

    /// Its reference.
    pub(crate) fn gref(&self) -> Option<GrantRef> {
        self.0.grefs().first().copied()
    }

    /// Writes `segment` as number `index` of the segments of an indirect request.
    pub(crate) fn name(&self, index: u16, segment: &request::Segment) {
        let at = usize::from(index).wrapping_mul(request::Segment::SIZE);
        self.0.write_value(at, segment);
    }

    /// Copies the data of `segment` in, to the place that it has in its own page.
    pub(crate) fn fill(&self, segment: &Segment<'_>) {
        segment.copy_to(self.0.pages());
    }

    /// Copies the data of `segment` out.
    pub(crate) fn drain(&self, segment: &Segment<'_>) {
        segment.copy_from(self.0.pages());
    }
}

/// The pages of one queue. There are more when more are used.
pub(crate) struct Stock {
    free: KVec<Buffer>,
    made: usize,
    most: usize,
    short: bool,
}

impl Stock {
    /// Makes `first` pages, of `most` that there can be. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Buffer::new`].
    pub(crate) fn new(backend: DomainId, first: usize, most: usize) -> Result<Self> {
        let mut stock = Self {
            free: KVec::with_capacity(most, GFP_KERNEL)?,
            made: 0,
            most,
            short: false,
        };
        for _ in 0..first.min(most) {
            stock.add(Buffer::new(backend)?);
        }
        Ok(stock)
    }

    /// How many pages there are, in use or not.
    pub(crate) fn made(&self) -> usize {
        self.made
    }

    /// Takes the page that was used last.
    pub(crate) fn take(&mut self) -> Option<Buffer> {
        let buffer = self.free.pop();
        self.short |= buffer.is_none() && self.made < self.most;
        buffer
    }

    /// Gives a page back.
    pub(crate) fn put(&mut self, buffer: Buffer) {
        // There is room for every page that was made.
        let _ = self.free.push_within_capacity(buffer);
    }

    /// Whether it was short of pages and may have more.
    pub(crate) fn is_short(&self) -> bool {
        self.short
    }

    /// How many pages it could use, if it was short of them.
    pub(crate) fn wants(&mut self) -> usize {
        if !core::mem::take(&mut self.short) {
            return 0;
        }
        self.most.saturating_sub(self.made).min(STEP)
    }

    /// Adds a page.
    pub(crate) fn add(&mut self, buffer: Buffer) {
        if self.made < self.most {
            self.made = self.made.saturating_add(1);
            self.put(buffer);
        }
    }
}
