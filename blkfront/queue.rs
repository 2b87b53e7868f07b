// SPDX-License-Identifier: GPL-2.0

//! Hardware queues: requests on their way to the backend and back.
//!
//! A request is in exactly one place: with the block layer; in the table of a queue, which means that the
//! backend has it; or held back, answered but with pages that the backend has not let go of. It must not
//! be completed from there: its owner would reuse memory that the backend can still write.

use crate::{
    batch::{
        hand_back,
        Batch, //
    },
    breach::{
        judge,
        Breach,
        Sent, //
    },
    counters::Counters,
    data::Need,
    parked::Parked,
    ring::{
        QueueRing,
        Refusal, //
    },
    shape::Refused,
    stock::Buffer,
    transfer::Blk, //
};
use abi::{
    block::{
        request::Operation,
        response::Outcome, //
    },
    slots::{
        Slot,
        SlotTable, //
    },
    types::DomainId,
};
use grant_table::Pool;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::{
    block::{
        HwQueue,
        Rejected,
        Request,
        Status, //
    },
    new_spinlock_irq,
    sync::irq_lock::SpinLockIrq, //
};

/// Most batches for one event. It is more than any ring holds: what comes beyond is left to a later call.
const MAX_BATCHES: usize = 64;

/// Connections of which requests are parked, at most. Beyond that they fail at once.
const MOST_PARKED: usize = 8;

/// Whether requests can flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// There is no connection; requests wait.
    Down,
    /// There has been none for too long; requests fail until there is one.
    Lost,
    /// There is one.
    Up,
    /// The backend broke the rules; requests wait until the connection is replaced.
    Broken,
    /// The disk goes away; requests fail.
    Dead,
}

struct State {
    mode: Mode,
    ring: Option<QueueRing>,
    /// Requests that the backend has.
    sent: Sent,
    /// Requests that are answered, but have pages that the backend has mapped.
    held: KVec<Request<Blk>>,
    /// Those of former connections in the same state.
    parked: KVec<Parked>,
    /// Whether the block layer waits for us to start the queue again.
    stopped: bool,
}

/// One hardware queue.
#[pin_data]
pub(crate) struct Queue {
    counters: Counters,
    #[pin]
    state: SpinLockIrq<State>,
}

impl Queue {
    /// Makes a queue without a connection, for at most `depth` requests at the backend, of `all` that the disk has.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(depth: u32, all: u32) -> Result<Arc<Self>> {
        let (depth, all) = (usize::try_from(depth)?, usize::try_from(all)?);
        let mut slots = KVec::with_capacity(depth, GFP_KERNEL)?;
        for _ in 0..depth {
            slots.push(Slot::new(), GFP_KERNEL)?;
        }
        let state = State {
            mode: Mode::Down,
            ring: None,
            sent: SlotTable::new(slots),
            held: KVec::with_capacity(all, GFP_KERNEL)?,
            parked: KVec::with_capacity(MOST_PARKED, GFP_KERNEL)?,
            stopped: false,
        };
        Arc::pin_init(
            pin_init!(Self {
                counters: Counters::new(),
                state <- new_spinlock_irq!(state, "oxen_blkfront_queue"),
            }),
            GFP_KERNEL,
        )
    }

    /// What it has counted.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sends a request. `short` is called when its data finds no room, now and then: [`find`](Self::find) is due.
    pub(crate) fn submit(
        &self,
        hw: &HwQueue<'_>,
        mut rq: Request<Blk>,
        last: bool,
        short: impl FnOnce(),
    ) -> Result<(), Rejected<Blk>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let ring = match (state.mode, &mut state.ring) {
            (Mode::Up, Some(ring)) => ring,
            (Mode::Dead | Mode::Lost, _) => return Err(rq.reject(Status::IoError)),
            _ => {
                state.stopped = true;
                hw.stop();
                return Err(rq.reject(Status::Resource));
            }
        };
        let id = match state.sent.next_id() {
            Some(id) if ring.has_room() => id,
            _ => {
                self.counters.waits.count();
                // What is written already has to go out: its answers start the queue again.
                ring.publish(&self.counters);
                state.stopped = true;
                hw.stop();
                return Err(rq.reject(Status::Resource));
            }
        };
        let refusal = match ring.write(&mut rq, id, &self.counters) {
            Ok(()) => {
                // There is room for it by `next_id`.
                let lost = state.sent.insert(rq).err();
                if last {
                    ring.publish(&self.counters);
                }
                let lacks = ring.is_short();
                drop(guard);
                drop(lost);
                if lacks {
                    short();
                }
                return Ok(());
            }
            Err(refusal) => refusal,
        };
        if matches!(refusal, Refusal::Short) {
            ring.publish(&self.counters);
            // The next answer brings room, or `find` does. When there is nothing to answer, the block layer asks again.
            if state.has_sent() {
                state.stopped = true;
                hw.stop();
            }
        }
        drop(guard);
        match refusal {
            Refusal::Nothing => {
                rq.complete(Status::Ok);
                Ok(())
            }
            Refusal::Short => {
                self.counters.waits.count();
                short();
                Err(rq.reject(Status::Resource))
            }
            Refusal::Impossible => Err(rq.reject(Status::IoError)),
            Refusal::NotSupported => Err(rq.reject(Status::NotSupported)),
        }
    }

    /// Makes pages for a ring. Returns whether there is one more at least.
    fn make(&self, backend: DomainId, count: usize, indirect: bool) -> bool {
        let mut made = false;
        for _ in 0..count {
            let Ok(buffer) = Buffer::new(backend) else {
                break;
            };
            if let Some(ring) = &mut self.state.lock().ring {
                ring.add(backend, buffer, indirect);
            }
            made = true;
        }
        made
    }

    /// Finds what the queue was short of, and starts it again. May sleep.
    pub(crate) fn find(&self, start: impl Fn()) {
        let need = self.state.lock().ring.as_mut().and_then(|ring| ring.need());
        let found = match need {
            None => false,
            Some((_, Need::References(count))) => Pool::make_room(count).is_ok(),
            Some((backend, Need::Buffers(count))) => self.make(backend, count, false),
            Some((backend, Need::Indirect(count))) => self.make(backend, count, true),
        };
        if found && core::mem::take(&mut self.state.lock().stopped) {
            start();
        }
    }

    /// Sends off what was written.
    pub(crate) fn commit(&self) {
        let mut state = self.state.lock();
        if let (Mode::Up, Some(ring)) = (state.mode, &mut state.ring) {
            ring.publish(&self.counters);
        }
    }

    /// Takes responses and ends their requests; `start` starts the queues again. From any context.
    pub(crate) fn collect(&self, start: impl Fn()) -> Collected {
        let mut collected = Collected {
            more: true,
            ..Collected::default()
        };
        for _ in 0..MAX_BATCHES {
            let mut batch = Batch::new();
            let mut state = self.state.lock();
            state.take_responses(&mut batch, &mut collected, &self.counters);
            let waiting = !batch.is_empty() && core::mem::take(&mut state.stopped);
            drop(state);
            batch.finish(&self.counters);
            if waiting {
                start();
            }
            if !collected.more {
                break;
            }
        }
        collected
    }

    /// Looks again at the requests that are held back. Returns whether some remain.
    pub(crate) fn recheck(&self, start: impl Fn()) -> bool {
        let mut tries = self.state.lock().held.len();
        while tries > 0 {
            let mut batch = Batch::new();
            let mut state = self.state.lock();
            while tries > 0 && !batch.is_full() {
                tries = tries.wrapping_sub(1);
                if let Some(rq) = state.recheck_one(&self.counters) {
                    batch.push(rq);
                }
            }
            let waiting = !batch.is_empty() && core::mem::take(&mut state.stopped);
            drop(state);
            batch.finish(&self.counters);
            if waiting {
                start();
            }
        }
        self.recheck_parked() || !self.state.lock().held.is_empty()
    }

    /// Looks at those of former connections.
    fn recheck_parked(&self) -> bool {
        let mut from = 0usize;
        loop {
            let mut state = self.state.lock();
            let Some(parked) = state.parked.get_mut(from) else {
                return from > 0;
            };
            if let Some((rq, answered)) = parked.take(&self.counters) {
                drop(state);
                hand_back(rq, answered, &self.counters);
            } else if parked.len() > 0 {
                from = from.saturating_add(1);
            } else {
                // Its ring may sleep as it goes.
                let done = state.parked.remove(from);
                drop(state);
                drop(done);
            }
        }
    }

    /// Puts a ring in place and lets requests flow.
    ///
    /// # Errors
    ///
    /// The ring, when there is one already or the disk is going away.
    pub(crate) fn connect(&self, ring: QueueRing) -> Result<(), QueueRing> {
        let mut state = self.state.lock();
        if !matches!(state.mode, Mode::Down | Mode::Lost) || state.ring.is_some() {
            return Err(ring);
        }
        state.mode = Mode::Up;
        state.ring = Some(ring);
        state.stopped = false;
        Ok(())
    }

    /// Stops using the ring. Requests that the backend has wait for [`shut`](Self::shut). Returns whether it was used.
    pub(crate) fn retire(&self) -> bool {
        let mut state = self.state.lock();
        let used = matches!(state.mode, Mode::Up | Mode::Broken);
        if used {
            state.mode = Mode::Down;
        }
        used
    }

    /// Tells whether there is a connection.
    pub(crate) fn is_up(&self) -> bool {
        self.state.lock().mode == Mode::Up
    }

    /// Has requests that wait for a connection fail until there is one. Returns false if they do not. May sleep.
    pub(crate) fn give_up(&self) -> bool {
        let mut state = self.state.lock();
        if state.mode != Mode::Down {
            return false;
        }
        state.mode = Mode::Lost;
        drop(state);
        self.fail_parked();
        true
    }

    /// Gives the ring back. Requests that the backend had are offered again. Returns whether some are parked, since the
    /// backend keeps pages of theirs.
    pub(crate) fn shut(&self) -> bool {
        let ring = self.state.lock().ring.take();
        let Some(mut ring) = ring else {
            return false;
        };
        let room = self.state.lock().held.capacity();
        // Without memory to park them they fail.
        let mut kept = KVec::with_capacity(room, GFP_KERNEL).unwrap_or_default();
        self.take_back(&mut ring, &mut kept);
        if kept.is_empty() {
            return false;
        }
        let parked = Parked::new(ring, kept);
        let mut state = self.state.lock();
        if state.parked.len() < state.parked.capacity() {
            let _ = state.parked.push_within_capacity(parked);
            return true;
        }
        drop(state);
        parked.fail(&self.counters);
        false
    }

    /// Takes back what the backend had, with the ring that it went out by. Such requests are offered again, if their
    /// pages can be had back; those of which the backend keeps pages go to `kept`, while there is room. All fail when the
    /// disk is going away.
    fn take_back(&self, ring: &mut QueueRing, kept: &mut KVec<(Request<Blk>, bool)>) {
        // Nobody adds requests now: the table and the list only shrink.
        loop {
            let mut state = self.state.lock();
            let dead = state.mode == Mode::Dead;
            let (rq, answered) = match state.held.pop() {
                Some(rq) => (Some(rq), true),
                None => (state.sent.drain().next(), false),
            };
            drop(state);
            let Some(mut rq) = rq else {
                return;
            };
            let free = ring.end(&mut rq, &self.counters);
            if free && !dead {
                hand_back(rq, answered, &self.counters);
                continue;
            }
            if !dead && kept.len() < kept.capacity() {
                self.counters.held.count();
                let _ = kept.push_within_capacity((rq, answered));
                continue;
            }
            ring.revoke(&mut rq, &self.counters);
            self.counters.abandoned.count();
            rq.complete(Status::IoError);
        }
    }

    /// Fails every request, those that the backend has and those that come. May sleep.
    pub(crate) fn fail_all(&self) {
        let mut state = self.state.lock();
        state.mode = Mode::Dead;
        let ring = state.ring.take();
        drop(state);
        if let Some(mut ring) = ring {
            self.take_back(&mut ring, &mut KVec::new());
            // The backend still has the ring.
            self.state.lock().ring = Some(ring);
        }
        self.fail_parked();
    }

    fn fail_parked(&self) {
        loop {
            let parked = self.state.lock().parked.pop();
            match parked {
                Some(parked) => parked.fail(&self.counters),
                None => break,
            }
        }
    }

    /// Whether the backend has requests of ours.
    pub(crate) fn is_busy(&self) -> bool {
        let state = self.state.lock();
        state.has_sent() || !state.parked.is_empty()
    }

    /// What debugfs shows of the queue.
    pub(crate) fn load(&self) -> Load {
        let state = self.state.lock();
        let of_parked: usize = state.parked.iter().map(Parked::grants).sum();
        let of_ring = state.ring.as_ref().map_or(0, QueueRing::grants);
        Load {
            sent: state.sent.held(),
            held: state.held.len(),
            parked: state.parked.iter().map(Parked::len).sum(),
            grants: of_parked.saturating_add(of_ring),
        }
    }

    /// Notifies the backend, in case it has missed something.
    pub(crate) fn kick(&self) {
        if let (Mode::Up, Some(ring)) = {
            let state = self.state.lock();
            (state.mode, state.ring.as_ref().map(|ring| ring.notifier()))
        } {
            ring.notify();
        }
    }
}

/// One look at a queue.
pub(crate) struct Load {
    /// Requests that the backend has.
    pub(crate) sent: usize,
    /// Answered requests that are held back.
    pub(crate) held: usize,
    /// Requests of former connections.
    pub(crate) parked: usize,
    /// References that the queue holds, in use or not.
    pub(crate) grants: usize,
}

/// What was found when responses were taken.
#[derive(Default)]
pub(crate) struct Collected {
    /// Responses.
    pub(crate) taken: usize,
    /// The CPU that the request of the last one came from.
    pub(crate) asked_by: Option<u32>,
    /// There are more than any ring holds: let others run.
    pub(crate) more: bool,
    /// Some requests are held back.
    pub(crate) held: bool,
    /// What was refused, although it was offered.
    pub(crate) refused: [Option<Refused>; 2],
    /// The backend broke the rules.
    pub(crate) breach: Option<Breach>,
}

impl State {
    /// Whether the backend of this connection has requests, or pages of some.
    fn has_sent(&self) -> bool {
        !self.sent.is_empty() || !self.held.is_empty()
    }

    /// Takes responses until the batch is full or there are no more.
    fn take_responses(
        &mut self,
        batch: &mut Batch,
        collected: &mut Collected,
        counters: &Counters,
    ) {
        match self.try_take_responses(batch, collected, counters) {
            Ok(more) => collected.more = more,
            Err(breach) => {
                collected.more = false;
                collected.breach = Some(breach);
                self.mode = Mode::Broken;
            }
        }
    }

    fn try_take_responses(
        &mut self,
        batch: &mut Batch,
        collected: &mut Collected,
        counters: &Counters,
    ) -> Result<bool, Breach> {
        let (Mode::Up, Some(ring)) = (self.mode, &mut self.ring) else {
            return Ok(false);
        };
        // Each response makes room in the table, so there are at most as many as it has slots.
        for _ in 0..self.sent.capacity() {
            if batch.is_full() {
                return Ok(true);
            }
            let response = match ring.take().map_err(Breach::Index)? {
                Some(response) => response,
                None if ring.arm().map_err(Breach::Index)? => continue,
                None => return Ok(false),
            };
            collected.taken = collected.taken.wrapping_add(1);
            let (mut rq, outcome) = judge(&mut self.sent, &response)?;
            collected.asked_by = Some(rq.cpu());
            if outcome == Outcome::NotSupported {
                if rq.pdu().operation == Operation::Discard {
                    collected.refused[1] = Some(Refused::Discard);
                } else {
                    ring.drop_flush();
                    collected.refused[0] = Some(Refused::Flush);
                }
            }
            rq.pdu_mut().outcome = outcome;
            if ring.end(&mut rq, counters) {
                batch.push(rq);
                continue;
            }
            counters.held.count();
            collected.held = true;
            // There is room for every request that the queue can have.
            let _ = self.held.push_within_capacity(rq);
        }
        Ok(true)
    }

    /// Tries to end the grants of the request that is held back longest.
    fn recheck_one(&mut self, counters: &Counters) -> Option<Request<Blk>> {
        let ring = self.ring.as_mut()?;
        let mut rq = self.held.remove(0).ok()?;
        if ring.end(&mut rq, counters) {
            return Some(rq);
        }
        // It was just taken out, so there is room.
        let _ = self.held.push_within_capacity(rq);
        None
    }
}
