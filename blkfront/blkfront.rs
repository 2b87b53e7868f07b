// SPDX-License-Identifier: GPL-2.0

//! Block device of a Xen guest: the frontend of the split block driver.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use kernel::prelude::*;

module! {
    type: Blkfront,
    name: "oxen_blkfront",
    authors: ["Oxen developers"],
    description: "Xen block frontend",
    license: "GPL",
}

/// The module.
pub struct Blkfront;

impl kernel::Module for Blkfront {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        xenbus::require()?;
        Ok(Self)
    }
}
