// SPDX-License-Identifier: GPL-2.0

//! One frame of the table, mapped into our RAM.

use abi::{
    grant::Slot,
    shared::RawMemory, //
};
use kernel::prelude::*;

/// A mapped frame. Drop gives the page back to the kernel as ordinary RAM.
pub(crate) struct Frame {
    memory: RawMemory,
}

impl Frame {
    /// Maps frame number `index`; Xen makes it if it does not exist yet.
    pub(crate) fn map(_index: u32) -> Result<Self> {
        Err(ENODEV)
    }

    /// Entry `index` (modulo the entries of a frame).
    pub(crate) fn slot(&self, index: u32) -> Slot<&RawMemory> {
        Slot::new(&self.memory, index)
    }
}

/// Asks Xen how many frames our table may have, and makes sure that it is of version 1.
pub(crate) fn limit() -> Result<u32> {
    Err(ENODEV)
}
