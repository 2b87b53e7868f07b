// SPDX-License-Identifier: GPL-2.0

//! What the users of this module reach while it works.

use kernel::{
    prelude::*,
    sync::{
        global_lock,
        Arc, //
    },
};
use linux::bus::Registered;

use crate::{
    bus::node::Oxen,
    store::Store, //
};

/// The store and the bus.
pub(crate) struct Instance {
    pub(crate) store: Store,
    pub(crate) bus: Arc<Registered<Oxen>>,
}

global_lock! {
    // SAFETY: Initialised first thing in the module's initialiser.
    pub(crate) unsafe(uninit) static INSTANCE: Mutex<Option<Arc<Instance>>> = None;
}

pub(crate) fn instance() -> Result<Arc<Instance>> {
    INSTANCE.lock().as_ref().cloned().ok_or(ENODEV)
}

/// Returns the xenstore.
///
/// # Errors
///
/// `ENODEV` when there is no connection to it.
#[inline(never)]
pub fn store() -> Result<Store> {
    Ok(instance()?.store.clone())
}

/// Ties a user to this module: modpost sees the dependency only in a call.
///
/// # Errors
///
/// `ENODEV` when there is no connection to the xenstore.
#[inline(never)]
pub fn require() -> Result {
    instance().map(drop)
}
