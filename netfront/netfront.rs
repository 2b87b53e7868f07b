// SPDX-License-Identifier: GPL-2.0

//! Network device of a Xen guest: the frontend of the split network driver.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use kernel::prelude::*;

module! {
    type: Netfront,
    name: "oxen_netfront",
    authors: ["Oxen developers"],
    description: "Xen network frontend",
    license: "GPL",
}

/// The module.
pub struct Netfront;

impl kernel::Module for Netfront {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        xenbus::require()?;
        Ok(Self)
    }
}
