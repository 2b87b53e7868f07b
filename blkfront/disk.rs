// SPDX-License-Identifier: GPL-2.0

//! A disk of the guest: its queues, and what they, its interrupts and its frontend share.

use crate::{
    claims::Claim,
    debug::Files,
    params,
    queue::{
        Collected,
        Queue, //
    },
    shape::{
        Refused,
        Shape, //
    }, //
};
use abi::block::{
    features::Agreed,
    ring_slots,
    vbd::Vbd, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};
use linux::{
    block::QueueRef,
    fmt::Shown,
    new_block_call,
    new_spinlock_irq,
    sync::{
        counter::Counter,
        irq_lock::SpinLockIrq, //
    },
    workqueue::delayed::DelayedCall, //
};
use xenbus::Device;

/// Pauses between looks at requests that are held back, in milliseconds: from the first, doubled, to the last.
const RECHECK_FIRST_MS: u32 = 10;
const RECHECK_LAST_MS: u32 = 1000;

/// How long a backend may be silent with the last requests of a disk that is detached. The toolstack waits for 10 s.
const GRACE_MS: u32 = 5000;

/// What the backend has answered.
pub(crate) struct Answers {
    /// Anything at all.
    pub(crate) any: bool,
    /// The CPU that the last of the answered requests came from.
    pub(crate) asked_by: Option<u32>,
}

/// One disk, from the moment that a backend offers it until it is removed.
pub(crate) struct Vdisk {
    queues: Arc<KVec<Arc<Queue>>>,
    /// Of the queues, those with a ring: a backend may come back with fewer.
    active: Atomic<u32>,
    /// How many responses there were when it was looked at last whether there are any.
    seen: Atomic<u64>,
    /// It was told that the backend does not answer.
    silent: Atomic<bool>,
    connections: Arc<Counter>,
    max_segments: u16,
    restart: Pin<KBox<SpinLockIrq<Option<QueueRef>>>>,
    shape: Arc<Shape>,
    recheck_ms: Atomic<u32>,
    recheck: Pin<KBox<DelayedCall<Vdisk>>>,
    deadline: Pin<KBox<DelayedCall<Vdisk>>>,
    patience: Pin<KBox<DelayedCall<Vdisk>>>,
    finder: Pin<KBox<DelayedCall<Vdisk>>>,
    device: Device,
    _files: Files,
    claim: Claim,
}

impl Vdisk {
    /// Makes the queues that were agreed on for device `number`.
    ///
    /// [`close`](Self::close) has to be called before the value is let go.
    ///
    /// # Errors
    ///
    /// `EEXIST` when its name or minor numbers belong to another disk; `ENOMEM`.
    pub(crate) fn new(device: &Device, number: u32, agreed: &Agreed) -> Result<Arc<Self>> {
        let vbd = Vbd::parse(number).map_err(|_| EINVAL)?;
        let claim = Claim::new(number, vbd).map_err(|_| {
            dev_err!(
                device.as_ref(),
                "{} or its minor numbers belong to another disk\n",
                Shown(vbd)
            );
            EEXIST
        })?;
        let connections = Arc::new(Counter::new(), GFP_KERNEL)?;
        let depth = ring_slots(agreed.ring_pages());
        let all = depth.saturating_mul(agreed.queues().into());
        let mut list = KVec::with_capacity(agreed.queues().into(), GFP_KERNEL)?;
        for _ in 0..agreed.queues() {
            list.push(Queue::new(depth, all)?, GFP_KERNEL)?;
        }
        let list = Arc::new(list, GFP_KERNEL)?;
        let disk = Arc::new(
            Self {
                queues: list.clone(),
                active: Atomic::new(1),
                seen: Atomic::new(0),
                silent: Atomic::new(false),
                connections: connections.clone(),
                max_segments: params::segments(),
                restart: KBox::pin_init(
                    new_spinlock_irq!(None, "oxen_blkfront_restart"),
                    GFP_KERNEL,
                )?,
                shape: Shape::new()?,
                recheck_ms: Atomic::new(RECHECK_FIRST_MS),
                recheck: new_block_call!("oxen_blkfront_recheck", Self::recheck)?,
                deadline: new_block_call!("oxen_blkfront_expire", Self::expire)?,
                patience: new_block_call!("oxen_blkfront_give_up", Self::give_up)?,
                finder: new_block_call!("oxen_blkfront_find", Self::find)?,
                device: device.clone(),
                _files: Files::new(claim.vbd(), connections, list)?,
                claim,
            },
            GFP_KERNEL,
        )?;
        disk.recheck.start(disk.clone());
        disk.deadline.start(disk.clone());
        disk.patience.start(disk.clone());
        disk.finder.start(disk.clone());
        Ok(disk)
    }

    /// Stops everything that runs by itself and waits for it. The queues are dead already.
    pub(crate) fn close(&self) {
        self.recheck.stop();
        self.deadline.stop();
        self.patience.stop();
        self.finder.stop();
        self.shape.stop();
    }

    pub(crate) fn vbd(&self) -> &Vbd {
        self.claim.vbd()
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// A connection was made.
    pub(crate) fn count_connection(&self) {
        self.connections.count();
    }

    /// How many responses all queues have taken.
    fn responses(&self) -> u64 {
        let taken = self
            .queues
            .iter()
            .map(|queue| queue.counters().responses.get());
        taken.fold(0, u64::wrapping_add)
    }

    pub(crate) fn max_segments(&self) -> u16 {
        self.max_segments
    }

    pub(crate) fn queues(&self) -> &[Arc<Queue>] {
        &self.queues
    }

    /// The queue that serves hardware queue or channel `index`.
    pub(crate) fn queue(&self, index: u32) -> Option<&Queue> {
        let index = index.checked_rem(self.active.load(Relaxed))?;
        let queue = self.queues.get(usize::try_from(index).ok()?)?;
        Some(queue)
    }

    /// From now on the first `count` queues serve all.
    pub(crate) fn set_active(&self, count: u16) {
        self.active.store(count.max(1).into(), Relaxed);
    }

    /// From now on [`start_queues`](Self::start_queues) starts these.
    pub(crate) fn set_restart(&self, queues: QueueRef) {
        let former = self.restart.lock().replace(queues);
        // With interrupts on.
        drop(former);
    }

    /// Lets the block layer offer requests again. From any context.
    pub(crate) fn start_queues(&self) {
        if let Some(restart) = &*self.restart.lock() {
            restart.start_stopped();
        }
    }

    /// Has requests that are held back looked at in a moment. From any context.
    pub(crate) fn recheck_soon(&self) {
        self.recheck_ms.store(RECHECK_FIRST_MS, Relaxed);
        self.recheck.schedule(RECHECK_FIRST_MS);
    }

    /// Has what queues were short of found. From any context.
    pub(crate) fn find_soon(&self) {
        self.finder.schedule(0);
    }

    fn find(&self) -> Option<u32> {
        for queue in self.queues.iter() {
            queue.find(|| self.start_queues());
        }
        None
    }

    fn recheck(&self) -> Option<u32> {
        let mut remain = false;
        for queue in self.queues.iter() {
            remain |= queue.recheck(|| self.start_queues());
            self.collect(queue);
        }
        let pause = self.recheck_ms.load(Relaxed);
        self.recheck_ms
            .store(pause.saturating_mul(2).min(RECHECK_LAST_MS), Relaxed);
        remain.then_some(pause)
    }

    /// Fails all requests when none was answered for a while, unless the disk is closed before.
    pub(crate) fn set_deadline(&self) {
        self.seen.store(self.responses(), Relaxed);
        self.deadline.schedule(GRACE_MS);
    }

    fn expire(&self) -> Option<u32> {
        let answers = self.responses();
        if self.seen.load(Relaxed) != answers {
            self.seen.store(answers, Relaxed);
            return Some(GRACE_MS);
        }
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

    /// Takes the responses of a queue and ends their requests. From any context.
    pub(crate) fn collect(&self, queue: &Queue) -> Answers {
        let Collected {
            taken,
            asked_by,
            held,
            more,
            refused,
            breach,
        } = queue.collect(|| self.start_queues());
        if held || more {
            self.recheck_soon();
        }
        if taken > 0 {
            queue.counters().responses.add(taken);
            if self.silent.load(Relaxed) {
                self.silent.store(false, Relaxed);
            }
        }
        for what in refused.into_iter().flatten() {
            self.refuse(what);
        }
        if let Some(breach) = breach {
            queue.counters().broken.count();
            self.device.broken(breach);
        }
        Answers {
            any: taken > 0,
            asked_by,
        }
    }

    /// A request was not answered for the time limit of the block layer. It is not given up: a root disk has no other.
    pub(crate) fn overdue(&self, queue: &Queue) {
        queue.counters().timeouts.count();
        // In case an event was lost, at either end.
        if self.collect(queue).any || self.silent.load(Relaxed) {
            return;
        }
        queue.kick();
        self.silent.store(true, Relaxed);
        pr_warn!(
            "{}: the backend does not answer; requests wait for it\n",
            Shown(self.vbd())
        );
    }

    /// Stops using the connection; requests wait for the next one, as long as the user wants them to.
    pub(crate) fn retire(&self) {
        let mut used = false;
        for queue in self.queues.iter() {
            used |= queue.retire();
        }
        if let (true, Some(limit)) = (used, params::reconnect_ms()) {
            self.patience.schedule(limit);
        }
    }

    fn give_up(&self) -> Option<u32> {
        // A backend that is back may serve fewer rings than there are queues.
        if self.queues.iter().any(|queue| queue.is_up()) {
            return None;
        }
        let mut lost = false;
        for queue in self.queues.iter() {
            lost |= queue.give_up();
        }
        if lost {
            pr_warn!(
                "{}: the backend has not come back; requests fail until it does\n",
                Shown(self.vbd())
            );
            self.start_queues();
        }
        None
    }

    /// Gives the rings back, and offers what the backend had again. May sleep.
    pub(crate) fn shut(&self) {
        let mut parked = false;
        for queue in self.queues.iter() {
            parked |= queue.shut();
        }
        if parked {
            self.recheck_soon();
        }
    }

    /// Fails every request, those that the backend has and those that come. May sleep.
    pub(crate) fn fail_all(&self) {
        for queue in self.queues.iter() {
            queue.fail_all();
        }
        self.start_queues();
    }

    /// The backend refused what it had offered; told once. From any context.
    fn refuse(&self, what: Refused) {
        if !self.shape.refuse(what) {
            return;
        }
        match what {
            Refused::Flush => pr_warn!(
                "{}: the backend cannot flush its cache, although it said so\n",
                Shown(self.vbd())
            ),
            Refused::Discard => pr_warn!(
                "{}: the backend cannot discard, although it said so\n",
                Shown(self.vbd())
            ),
        }
    }
}
