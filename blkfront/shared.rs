// SPDX-License-Identifier: GPL-2.0

//! What the queues of a disk, its interrupts and its frontend share.

use crate::{
    claims::Claim,
    counters::{
        Counters,
        CountersFile, //
    },
    queue::{
        Breach,
        Queue, //
    },
    show::Shown, //
};
use abi::block::vbd::Vbd;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SetOnce, //
    },
};
use linux::{
    block::QueueRef,
    delayed::DelayedCall,
    new_delayed_call, //
};
use xenbus::Device;

/// Pauses between looks at requests that are held back, in milliseconds: from the first, doubled, to the last.
const RECHECK_FIRST_MS: u32 = 10;
const RECHECK_LAST_MS: u32 = 1000;

/// One disk, from the moment that a backend offers it until it is removed.
pub(crate) struct Shared {
    queues: KVec<Arc<Queue>>,
    counters: Arc<Counters>,
    max_segments: u16,
    restart: SetOnce<QueueRef>,
    flush_lost: Atomic<bool>,
    recheck_ms: Atomic<u32>,
    recheck: Pin<KBox<DelayedCall<Shared>>>,
    deadline: Pin<KBox<DelayedCall<Shared>>>,
    device: Device,
    _file: CountersFile,
    claim: Claim,
}

impl Shared {
    /// Makes `queues` queues for `depth` requests of up to `max_segments` segments each.
    ///
    /// [`close`](Self::close) has to be called before the value is let go.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        claim: Claim,
        queues: u16,
        depth: u32,
        max_segments: u16,
        device: Device,
    ) -> Result<Arc<Self>> {
        let counters = Arc::new(Counters::new(), GFP_KERNEL)?;
        let mut list = KVec::with_capacity(queues.into(), GFP_KERNEL)?;
        for _ in 0..queues {
            list.push(Queue::new(depth)?, GFP_KERNEL)?;
        }
        let shared = Arc::new(
            Self {
                queues: list,
                counters: counters.clone(),
                max_segments,
                restart: SetOnce::new(),
                flush_lost: Atomic::new(false),
                recheck_ms: Atomic::new(RECHECK_FIRST_MS),
                recheck: new_delayed_call!("oxen_blkfront_recheck", Self::recheck)?,
                deadline: new_delayed_call!("oxen_blkfront_expire", Self::expire)?,
                device,
                _file: CountersFile::new(claim.vbd(), counters)?,
                claim,
            },
            GFP_KERNEL,
        )?;
        shared.recheck.start(shared.clone());
        shared.deadline.start(shared.clone());
        Ok(shared)
    }

    /// Stops everything that runs by itself and waits for it. The queues are dead already.
    pub(crate) fn close(&self) {
        self.recheck.stop();
        self.deadline.stop();
    }

    pub(crate) fn vbd(&self) -> &Vbd {
        self.claim.vbd()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn max_segments(&self) -> u16 {
        self.max_segments
    }

    pub(crate) fn queues(&self) -> &[Arc<Queue>] {
        &self.queues
    }

    pub(crate) fn queue(&self, index: u32) -> Option<&Queue> {
        let queue = self.queues.get(usize::try_from(index).ok()?)?;
        Some(queue)
    }

    /// From now on [`start_queues`](Self::start_queues) starts these.
    pub(crate) fn set_restart(&self, queues: QueueRef) {
        let _ = self.restart.populate(queues);
    }

    /// Lets the block layer offer requests again. From any context.
    pub(crate) fn start_queues(&self) {
        if let Some(restart) = self.restart.as_ref() {
            restart.start_stopped();
        }
    }

    /// Has requests that are held back looked at in a moment. From any context.
    pub(crate) fn recheck_soon(&self) {
        self.recheck_ms.store(RECHECK_FIRST_MS, Relaxed);
        self.recheck.schedule(RECHECK_FIRST_MS);
    }

    fn recheck(&self) -> Option<u32> {
        let mut remain = false;
        for queue in &self.queues {
            remain |= queue.recheck(self);
        }
        let pause = self.recheck_ms.load(Relaxed);
        self.recheck_ms
            .store(pause.saturating_mul(2).min(RECHECK_LAST_MS), Relaxed);
        remain.then_some(pause)
    }

    /// Fails all requests after so many milliseconds, unless the disk is closed before.
    pub(crate) fn set_deadline(&self, ms: u32) {
        self.deadline.schedule(ms);
    }

    fn expire(&self) -> Option<u32> {
        let busy = self.queues.iter().any(|queue| queue.is_busy());
        if busy {
            pr_warn!(
                "{}: the backend does not answer, so its last requests fail\n",
                Shown(self.vbd())
            );
        }
        self.fail_all();
        None
    }

    /// Ends the connections of all queues. Their requests are offered again.
    pub(crate) fn disconnect(&self) {
        for queue in &self.queues {
            drop(queue.disconnect(false, &self.counters));
        }
    }

    /// Fails every request, those that the backend has and those that come. May sleep.
    pub(crate) fn fail_all(&self) {
        for queue in &self.queues {
            drop(queue.disconnect(true, &self.counters));
        }
        self.start_queues();
    }

    /// A backend broke the rules of its ring: has the frontend called, which sees to it. From any context.
    pub(crate) fn report_breach(&self) {
        self.device.reevaluate();
    }

    /// How the backend broke the rules, if it did.
    pub(crate) fn take_breach(&self) -> Option<Breach> {
        self.queues.iter().find_map(|queue| queue.take_breach())
    }

    /// The backend refused a flush that it had offered; told once. From any context.
    pub(crate) fn report_flush_lost(&self) {
        if !self.flush_lost.load(Relaxed) {
            self.flush_lost.store(true, Relaxed);
            pr_warn!(
                "{}: the backend cannot flush its cache, although it said so\n",
                Shown(self.vbd())
            );
        }
    }
}
