// SPDX-License-Identifier: GPL-2.0

//! Console of a Xen guest: the frontend of the split console driver.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use kernel::prelude::*;

module! {
    type: Console,
    name: "oxen_console",
    authors: ["Oxen developers"],
    description: "Xen console frontend",
    license: "GPL",
}

/// The module.
pub struct Console;

impl kernel::Module for Console {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        xenbus::require()?;
        Ok(Self)
    }
}
