// SPDX-License-Identifier: GPL-2.0

//! The xenstore client: many requests under way, each with a time limit.
//!
//! Callers queue a message and wait; the thread in [`crate::pump`] moves bytes and completes them. A caller that stops to
//! wait leaves its number behind, so a late reply is known and dropped.

use abi::xenstore::{
    replies::Outstanding,
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
    time::Delta,
};
use linux::{
    new_wait_queue,
    wait::{
        Sleep,
        WaitQueue,
        Woken, //
    },
};

use crate::{
    body::Message,
    doorbell::Doorbell,
    request::{
        Owner,
        Pending, //
    },
    watch::Watches,
};

/// Requests under way at once.
const OUTSTANDING: usize = 64;

/// How long a request may take, its wait for a place included.
const TIMEOUT: Delta = Delta::from_secs(30);

/// Complaints about the server that are printed; more are only counted.
const COMPLAINTS: u32 = 16;

/// A request on its way into the ring.
pub(crate) struct Outgoing {
    pub(crate) number: u32,
    pub(crate) bytes: KVec<u8>,
    pub(crate) sent: usize,
}

/// What the callers and the thread share.
pub(crate) struct State {
    pub(crate) outgoing: KVec<Outgoing>,
    pub(crate) outstanding: Outstanding<Owner, OUTSTANDING>,
    /// The module is going away.
    pub(crate) closed: bool,
}

/// Counters for debugfs.
pub(crate) struct Counters {
    pub(crate) requests: Atomic<u64>,
    pub(crate) replies: Atomic<u64>,
    pub(crate) timeouts: Atomic<u64>,
    pub(crate) late: Atomic<u64>,
    pub(crate) events: Atomic<u64>,
    pub(crate) strays: Atomic<u64>,
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
    room: WaitQueue,
    /// Places taken by requests that are waited for, and by all. Written under the lock of `state`, for conditions that
    /// must not take it.
    waiting: Atomic<usize>,
    taken: Atomic<usize>,
    #[pin]
    watches: Watches,
    doorbell: Arc<Doorbell>,
    pub(crate) counters: Counters,
}

impl Client {
    pub(crate) fn new(doorbell: Arc<Doorbell>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                state <- new_mutex!(State {
                    outgoing: KVec::new(),
                    outstanding: Outstanding::default(),
                    closed: false,
                }),
                room <- new_wait_queue!("xenbus::room"),
                waiting: Atomic::new(0),
                taken: Atomic::new(0),
                watches <- Watches::new(),
                doorbell,
                counters: Counters {
                    requests: Atomic::new(0),
                    replies: Atomic::new(0),
                    timeouts: Atomic::new(0),
                    late: Atomic::new(0),
                    events: Atomic::new(0),
                    strays: Atomic::new(0),
                    violations: Atomic::new(0),
                    reconnects: Atomic::new(0),
                },
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn state(&self) -> &Mutex<State> {
        &self.state
    }

    pub(crate) fn watches(&self) -> &Watches {
        &self.watches
    }

    pub(crate) fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// Notes how full the table is, and wakes whoever waits for a place.
    pub(crate) fn note_usage(&self, state: &State) {
        let (waiting, abandoned) = state.outstanding.usage();
        self.taken.store(waiting.saturating_add(abandoned), Relaxed);
        // A closed client has room, so that whoever waits for it comes to know.
        let waiting = if state.closed { 0 } else { waiting };
        self.waiting.store(waiting, Relaxed);
        self.room.wake_all();
    }

    /// Counts a fault of the server, and tells whether to print it.
    pub(crate) fn complain(&self) -> bool {
        let count = self.counters.violations.fetch_add(1u32, Relaxed);
        if count == COMPLAINTS {
            pr_warn!("xenstore: further faults of the server are only counted\n");
        }
        count < COMPLAINTS
    }

    /// Queues a request; gives it back with `EBUSY` when all places are taken.
    fn queue(
        &self,
        kind: Kind,
        transaction: u32,
        message: Message,
        owner: Owner,
    ) -> core::result::Result<u32, (Error, Option<Message>)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((ENODEV, None));
        }
        if state.outgoing.reserve(1, GFP_KERNEL).is_err() {
            return Err((ENOMEM, None));
        }
        let Ok(number) = state.outstanding.insert(kind, owner) else {
            return Err((EBUSY, Some(message)));
        };
        let outgoing = Outgoing {
            number,
            bytes: message.finish(kind, number, transaction),
            sent: 0,
        };
        if state.outgoing.push(outgoing, GFP_KERNEL).is_err() {
            state.outstanding.forget(number);
            return Err((ENOMEM, None));
        }
        self.note_usage(&state);
        drop(state);
        self.counters.requests.add(1u64, Relaxed);
        self.doorbell.ring();
        Ok(number)
    }

    /// Queues a request, waiting for a place if need be.
    fn submit(
        &self,
        kind: Kind,
        transaction: u32,
        mut message: Message,
        mut owner: impl FnMut() -> Owner,
        limit: Delta,
    ) -> Result<u32> {
        loop {
            match self.queue(kind, transaction, message, owner()) {
                Ok(number) => return Ok(number),
                Err((EBUSY, Some(back))) => message = back,
                Err((error, _)) => return Err(error),
            }
            let woken = self.room.wait(Sleep::Killable, Some(limit), || {
                self.waiting.load(Relaxed) < OUTSTANDING
            });
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
    /// meanwhile, `EPROTO` when the answer is no answer to this request, `EINTR` when the caller is being killed.
    pub(crate) fn call(&self, kind: Kind, transaction: u32, message: Message) -> Result<KVec<u8>> {
        let pending = Pending::new()?;
        let number = self.submit(
            kind,
            transaction,
            message,
            || Owner::Waiter(pending.clone()),
            TIMEOUT,
        )?;
        let woken = pending.wait(TIMEOUT);
        if woken != Woken::Ready {
            self.abandon(number);
        }
        // The answer may have come while the request was being abandoned.
        if let Some(answer) = pending.take() {
            return answer;
        }
        if woken == Woken::Signal {
            return Err(EINTR);
        }
        self.counters.timeouts.add(1u64, Relaxed);
        if self.complain() {
            pr_warn!(
                "xenstore: no answer to request {number} ({kind:?}) within {} s; it is given up\n",
                TIMEOUT.as_millis() / 1000
            );
        }
        Err(ETIMEDOUT)
    }

    /// Sends a request for its effect. Never waits for an answer; waits for a place only if all are taken.
    pub(crate) fn post(&self, kind: Kind, transaction: u32, message: Message) {
        let sent = self.submit(kind, transaction, message, || Owner::Nobody, TIMEOUT);
        if sent.is_err() && self.complain() {
            pr_warn!("xenstore: a request ({kind:?}) could not be sent\n");
        }
    }

    /// As [`Self::post`] for the thread itself, which must not wait.
    pub(crate) fn post_now(&self, kind: Kind, message: Message) -> bool {
        self.queue(kind, 0, message, Owner::Nobody).is_ok()
    }

    /// Stops to wait for a request. What has not begun to go out never does.
    fn abandon(&self, number: u32) {
        let mut state = self.state.lock();
        let owner = state.outstanding.abandon(number);
        let unsent = state
            .outgoing
            .iter()
            .position(|outgoing| outgoing.number == number && outgoing.sent == 0);
        if let Some(at) = unsent {
            let _ = state.outgoing.remove(at);
            state.outstanding.forget(number);
        }
        self.note_usage(&state);
        drop(state);
        drop(owner);
    }

    /// Tells every caller that the connection was lost, and forgets what has not gone out.
    pub(crate) fn fail_all(&self, error: Error) {
        loop {
            let mut state = self.state.lock();
            let owner = state.outstanding.take_any();
            if owner.is_none() {
                state.outgoing.clear();
            }
            self.note_usage(&state);
            drop(state);
            match owner {
                Some(owner) => owner.complete(Err(error)),
                None => break,
            }
        }
    }

    /// Refuses new requests from now on.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        self.note_usage(&state);
    }

    /// Waits a little for what is still under way, so that no reply is left for whoever comes next.
    pub(crate) fn settle(&self, limit: Delta) {
        let _ = self.room.wait(Sleep::Uninterruptible, Some(limit), || {
            self.taken.load(Relaxed) == 0
        });
    }
}
