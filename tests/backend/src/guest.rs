// SPDX-License-Identifier: GPL-2.0

//! The guest's data pages, as its grants name them.

use anyhow::Result;

/// Part of a granted page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Grant reference of the page.
    pub gref: u32,
    /// First byte in the page.
    pub offset: u16,
    /// Bytes, inside the page.
    pub len: u16,
}

/// Access to granted pages.
pub trait Guest {
    /// Copies the pieces, one after the other, into `into`, which is as long as they are together.
    ///
    /// # Errors
    ///
    /// When Xen refuses a grant.
    fn fetch(&mut self, pieces: &[Piece], into: &mut [u8]) -> Result<()>;

    /// Copies `from`, which is as long as the pieces are together, to them.
    ///
    /// # Errors
    ///
    /// When Xen refuses a grant.
    fn store(&mut self, pieces: &[Piece], from: &[u8]) -> Result<()>;
}
