// SPDX-License-Identifier: GPL-2.0

//! One frame of the table, mapped into our RAM.

use abi::{
    grant::Slot,
    hypercall::memory::Space,
    shared::RawMemory, //
};
use kernel::prelude::*;
use xen_core::{
    frame::XenFrames,
    hypercall::grant, //
};

/// A mapped frame. Drop gives the page back to the kernel as ordinary RAM.
pub(crate) struct Frame(XenFrames);

impl Frame {
    /// A page of ours, for tests without Xen.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn plain() -> Result<Self> {
        XenFrames::plain(1).map(Self)
    }

    /// The entries as memory.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn memory(&self) -> &RawMemory {
        self.0.memory()
    }

    /// Maps frame number `index`; Xen makes it if it does not exist yet.
    pub(crate) fn map(index: u32) -> Result<Self> {
        XenFrames::new(Space::GrantTable, index.into(), 1).map(Self)
    }

    /// Maps it again after the domain was restored elsewhere.
    pub(crate) fn remap(&self, index: u32) -> Result {
        self.0.remap(Space::GrantTable, index.into())
    }

    /// Gives the page back early: entries that are written later reach nobody.
    pub(crate) fn give_back(&self) -> Result {
        self.0.give_back()
    }

    /// Entry `index` (modulo the entries of a frame).
    #[inline]
    pub(crate) fn slot(&self, index: u32) -> Slot<&RawMemory> {
        Slot::new(self.0.memory(), index)
    }
}

/// Asks Xen how many frames our table may have, and makes sure that it is of version 1.
pub(crate) fn limit() -> Result<u32> {
    let size = grant::query_size()?;
    // The kernel before us may have made it a table of version 2. A Xen that does not know versions has only one.
    if grant::version().is_ok_and(|version| version != 1) {
        grant::set_version_1().inspect_err(|_| {
            pr_err!("the grant table is of version 2 and in use by an earlier kernel: restart the guest\n");
        })?;
    }
    Ok(size.max_frames)
}
