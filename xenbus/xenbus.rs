// SPDX-License-Identifier: GPL-2.0

//! Xenstore client and the `oxen` bus.

use kernel::prelude::*;

module! {
    type: Xenbus,
    name: "oxen_xenbus",
    authors: ["Oxen developers"],
    description: "Xenstore client and device bus",
    license: "GPL",
}

/// The module.
pub struct Xenbus;

impl kernel::Module for Xenbus {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        xen_core::require()?;
        evtchn::require()?;
        grant_table::require()?;
        Ok(Self)
    }
}

/// Ties a user to this module: modpost sees the dependency only in a call.
///
/// # Errors
///
/// None yet.
#[inline(never)]
pub fn require() -> Result {
    Ok(())
}
