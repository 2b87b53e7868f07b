// SPDX-License-Identifier: GPL-2.0

//! What has to be laid anew when the domain wakes up elsewhere, and in which order.
//!
//! Frames of Xen, upcalls and ports do not survive a migration. Each module registers what it keeps; going down runs from
//! the last [`Stage`] to the first, coming up from the first to the last, both with one CPU alive and interrupts off.

use kernel::{
    prelude::*,
    sync::Arc, //
};

/// When something comes up: in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The shared info page.
    SharedInfo,
    /// The grant table.
    GrantTable,
    /// Upcall vectors, and the pages of the FIFO ABI.
    Upcalls,
    /// Ports: virtual irqs and IPIs.
    Ports,
    /// The xenstore connection.
    Store,
    /// Everything above that.
    Devices,
}

/// What happened between going down and coming up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The domain is another one now: everything is to be laid anew.
    Resumed,
    /// The suspend was cancelled: everything is as it was.
    Cancelled,
}

/// Something that does not survive a migration.
pub trait Resume: Send + Sync {
    /// The domain is about to stop. Must not sleep or allocate.
    fn suspend(&self) {}

    /// The domain runs again. Must not sleep or allocate.
    fn resume(&self, wake: Wake);
}

/// A member of the chain.
pub struct Entry {
    stage: Stage,
    what: Arc<dyn Resume>,
}

kernel::sync::global_lock! {
    // SAFETY: Initialised at the start of the module's `init`.
    pub(crate) unsafe(uninit) static CHAIN: Mutex<KVec<Entry>> = KVec::new();
}

/// Membership in the chain, ended on drop.
pub struct Registration(Arc<dyn Resume>);

impl Registration {
    /// Makes `what` part of the chain.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(stage: Stage, what: Arc<dyn Resume>) -> Result<Self> {
        let mut chain = CHAIN.lock();
        let at = chain
            .iter()
            .take_while(|entry| entry.stage <= stage)
            .count();
        let entry = Entry {
            stage,
            what: what.clone(),
        };
        chain.reserve(1, GFP_KERNEL)?;
        chain
            .insert_within_capacity(at, entry)
            .map_err(|_| ENOMEM)?;
        Ok(Self(what))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        CHAIN
            .lock()
            .retain(|entry| !Arc::ptr_eq(&entry.what, &self.0));
    }
}

/// Takes everything down, calls `stop`, and brings everything up again as `stop` tells.
///
/// The caller holds the chain's lock through the call, having it taken in process context: `stop` runs with interrupts
/// off.
fn around(chain: &KVec<Entry>, stop: impl FnOnce() -> Wake) -> Wake {
    for entry in chain.iter().rev() {
        entry.what.suspend();
    }
    let wake = stop();
    for entry in chain.iter() {
        entry.what.resume(wake);
    }
    wake
}

/// Runs `with` in process context, with a function that goes through the chain around a stop of the domain and that can
/// be called with interrupts off.
pub fn with_chain<R>(with: impl FnOnce(&dyn Fn(&dyn Fn() -> Wake) -> Wake) -> R) -> R {
    let chain = CHAIN.lock();
    with(&|stop| around(&chain, stop))
}
