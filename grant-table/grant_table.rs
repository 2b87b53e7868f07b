// SPDX-License-Identifier: GPL-2.0

//! Grant table: which page another domain may see, and until when.

use kernel::prelude::*;

module! {
    type: GrantTable,
    name: "oxen_grant_table",
    authors: ["Oxen developers"],
    description: "Xen grant table",
    license: "GPL",
}

/// The module.
pub struct GrantTable;

impl kernel::Module for GrantTable {
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
