// SPDX-License-Identifier: GPL-2.0

//! Detection of Xen, hypercalls, shared_info and the platform device.

use kernel::prelude::*;

module! {
    type: XenCore,
    name: "oxen_xen_core",
    authors: ["Oxen developers"],
    description: "Xen guest core",
    license: "GPL",
}

/// The module.
pub struct XenCore;

impl kernel::Module for XenCore {
    fn init(_module: &'static ThisModule) -> Result<Self> {
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
