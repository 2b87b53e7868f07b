// SPDX-License-Identifier: GPL-2.0

//! Hardware queues: requests on their way to the backend and back.
//!
//! A request is in exactly one place: with the block layer; in the table of a queue, which means that the
//! backend has it; or held back, answered but with pages that the backend has not let go of. It must not
//! be completed from there: its owner would reuse memory that the backend can still write.

use crate::{
    counters::Counters,
    link::{
        Link,
        Refusal, //
    },
    shared::Shared,
    transfer::Transfer,
};
use abi::{
    block::response::{
        Outcome,
        Response,
        WrongOperation, //
    },
    ring::Broken,
    slots::{
        Slot,
        SlotTable,
        UnknownId, //
    },
};
use core::fmt;
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    },
};
use linux::block::{
    HwQueue,
    Operations,
    Rejected,
    Request,
    Status, //
};

/// Requests completed between two looks at the lock.
const BATCH: usize = 16;

/// Most batches for one event. It is more than any ring holds: what comes beyond is left to a later call.
const MAX_BATCHES: usize = 64;

/// The block operations.
pub(crate) struct Blk;

impl Operations for Blk {
    type OwnerModule = crate::BlkfrontModule;
    type Data = Shared;
    type Pdu = Transfer;

    fn new_pdu(shared: &Shared) -> Result<Transfer> {
        Transfer::new(shared.max_segments())
    }

    fn queue_rq(
        shared: &Shared,
        hw: HwQueue<'_>,
        rq: Request<Self>,
        last: bool,
    ) -> Result<(), Rejected<Self>> {
        match shared.queue(hw.index()) {
            Some(queue) => queue.submit(shared.counters(), &hw, rq, last),
            None => Err(rq.reject(Status::IoError)),
        }
    }

    fn commit_rqs(shared: &Shared, hw: HwQueue<'_>) {
        if let Some(queue) = shared.queue(hw.index()) {
            queue.commit(shared.counters());
        }
    }

    fn timed_out(shared: &Shared, queue: u32, _tag: u32) {
        shared.counters().timeouts.count();
        // In case an event was lost, look at the ring.
        if let Some(queue) = shared.queue(queue) {
            queue.collect(shared);
        }
    }
}

/// Receives the events of one queue.
pub(crate) struct Handler {
    shared: Arc<Shared>,
    queue: u32,
}

impl Handler {
    pub(crate) fn new(shared: Arc<Shared>, queue: u32) -> Self {
        Self { shared, queue }
    }
}

impl evtchn::Handler for Handler {
    fn event(&self, event: evtchn::Event) {
        let counters = self.shared.counters();
        counters.events.count();
        let useful = match self.shared.queue(self.queue) {
            Some(queue) => queue.collect(&self.shared),
            None => false,
        };
        if !useful {
            counters.spurious.count();
            event.spurious();
        }
    }
}

/// How a backend broke the rules.
#[derive(Clone, Copy)]
pub(crate) enum Breach {
    /// The index of the ring.
    Index(Broken),
    /// The id of a response.
    Id(u64, UnknownId),
    /// The operation of a response.
    Operation(WrongOperation),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Breach::Index(broken) => broken.fmt(f),
            Breach::Id(id, why) => write!(f, "{why} (id {id:#x})"),
            Breach::Operation(wrong) => wrong.fmt(f),
        }
    }
}

/// Whether requests can flow.
enum Mode {
    /// There is no connection; requests wait.
    Down,
    /// There is.
    Up(Link),
    /// The backend broke the rules; requests wait until the link is replaced.
    Broken(Link),
    /// The disk goes away; requests fail.
    Dead,
}

struct State {
    mode: Mode,
    /// Requests that the backend has.
    sent: SlotTable<Request<Blk>, KVec<Slot<Request<Blk>>>>,
    /// Requests that are answered, but have pages that the backend has mapped.
    held: KVec<Request<Blk>>,
    /// Whether the block layer waits for us to start the queue again.
    stopped: bool,
    breach: Option<Breach>,
}

/// One hardware queue.
#[pin_data]
pub(crate) struct Queue {
    #[pin]
    state: SpinLockIrq<State>,
}

/// Requests that leave the queue, and what becomes of them outside the lock.
struct Batch {
    requests: [Option<Request<Blk>>; BATCH],
    len: usize,
}

impl Batch {
    fn new() -> Self {
        Self {
            requests: [const { None }; BATCH],
            len: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// Adds a request; the caller has looked whether there is room.
    fn push(&mut self, rq: Request<Blk>) {
        if let Some(slot) = self.requests.get_mut(self.len) {
            *slot = Some(rq);
            self.len = self.len.wrapping_add(1);
        }
    }

    /// Ends the requests as their outcomes say.
    fn finish(self, counters: &Counters) {
        for mut rq in self.requests.into_iter().flatten() {
            match rq.pdu().outcome {
                Outcome::Done => {
                    let bytes = rq.pdu().bytes;
                    if rq.advance(bytes) {
                        rq.complete(Status::Ok);
                    } else {
                        counters.partial.count();
                        rq.requeue();
                    }
                }
                // Only a flush can come to this. The backend has no cache that it could write back.
                Outcome::NotSupported => rq.complete(Status::Ok),
                Outcome::Failed => {
                    counters.errors.count();
                    rq.complete(Status::IoError);
                }
            }
        }
    }
}

impl Queue {
    /// Makes a queue without a connection, for at most `depth` requests.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(depth: u32) -> Result<Arc<Self>> {
        let depth = usize::try_from(depth)?;
        let mut slots = KVec::with_capacity(depth, GFP_KERNEL)?;
        for _ in 0..depth {
            slots.push(Slot::new(), GFP_KERNEL)?;
        }
        let state = State {
            mode: Mode::Down,
            sent: SlotTable::new(slots),
            held: KVec::with_capacity(depth, GFP_KERNEL)?,
            stopped: false,
            breach: None,
        };
        Arc::pin_init(
            pin_init!(Self {
                state <- new_spinlock_irq!(state, "oxen_blkfront_queue"),
            }),
            GFP_KERNEL,
        )
    }

    /// Sends a request.
    fn submit(
        &self,
        counters: &Counters,
        hw: &HwQueue<'_>,
        mut rq: Request<Blk>,
        last: bool,
    ) -> Result<(), Rejected<Blk>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let link = match &mut state.mode {
            Mode::Up(link) => link,
            Mode::Down | Mode::Broken(_) => {
                state.stopped = true;
                hw.stop();
                return Err(rq.reject(Status::Resource));
            }
            Mode::Dead => return Err(rq.reject(Status::IoError)),
        };
        let id = match state.sent.next_id() {
            Some(id) if link.has_room() => id,
            _ => {
                counters.waits.count();
                // What is written already has to go out: its answers start the queue again.
                link.publish(counters);
                state.stopped = true;
                hw.stop();
                return Err(rq.reject(Status::Resource));
            }
        };
        let refusal = match link.write(&mut rq, id, counters) {
            Ok(()) => {
                // There is room for it by `next_id`.
                let lost = state.sent.insert(rq).err();
                if last {
                    link.publish(counters);
                }
                drop(guard);
                drop(lost);
                return Ok(());
            }
            Err(refusal) => refusal,
        };
        drop(guard);
        match refusal {
            Refusal::Nothing => {
                rq.complete(Status::Ok);
                Ok(())
            }
            Refusal::NoGrant => {
                counters.waits.count();
                Err(rq.reject(Status::Resource))
            }
            Refusal::Impossible => Err(rq.reject(Status::IoError)),
            Refusal::NotSupported => Err(rq.reject(Status::NotSupported)),
        }
    }

    /// Sends off what was written.
    fn commit(&self, counters: &Counters) {
        if let Mode::Up(link) = &mut self.state.lock().mode {
            link.publish(counters);
        }
    }

    /// Takes responses and ends their requests. Returns whether there was any.
    pub(crate) fn collect(&self, shared: &Shared) -> bool {
        let mut any = false;
        for _ in 0..MAX_BATCHES {
            let mut batch = Batch::new();
            let mut guard = self.state.lock();
            let round = guard.take_responses(&mut batch);
            let start = batch.len > 0 && core::mem::take(&mut guard.stopped);
            drop(guard);
            any |= round.any;
            batch.finish(shared.counters());
            if start {
                shared.start_queues();
            }
            if round.held > 0 {
                shared.recheck_soon();
            }
            for _ in 0..round.held {
                shared.counters().held.count();
            }
            if round.flush_lost {
                shared.report_flush_lost();
            }
            if round.broken {
                shared.counters().broken.count();
                shared.report_breach();
            }
            if !round.more {
                return any;
            }
        }
        // More answers than any ring holds in one go: let others run.
        shared.recheck_soon();
        any
    }

    /// Looks again at the requests that are held back, and at the ring. Returns whether some remain.
    pub(crate) fn recheck(&self, shared: &Shared) -> bool {
        let mut guard = self.state.lock();
        let mut tries = guard.held.len();
        drop(guard);
        while tries > 0 {
            let mut batch = Batch::new();
            guard = self.state.lock();
            while tries > 0 && !batch.is_full() {
                tries = tries.wrapping_sub(1);
                if let Some(rq) = guard.recheck_one() {
                    batch.push(rq);
                }
            }
            let start = batch.len > 0 && core::mem::take(&mut guard.stopped);
            drop(guard);
            batch.finish(shared.counters());
            if start {
                shared.start_queues();
            }
        }
        self.collect(shared);
        let held = self.state.lock().held.len();
        held > 0
    }

    /// Puts a connection in place and lets requests flow.
    ///
    /// # Errors
    ///
    /// The link, when there is one already, the disk is going away, or the ring is larger than the queue.
    pub(crate) fn connect(&self, link: Link) -> Result<(), Link> {
        let mut state = self.state.lock();
        match state.mode {
            Mode::Down => {
                state.mode = Mode::Up(link);
                state.stopped = false;
                state.breach = None;
                Ok(())
            }
            _ => Err(link),
        }
    }

    /// Ends the connection. Requests that the backend has are offered again, if their pages can be had
    /// back; those of which it keeps pages fail, and so do all when the disk is going away (`dead`).
    ///
    /// The link comes back, to be dropped where sleeping is allowed.
    pub(crate) fn disconnect(&self, dead: bool, counters: &Counters) -> Option<Link> {
        let mut state = self.state.lock();
        let next = if dead || matches!(state.mode, Mode::Dead) {
            Mode::Dead
        } else {
            Mode::Down
        };
        let link = match core::mem::replace(&mut state.mode, next) {
            Mode::Up(link) | Mode::Broken(link) => Some(link),
            Mode::Down | Mode::Dead => None,
        };
        drop(state);
        let link = link?;
        // Nobody adds requests now: the table and the list only shrink.
        loop {
            let mut state = self.state.lock();
            let (rq, answered) = match state.held.pop() {
                Some(rq) => (Some(rq), true),
                None => (state.sent.drain().next(), false),
            };
            drop(state);
            let Some(mut rq) = rq else {
                return Some(link);
            };
            let free = link.end(&mut rq);
            if !free {
                link.revoke(&mut rq, counters);
            }
            if dead || !free {
                counters.abandoned.count();
                rq.complete(Status::IoError);
            } else if answered {
                let mut batch = Batch::new();
                batch.push(rq);
                batch.finish(counters);
            } else {
                counters.requeued.count();
                rq.requeue();
            }
        }
    }

    /// How the backend broke the rules, if it did and was not asked before.
    pub(crate) fn take_breach(&self) -> Option<Breach> {
        self.state.lock().breach.take()
    }

    /// Whether the backend has requests of ours.
    pub(crate) fn is_busy(&self) -> bool {
        let state = self.state.lock();
        !state.sent.is_empty() || !state.held.is_empty()
    }
}

/// What one look at the ring brought.
#[derive(Default)]
struct Round {
    any: bool,
    more: bool,
    held: u32,
    flush_lost: bool,
    broken: bool,
}

impl State {
    /// Takes responses until the batch is full or there are no more.
    fn take_responses(&mut self, batch: &mut Batch) -> Round {
        let mut round = Round::default();
        if let Err(breach) = self.try_take_responses(batch, &mut round) {
            round.broken = true;
            round.more = false;
            self.breach = Some(breach);
            self.mode = match core::mem::replace(&mut self.mode, Mode::Down) {
                Mode::Up(link) => Mode::Broken(link),
                other => other,
            };
        }
        round
    }

    fn try_take_responses(&mut self, batch: &mut Batch, round: &mut Round) -> Result<(), Breach> {
        let Mode::Up(link) = &mut self.mode else {
            return Ok(());
        };
        // Each response makes room in the table, so there are at most as many as it has slots.
        for _ in 0..self.sent.capacity() {
            if batch.is_full() {
                round.more = true;
                return Ok(());
            }
            let response = match link.take().map_err(Breach::Index)? {
                Some(response) => response,
                None if link.arm().map_err(Breach::Index)? => continue,
                None => return Ok(()),
            };
            round.any = true;
            let (mut rq, outcome) = judge(&mut self.sent, &response)?;
            if outcome == Outcome::NotSupported {
                link.drop_flush();
                round.flush_lost = true;
            }
            rq.pdu_mut().outcome = outcome;
            if link.end(&mut rq) {
                batch.push(rq);
                continue;
            }
            round.held = round.held.wrapping_add(1);
            // There is room for every request that the queue can have.
            let _ = self.held.push_within_capacity(rq);
        }
        round.more = true;
        Ok(())
    }

    /// Tries to end the grants of the request that is held back longest.
    fn recheck_one(&mut self) -> Option<Request<Blk>> {
        let (Mode::Up(link) | Mode::Broken(link)) = &self.mode else {
            return None;
        };
        let mut rq = self.held.remove(0).ok()?;
        if link.end(&mut rq) {
            return Some(rq);
        }
        // It was just taken out, so there is room.
        let _ = self.held.push_within_capacity(rq);
        None
    }
}

/// Finds the request that a response answers. It stays in the table unless the response is right.
fn judge(
    sent: &mut SlotTable<Request<Blk>, KVec<Slot<Request<Blk>>>>,
    response: &Response,
) -> Result<(Request<Blk>, Outcome), Breach> {
    let id = response.id();
    let rq = sent.get(id).map_err(|why| Breach::Id(id, why))?;
    let outcome = response
        .outcome(rq.pdu().operation)
        .map_err(Breach::Operation)?;
    let rq = sent.take(id).map_err(|why| Breach::Id(id, why))?;
    Ok((rq, outcome))
}
