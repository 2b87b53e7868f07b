// SPDX-License-Identifier: GPL-2.0

//! The xenstore client: many requests under way, each with a time limit.
//!
//! Callers queue a message and wait; the thread in [`super::pump`] moves bytes and completes them. A caller that stops
//! waiting leaves its number behind, so a late reply is known and dropped.
//!
//! That thread must not wait for writeback, since writeback may wait for a disk that waits for the xenstore. So each lock
//! that it takes is taken with [`reclaim::lock`].

use abi::xenstore::{
    replies::{
        Outstanding,
        Reserved,
        Slot, //
    },
    shares::{
        Shares,
        User,
        TRANSACTIONS, //
    },
    wire::Kind, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc,
        Mutex, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};
use linux::{
    cpu,
    error::ECONNRESET,
    mm::reclaim,
    new_wait_queue, //
    sync::wait::{
        Sleep,
        WaitQueue,
        Woken, //
    },
};

use super::{
    body::Message,
    doorbell::Doorbell,
    halt::Halt,
    places::{
        Place,
        Places, //
    },
    request::{
        Owner,
        Pending, //
    },
    watches::Watches,
};

/// Requests under way at once.
pub(crate) const OUTSTANDING: usize = 64;

/// How long the module waits for answers that nobody needs before it goes away.
pub(crate) const SETTLE: Delta = Delta::from_secs(2);

/// Complaints about the server that are printed within a minute; more are only counted.
const COMPLAINTS: u32 = 16;

/// A request on its way into the ring.
pub(crate) struct Outgoing {
    pub(crate) number: u32,
    pub(crate) bytes: KVec<u8>,
    pub(crate) sent: usize,
}

/// The transaction that a request belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Within {
    /// As the server calls it; 0 for none.
    pub(crate) number: u32,
    /// The connection that it was opened by. A later one does not know it, or gives its number to another.
    pub(crate) epoch: u32,
}

impl Within {
    /// No transaction.
    pub(crate) const NONE: Self = Self {
        number: 0,
        epoch: 0,
    };

    pub(crate) fn is_none(self) -> bool {
        self.number == 0
    }
}

/// What the callers and the thread share.
///
/// # Invariants
///
/// `outgoing` has capacity for [`OUTSTANDING`] requests and one of which the server has a part, `orphans` for as many
/// transactions as there can be.
pub(crate) struct State {
    pub(crate) outgoing: KVec<Outgoing>,
    pub(crate) outstanding: Outstanding<Owner, KVec<Slot<Owner>>>,
    /// Transactions that nobody wants any more, until they are ended. Their places are taken until then.
    orphans: KVec<(Within, Place)>,
    /// Counts connections.
    epoch: u32,
    /// The module is going away.
    closed: bool,
}

/// Counters for debugfs.
pub(crate) struct Counters {
    pub(crate) requests: Atomic<u64>,
    pub(crate) replies: Atomic<u64>,
    pub(crate) timeouts: Atomic<u64>,
    pub(crate) late: Atomic<u64>,
    pub(crate) events: Atomic<u64>,
    pub(crate) strays: Atomic<u64>,
    pub(crate) undone: Atomic<u64>,
    pub(crate) violations: Atomic<u32>,
    pub(crate) reconnects: Atomic<u32>,
}

/// The client.
#[pin_data]
pub(crate) struct Client {
    #[pin]
    state: Mutex<State>,
    /// Callers that wait for a place in the table.
    #[pin]
    vacancy: WaitQueue,
    /// Written under the lock of `state`, for conditions that must not take it: whether there is a place for the kernel
    /// and for programs, how many places are taken, and how many orphans there are.
    vacant: [Atomic<bool>; 2],
    taken: Atomic<usize>,
    orphans: Atomic<usize>,
    transactions: Arc<Places>,
    #[pin]
    watches: Watches,
    doorbell: Arc<Doorbell>,
    #[pin]
    halt: Halt,
    /// How long a request may take, its wait for a place included.
    limit: Delta,
    /// The minute of the last complaint, and how many there were in it.
    minute: Atomic<u64>,
    complaints: Atomic<u32>,
    pub(crate) counters: Counters,
}

impl Client {
    /// Makes a client whose requests may take `limit`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(doorbell: Arc<Doorbell>, limit: Delta) -> Result<Arc<Self>> {
        let mut slots = KVec::with_capacity(OUTSTANDING, GFP_KERNEL)?;
        for _ in 0..OUTSTANDING {
            let _ = slots.push_within_capacity(Slot::new());
        }
        // INVARIANT: The capacities are as they have to be, and nothing takes the vectors out.
        let state = State {
            outgoing: KVec::with_capacity(OUTSTANDING + 1, GFP_KERNEL)?,
            outstanding: Outstanding::new(slots, 1),
            orphans: KVec::with_capacity(TRANSACTIONS, GFP_KERNEL)?,
            epoch: 0,
            closed: false,
        };
        let transactions = Places::new(Shares::transactions())?;
        let watches = Watches::new(Places::new(Shares::watches())?);
        Arc::pin_init(
            pin_init!(Self {
                state <- new_mutex!(state),
                vacancy <- new_wait_queue!("xenbus::vacancy"),
                vacant: [Atomic::new(true), Atomic::new(true)],
                taken: Atomic::new(0),
                orphans: Atomic::new(0),
                transactions,
                watches <- watches,
                doorbell,
                halt <- Halt::new(),
                limit,
                minute: Atomic::new(0),
                complaints: Atomic::new(0),
                counters: Counters {
                    requests: Atomic::new(0),
                    replies: Atomic::new(0),
                    timeouts: Atomic::new(0),
                    late: Atomic::new(0),
                    events: Atomic::new(0),
                    strays: Atomic::new(0),
                    undone: Atomic::new(0),
                    violations: Atomic::new(0),
                    reconnects: Atomic::new(0),
                },
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn state(&self) -> reclaim::NoIoGuard<'_, State> {
        reclaim::lock(&self.state)
    }

    /// Returns until when a request may take that begins now.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline {
            since: Instant::now(),
            limit: self.limit,
        }
    }

    /// Returns the places for transactions.
    pub(crate) fn transactions(&self) -> &Arc<Places> {
        &self.transactions
    }

    pub(crate) fn watches(&self) -> &Watches {
        &self.watches
    }

    pub(crate) fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// Returns where the thread that serves the rings can be made to stand.
    pub(crate) fn halt(&self) -> &Halt {
        &self.halt
    }

    /// Returns the queue of those who wait for a place, which is woken at every change.
    pub(crate) fn vacancy(&self) -> &WaitQueue {
        &self.vacancy
    }

    /// Tells whether there is a place for a request of `user`. A closed client says yes, so that callers come to know.
    pub(crate) fn is_vacant(&self, user: User) -> bool {
        let [kernel, programs] = &self.vacant;
        match user {
            User::Kernel => kernel.load(Relaxed),
            User::Program => programs.load(Relaxed),
        }
    }

    /// Notes how full the table is, and wakes those who wait for a place.
    pub(crate) fn note_usage(&self, state: &State) {
        let (waiting, abandoned) = state.outstanding.usage();
        self.taken.store(waiting.saturating_add(abandoned), Relaxed);
        let [kernel, programs] = &self.vacant;
        for (vacant, user) in [(kernel, User::Kernel), (programs, User::Program)] {
            vacant.store(state.closed || state.outstanding.has_place(user), Relaxed);
        }
        self.vacancy.wake_all();
    }

    /// Counts a fault of the server, and tells whether to print it.
    pub(crate) fn complain(&self) -> bool {
        self.counters.violations.fetch_add(1u32, Relaxed);
        let seconds = cpu::ticks().checked_div(cpu::ticks_per_second().into());
        let minute = seconds.unwrap_or(0) / 60;
        // Two at once at the turn of a minute may print one more.
        if self.minute.load(Relaxed) != minute {
            self.minute.store(minute, Relaxed);
            self.complaints.store(0, Relaxed);
        }
        let count = self.complaints.fetch_add(1u32, Relaxed);
        if count == COMPLAINTS {
            pr_warn!("xenstore: further faults of the server are only counted, for a minute\n");
        }
        count < COMPLAINTS
    }

    /// Takes a place for a request if there is one.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when there is none, `ENODEV` when the client is closed.
    pub(crate) fn try_ticket(self: &Arc<Self>, user: User) -> Result<Ticket> {
        let mut state = self.state();
        if state.closed {
            return Err(ENODEV);
        }
        let place = state.outstanding.reserve(user).map_err(|_| EAGAIN)?;
        self.note_usage(&state);
        Ok(Ticket {
            client: self.clone(),
            place: Some(place),
        })
    }

    /// Takes a place in the domain's quota of transactions, and waits for it if need be.
    ///
    /// # Errors
    ///
    /// As [`Places::wait`].
    pub(crate) fn transaction_place(&self, user: User) -> Result<Place> {
        self.transactions.wait(user, self.limit)
    }

    /// Takes a place for a request, and waits for it if need be.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` when there is none until `until`, `EINTR` when a signal that `sleep` heeds came, `ENODEV` when the
    /// client is closed.
    pub(crate) fn ticket(
        self: &Arc<Self>,
        user: User,
        sleep: Sleep,
        until: Deadline,
    ) -> Result<Ticket> {
        loop {
            match self.try_ticket(user) {
                Err(EAGAIN) => {}
                result => return result,
            }
            let woken = self
                .vacancy
                .wait(sleep, Some(until.left()), || self.is_vacant(user));
            match woken {
                Woken::Ready => {}
                Woken::TimedOut => return Err(ETIMEDOUT),
                Woken::Signal => return Err(EINTR),
            }
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    ///
    /// What the server reports; `ETIMEDOUT` when it does not answer in time, `ECONNRESET` when the connection was lost
    /// meanwhile or the transaction belongs to an earlier one, `EPROTO` when the answer is no answer to this request,
    /// `EINTR` when the caller is being killed.
    pub(crate) fn call(
        self: &Arc<Self>,
        user: User,
        kind: Kind,
        within: Within,
        message: Message,
    ) -> Result<KVec<u8>> {
        self.call_or(user, kind, within, message, Owner::Nobody)
            .map(|(answer, _)| answer)
    }

    /// As [`Self::call`]; `heir` gets the answer when the caller stops waiting for it, and comes back when not.
    pub(crate) fn call_or(
        self: &Arc<Self>,
        user: User,
        kind: Kind,
        within: Within,
        message: Message,
        heir: Owner,
    ) -> Result<(KVec<u8>, (Owner, u32))> {
        let until = self.deadline();
        let pending = Pending::new()?;
        let ticket = self.ticket(user, Sleep::Killable, until)?;
        let sent = ticket.send(
            kind.number(),
            within,
            message,
            Owner::Waiter(pending.clone()),
        );
        let sent = sent.map_err(|(error, _)| error)?;
        let woken = pending.wait(until.left());
        let heir = if woken == Woken::Ready {
            Some(heir)
        } else {
            self.give_up(sent.number, heir)
        };
        // The answer may have come while the request was being given up.
        if let (Some(answer), Some(heir)) = (pending.take(), heir) {
            return answer.map(|answer| (answer, (heir, sent.epoch)));
        }
        if woken == Woken::Signal {
            return Err(EINTR);
        }
        self.counters.timeouts.add(1u64, Relaxed);
        if self.complain() {
            pr_warn!(
                "xenstore: no answer to request {} ({kind:?}) within {} s; it is given up\n",
                sent.number,
                self.limit.as_millis() / 1000
            );
        }
        Err(ETIMEDOUT)
    }

    /// Sends a request for its effect if there is a place for it; tells whether it did. For the thread that serves the
    /// rings, also when the client is closed.
    pub(crate) fn post(&self, kind: Kind, within: Within, message: Message) -> bool {
        let mut state = self.state();
        if !within.is_none() && within.epoch != state.epoch {
            return true;
        }
        let Ok(place) = state.outstanding.reserve(User::Kernel) else {
            return false;
        };
        self.queue(
            &mut state,
            place,
            kind.number(),
            within,
            message,
            Owner::Nobody,
        );
        true
    }

    fn queue(
        &self,
        state: &mut State,
        place: Reserved,
        kind: u32,
        within: Within,
        message: Message,
        owner: Owner,
    ) -> u32 {
        let number = state.outstanding.insert(place, kind, owner);
        let outgoing = Outgoing {
            number,
            bytes: message.finish(kind, number, within.number),
            sent: 0,
        };
        // By the type invariants there is capacity for it.
        let _ = state.outgoing.push_within_capacity(outgoing);
        self.note_usage(state);
        self.counters.requests.add(1u64, Relaxed);
        number
    }

    /// Stops waiting for a request. What has not begun to go out never does. Gives `heir` back if there is nothing to
    /// come that it could get.
    fn give_up(&self, number: u32, heir: Owner) -> Option<Owner> {
        let mut state = self.state();
        let unsent = state
            .outgoing
            .iter()
            .position(|outgoing| outgoing.number == number && outgoing.sent == 0);
        let (owner, heir) = if let Some(at) = unsent {
            let _ = state.outgoing.remove(at);
            (state.outstanding.forget(number), Some(heir))
        } else if matches!(heir, Owner::Nobody) {
            (state.outstanding.abandon(number), Some(heir))
        } else {
            match state.outstanding.hand_over(number, heir) {
                Ok(owner) => (Some(owner), None),
                Err(heir) => (None, Some(heir)),
            }
        };
        self.note_usage(&state);
        drop(state);
        drop(owner);
        heir
    }

    /// The connection is lost: forgets what has not gone out and moves all owners to `owners`, which has capacity for
    /// [`OUTSTANDING`] of them. `first` is what the server is to hear first.
    ///
    /// A request of which the server has a part is sent to its end, or the server would take what follows for its rest.
    pub(crate) fn lose(&self, first: Option<(Kind, Message)>, owners: &mut KVec<Owner>) {
        let mut state = self.state();
        state.epoch = state.epoch.wrapping_add(1);
        state.outgoing.retain(|outgoing| outgoing.sent != 0);
        while let Some(owner) = state.outstanding.take_any() {
            if let Err(error) = owners.push_within_capacity(owner) {
                drop(error);
            }
        }
        if let Some((kind, message)) = first {
            if let Ok(place) = state.outstanding.reserve(User::Kernel) {
                let (kind, owner) = (kind.number(), Owner::Nobody);
                self.queue(&mut state, place, kind, Within::NONE, message, owner);
            }
        }
        self.note_usage(&state);
    }

    /// The rings are new: the rest of what was half sent is of no use.
    pub(crate) fn forget_half_sent(&self) {
        self.state().outgoing.retain(|outgoing| outgoing.sent == 0);
    }

    /// Returns the number of the connection.
    pub(crate) fn epoch(&self) -> u32 {
        self.state().epoch
    }

    /// Has a transaction ended that nobody wants any more. Never waits.
    pub(crate) fn orphan(&self, within: Within, place: Place) {
        let mut state = self.state();
        let result = state.orphans.push_within_capacity((within, place));
        self.orphans.store(state.orphans.len(), Relaxed);
        drop(state);
        // Each has a place, and there are no more places.
        drop(result);
        self.counters.undone.add(1u64, Relaxed);
        self.doorbell.ring();
    }

    /// Returns the orphan that has waited longest.
    pub(crate) fn first_orphan(&self) -> Option<Within> {
        self.state().orphans.first().map(|(within, _)| *within)
    }

    /// The request to end that orphan is queued, before all others to come, so its place is free.
    pub(crate) fn drop_orphan(&self) {
        let mut state = self.state();
        let orphan = state.orphans.remove(0);
        self.orphans.store(state.orphans.len(), Relaxed);
        drop(state);
        drop(orphan);
    }

    /// Tells whether there are transactions or watches to be ended yet.
    pub(crate) fn has_chores(&self) -> bool {
        self.orphans.load(Relaxed) != 0 || self.watches.ended() != 0
    }

    /// Refuses new requests from now on.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.note_usage(&state);
    }

    /// Waits a little for what is still under way, so that no reply is left for the next user of the page.
    pub(crate) fn settle(&self, limit: Delta) {
        let _ = self.vacancy.wait(Sleep::Uninterruptible, Some(limit), || {
            self.taken.load(Relaxed) == 0 && !self.has_chores()
        });
    }
}

/// A place in the table for one request. Dropping it gives it back.
pub(crate) struct Ticket {
    client: Arc<Client>,
    place: Option<Reserved>,
}

/// A request that was queued.
pub(crate) struct Sent {
    number: u32,
    epoch: u32,
}

impl Ticket {
    /// Queues a request. Never waits.
    ///
    /// # Errors
    ///
    /// `ECONNRESET` when the transaction belongs to an earlier connection; the owner comes back then.
    pub(crate) fn send(
        mut self,
        kind: u32,
        within: Within,
        message: Message,
        owner: Owner,
    ) -> Result<Sent, (Error, Owner)> {
        let client = self.client.clone();
        let mut state = client.state();
        let epoch = state.epoch;
        if !within.is_none() && within.epoch != epoch {
            drop(state);
            return Err((ECONNRESET, owner));
        }
        let Some(place) = self.place.take() else {
            return Err((EINVAL, owner));
        };
        let number = client.queue(&mut state, place, kind, within, message, owner);
        drop(state);
        client.doorbell.ring();
        Ok(Sent { number, epoch })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let mut state = self.client.state();
            state.outstanding.cancel(place);
            self.client.note_usage(&state);
        }
    }
}

/// Until when something may take.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    since: Instant<Monotonic>,
    limit: Delta,
}

impl Deadline {
    /// Returns how long it is until then.
    fn left(self) -> Delta {
        let passed = self.since.elapsed().as_nanos();
        Delta::from_nanos(self.limit.as_nanos().saturating_sub(passed).max(0))
    }
}
