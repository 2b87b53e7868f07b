// SPDX-License-Identifier: GPL-2.0

//! What the devices with pages have in common.

use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};
use linux::limit::Limit;

use crate::known::Known;

/// What all files of a device have in common.
pub(crate) struct Common {
    /// How many pages there may be.
    pub(crate) limit: Arc<Limit>,
    /// The ports that may be notified.
    pub(crate) known: Arc<Known>,
}

// CAST: `usize` has 64 bits.
const SIZE: u64 = PAGE_SIZE as u64;

/// The page that an offset in a file is the beginning of.
///
/// # Errors
///
/// `EINVAL` when it is none.
pub(crate) fn page_number(offset: u64) -> Result<u64> {
    match offset % SIZE {
        0 => Ok(offset / SIZE),
        _ => Err(EINVAL),
    }
}

/// Where a page begins in a file.
pub(crate) fn offset(page: u64) -> u64 {
    page.wrapping_mul(SIZE)
}
