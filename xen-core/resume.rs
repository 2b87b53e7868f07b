// SPDX-License-Identifier: GPL-2.0

//! What has to be set up again when the domain is resumed elsewhere, and in which order.
//!
//! Frames of Xen, upcalls and ports do not survive a migration. Each module registers what it keeps. Going down runs from
//! the last [`Stage`] to the first, first in process context ([`Resume::prepare`]), then with one CPU alive and interrupts
//! off ([`Resume::suspend`]); coming up runs from the first to the last ([`Resume::resume`], then [`Resume::late`]).

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
    /// The domain is another one now: everything has to be set up again.
    Resumed,
    /// The suspend was cancelled: everything is as it was.
    Cancelled,
}

impl Wake {
    /// What the hypercall by which the domain stopped says: 1 when that was cancelled.
    pub(crate) const fn from_answer(answer: usize) -> Self {
        match answer {
            0 => Self::Resumed,
            _ => Self::Cancelled,
        }
    }
}

/// Something that does not survive a migration.
///
/// `suspend` and `resume` run with one CPU alive and interrupts off, at a point where all others have preemption on: they
/// must neither sleep nor allocate, may take spinlocks, and take no mutex. The chain cannot be changed by any of these.
pub trait Resume: Send + Sync {
    /// The domain is to stop soon: comes to a point where it can. May sleep, within bounds.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from that; the domain does not stop then, and [`late`](Self::late) is called for those that were
    /// prepared already.
    fn prepare(&self) -> Result {
        Ok(())
    }

    /// The domain is about to stop.
    fn suspend(&self) {}

    /// The domain runs again.
    fn resume(&self, _wake: Wake) {}

    /// The domain runs again, all CPUs do. May sleep.
    fn late(&self, _wake: Wake) {}
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

/// All members, while none joins or leaves.
pub(crate) struct Chain<'a>(&'a [Entry]);

impl Chain<'_> {
    /// Has all prepare.
    ///
    /// # Errors
    ///
    /// Of the first that cannot; nobody is prepared then.
    pub(crate) fn prepare(&self) -> Result {
        for (at, entry) in self.0.iter().enumerate().rev() {
            if let Err(error) = entry.what.prepare() {
                let prepared = self.0.get(at.wrapping_add(1)..).unwrap_or_default();
                Chain(prepared).late(Wake::Cancelled);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes everything down, calls `stop`, and brings everything up again as `stop` tells.
    pub(crate) fn around<E>(&self, stop: impl FnOnce() -> Result<Wake, E>) -> Result<Wake, E> {
        for entry in self.0.iter().rev() {
            entry.what.suspend();
        }
        let stopped = stop();
        let wake = *stopped.as_ref().unwrap_or(&Wake::Cancelled);
        for entry in self.0 {
            entry.what.resume(wake);
        }
        stopped
    }

    /// Lets all go on.
    pub(crate) fn late(&self, wake: Wake) {
        for entry in self.0 {
            entry.what.late(wake);
        }
    }
}

/// Runs `with` in process context, with the chain.
pub(crate) fn with_chain<R>(with: impl FnOnce(&Chain<'_>) -> R) -> R {
    let chain = CHAIN.lock();
    with(&Chain(&chain))
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
        refuses: bool,
        order: Arc<Atomic<u32>>,
    }

    impl Member {
        fn note(&self) {
            let before = self.order.load(Relaxed);
            self.order.store(before * 10 + self.digit, Relaxed);
        }
    }

    impl Resume for Member {
        fn prepare(&self) -> Result {
            if self.refuses {
                return Err(EBUSY);
            }
            self.note();
            Ok(())
        }

        fn suspend(&self) {
            self.note();
        }

        fn resume(&self, wake: Wake) {
            if wake == Wake::Resumed {
                self.note();
            }
        }

        fn late(&self, _wake: Wake) {
            self.note();
        }
    }

    fn join(stage: Stage, digit: u32, order: &Arc<Atomic<u32>>) -> Result<Registration> {
        member(stage, digit, false, order)
    }

    fn member(
        stage: Stage,
        digit: u32,
        refuses: bool,
        order: &Arc<Atomic<u32>>,
    ) -> Result<Registration> {
        let member = Member {
            digit,
            refuses,
            order: order.clone(),
        };
        Registration::new(stage, Arc::new(member, GFP_KERNEL)?)
    }

    fn around_all(wake: Wake) -> Wake {
        let stop = || Ok::<_, Error>(wake);
        with_chain(|chain| chain.around(stop)).unwrap_or(Wake::Cancelled)
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
        order.store(0, Relaxed);
        with_chain(|chain| chain.prepare())?;
        with_chain(|chain| chain.late(Wake::Resumed));
        assert_eq!(order.load(Relaxed), 4321_1234);
        Ok(())
    }

    #[test]
    fn who_cannot_stop_keeps_all_going() -> Result {
        let order = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let _ports = join(Stage::Ports, 1, &order)?;
        let _store = member(Stage::Store, 2, true, &order)?;
        let _first = join(Stage::Devices, 3, &order)?;
        let _second = join(Stage::Devices, 4, &order)?;
        assert_eq!(with_chain(|chain| chain.prepare()), Err(EBUSY));
        assert_eq!(order.load(Relaxed), 43_34);
        Ok(())
    }

    #[test]
    fn a_stop_that_xen_refuses_is_none() -> Result {
        let order = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let _ports = join(Stage::Ports, 1, &order)?;
        let stopped = with_chain(|chain| chain.around(|| Err::<Wake, _>(EPERM)));
        assert_eq!(stopped.err(), Some(EPERM));
        assert_eq!(order.load(Relaxed), 1);
        assert!(Wake::from_answer(0) == Wake::Resumed && Wake::from_answer(1) == Wake::Cancelled);
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
