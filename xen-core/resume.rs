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
        let mut chain = CHAIN.lock();
        chain.retain(|entry| !Arc::ptr_eq(&entry.what, &self.0));
        if chain.is_empty() {
            // Statics are not dropped with the module.
            *chain = KVec::new();
        }
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

#[kunit_tests(oxen_resume)]
mod tests {
    use super::*;
    use kernel::sync::atomic::{
        Atomic,
        Relaxed, //
    };

    /// Notes when it was called: each call is a digit behind those before.
    struct Member {
        digit: u32,
        order: Arc<Atomic<u32>>,
    }

    impl Member {
        fn note(&self) {
            let before = self.order.load(Relaxed);
            self.order.store(before * 10 + self.digit, Relaxed);
        }
    }

    impl Resume for Member {
        fn suspend(&self) {
            self.note();
        }

        fn resume(&self, wake: Wake) {
            if wake == Wake::Resumed {
                self.note();
            }
        }
    }

    fn join(stage: Stage, digit: u32, order: &Arc<Atomic<u32>>) -> Result<Registration> {
        let order = order.clone();
        Registration::new(stage, Arc::new(Member { digit, order }, GFP_KERNEL)?)
    }

    fn around_all(wake: Wake) -> Wake {
        with_chain(|around| around(&|| wake))
    }

    #[test]
    fn down_from_the_last_stage_and_up_from_the_first() -> Result {
        let order = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let _ports = join(Stage::Ports, 2, &order)?;
        let _devices = join(Stage::Devices, 4, &order)?;
        let _info = join(Stage::SharedInfo, 1, &order)?;
        let _store = join(Stage::Store, 3, &order)?;
        assert!(around_all(Wake::Resumed) == Wake::Resumed);
        assert_eq!(order.load(Relaxed), 4321_1234);
        order.store(0, Relaxed);
        assert!(around_all(Wake::Cancelled) == Wake::Cancelled);
        assert_eq!(order.load(Relaxed), 4321);
        Ok(())
    }

    #[test]
    fn one_that_left_is_not_called() -> Result {
        let order = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let stays = join(Stage::Ports, 1, &order)?;
        let leaves = join(Stage::Ports, 2, &order)?;
        drop(leaves);
        around_all(Wake::Resumed);
        assert_eq!(order.load(Relaxed), 11);
        drop(stays);
        Ok(())
    }
}
