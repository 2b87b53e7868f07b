// SPDX-License-Identifier: GPL-2.0

//! Small places that stay granted, one for each slot of the transmit ring, for small packets and the fronts of others.

use abi::{
    net::{
        plan::{
            CELL,
            CELLS_IN_PAGE, //
        },
        RING_SLOTS, //
    },
    shared::Memory,
    types::DomainId, //
};
use grant_table::GrantedPages;
use kernel::prelude::*;

/// The cells of a ring.
pub(crate) struct Cells(GrantedPages);

impl Cells {
    /// Makes them, for `peer` to read.
    pub(crate) fn new(peer: DomainId) -> Result<Self> {
        let pages = RING_SLOTS.div_ceil(CELLS_IN_PAGE);
        GrantedPages::read_only(peer, pages).map(Self)
    }

    /// Fills `len` bytes of the cell of slot `id` by `copy`. Gives the page's reference and the cell's offset in it; `None` if
    /// the copy fails, or there is no such cell.
    pub(crate) fn fill(
        &self,
        id: u16,
        len: usize,
        copy: impl FnOnce(&mut [u8]) -> Option<()>,
    ) -> Option<(u32, u16)> {
        let place = self.place(id)?;
        let mut bytes = [0; CELL];
        let bytes = bytes.get_mut(..len)?;
        copy(bytes)?;
        self.0.write(usize::from(id).wrapping_mul(CELL), bytes);
        Some(place)
    }

    /// The reference of the page of the cell of slot `id`, and the cell's offset in it, if there is such a cell.
    pub(crate) fn place(&self, id: u16) -> Option<(u32, u16)> {
        let id = usize::from(id);
        let gref = self.0.grefs().get(id / CELLS_IN_PAGE)?;
        // CAST: Less than a page.
        let offset = (id % CELLS_IN_PAGE).wrapping_mul(CELL) as u16;
        Some((gref.0, offset))
    }
}
