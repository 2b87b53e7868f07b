// SPDX-License-Identifier: GPL-2.0

//! Event channels as Linux interrupts.

use kernel::prelude::*;

module! {
    type: Evtchn,
    name: "oxen_evtchn",
    authors: ["Oxen developers"],
    description: "Xen event channels",
    license: "GPL",
}

/// The module.
pub struct Evtchn;

impl kernel::Module for Evtchn {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        xen_core::require()?;
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
