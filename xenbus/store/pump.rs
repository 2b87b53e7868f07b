// SPDX-License-Identifier: GPL-2.0

//! The thread that moves bytes between the rings and the callers.
//!
//! It owns the page. Whatever the server puts there, the thread goes on: a message that means nothing is dropped, a
//! stream whose message borders are lost is started anew, by the protocol's reconnection where the server offers it.

use abi::{
    shared::Memory,
    xenstore::{
        error::StoreError,
        replies::Reply,
        ring::{
            Broken,
            Ring, //
        },
        stream::{
            Assembler,
            Message,
            TooLong, //
        },
        transaction::{
            parse_number,
            End, //
        },
        watch::{
            Token,
            WatchEvent, //
        },
        wire::{
            Kind,
            PAYLOAD_MAX, //
        },
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::ordering::Relaxed,
        Arc, //
    },
    time::Delta,
};
use linux::{
    error::{
        ECONNRESET,
        EPROTO, //
    },
    mm::reclaim::NoIo,
    workqueue::kthread, //
};

use super::{
    body,
    client::{
        Client,
        Within,
        OUTSTANDING, //
    },
    request::Owner,
};

/// Messages in one go before other work gets a turn.
const BATCH: usize = 64;

/// The turn.
const BREATHER: Delta = Delta::from_millis(10);

/// How often to look whether the server has started the page anew, and how many times.
const RECONNECT_POLL: Delta = Delta::from_millis(100);
const RECONNECT_POLLS: u32 = 300;

/// How often to look after that, and how often to try again what could not be sent.
const STUCK_POLL: Delta = Delta::from_secs(1);

/// The borders between messages are lost.
enum Lost {
    Ring(Broken),
    Length(TooLong),
}

impl From<Broken> for Lost {
    fn from(broken: Broken) -> Self {
        Self::Ring(broken)
    }
}

/// The thread's own.
pub(crate) struct Pump<M, N> {
    client: Arc<Client>,
    ring: Ring<M>,
    notify: N,
    /// Where messages are collected, until the thread runs.
    body: KVec<u8>,
    /// The server has to move before anything else can, and callers have been told.
    stuck: bool,
    /// Something was moved in this turn, so the event that began it was not sent for nothing.
    moved: bool,
    /// The server was asked to start the page anew and has not yet.
    reconnecting: bool,
    /// The last watch that was made anew, while that is going on.
    remade: Option<Token>,
    /// Those who are told that the connection is lost; empty otherwise, with capacity for all requests.
    owners: KVec<Owner>,
}

impl<M: Memory, N: Fn()> Pump<M, N> {
    /// Takes the page over. `notify` sends an event to the server.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(client: Arc<Client>, memory: M, notify: N) -> Result<Self> {
        Ok(Self {
            client,
            ring: Ring::new(memory),
            notify,
            body: KVec::from_elem(0, PAYLOAD_MAX, GFP_KERNEL)?,
            stuck: false,
            moved: false,
            reconnecting: false,
            remade: None,
            owners: KVec::with_capacity(OUTSTANDING, GFP_KERNEL)?,
        })
    }

    /// The body of the thread.
    pub(crate) fn run(mut self) {
        // Writeback may wait for a disk that waits for this thread.
        let _scope = NoIo::enter();
        let mut assembler = Assembler::new(core::mem::take(&mut self.body));
        if !self.ring.is_quiet() {
            pr_info!("xenstore: the rings were left with something in them; starting anew\n");
            self.start_anew(&mut assembler);
        }
        while !kthread::should_stop() {
            if self.client.halt().stand() {
                self.renew(&mut assembler);
                self.client.halt().is_renewed();
            }
            // The port stays masked while the rings are served, so the server cannot flood this CPU with interrupts.
            let event = self.client.doorbell().take_event();
            self.moved = false;
            let more = match self.serve(&mut assembler) {
                Ok(more) => more,
                Err(lost) => {
                    self.report(&lost);
                    self.lose(ECONNRESET);
                    self.start_anew(&mut assembler);
                    true
                }
            };
            match event {
                Some(event) if !self.moved => event.spurious(),
                event => drop(event),
            }
            let doorbell = self.client.doorbell();
            if more && !self.stuck {
                doorbell.pause(BREATHER);
            } else if self.stuck || self.client.has_chores() {
                doorbell.wait(Some(STUCK_POLL));
            } else {
                doorbell.wait(None);
            }
        }
        self.lose(ENODEV);
    }

    /// The domain was restored with a new connection, in the same page: its server knows nothing of us.
    fn renew(&mut self, assembler: &mut Assembler<KVec<u8>>) {
        assembler.reset();
        self.ring.renew();
        self.client.lose(None, &mut self.owners);
        self.fail_owners(ECONNRESET);
        self.reconnected();
    }

    /// The connection is lost: its requests fail.
    fn lose(&mut self, error: Error) {
        // A server that does not start the rings anew has to end what we do not know of any more: transactions whose
        // replies are dropped.
        let first = if self.ring.can_reconnect() {
            None
        } else {
            body::Message::new()
                .and_then(|message| message.raw(&[0]))
                .ok()
                .map(|message| (Kind::ResetWatches, message))
        };
        self.client.lose(first, &mut self.owners);
        self.fail_owners(error);
    }

    fn fail_owners(&mut self, error: Error) {
        for owner in self.owners.drain_all() {
            complete(&self.client, owner, Err(error));
        }
    }

    /// Moves what can be moved, at most a batch; tells whether there may be more.
    fn serve(&mut self, assembler: &mut Assembler<KVec<u8>>) -> core::result::Result<bool, Lost> {
        let mut notify = false;
        let result = self.turn(assembler, &mut notify);
        // Also when the replies are lost: the server may wait for what was sent before.
        if notify {
            (self.notify)();
        }
        result
    }

    fn turn(
        &mut self,
        assembler: &mut Assembler<KVec<u8>>,
        notify: &mut bool,
    ) -> core::result::Result<bool, Lost> {
        if self.reconnecting {
            self.stuck = !self.ring.reconnected();
            if self.stuck {
                self.lose(ECONNRESET);
                return Ok(false);
            }
            self.reconnected();
        }
        self.do_chores();
        *notify |= self.send()?;
        let mut more = true;
        for _ in 0..BATCH {
            let mut broken = None;
            let message = assembler.step(|into| match self.ring.read(into) {
                Ok(moved) => {
                    *notify |= moved.notify;
                    self.moved |= moved.bytes != 0;
                    moved.bytes
                }
                Err(error) => {
                    broken = Some(error);
                    0
                }
            });
            if let Some(broken) = broken {
                return Err(broken.into());
            }
            match message.map_err(Lost::Length)? {
                Some(message) => deliver(&self.client, &message),
                None => {
                    more = false;
                    break;
                }
            }
        }
        // A reply may have made room for a request.
        *notify |= self.send()?;
        Ok(more)
    }

    /// Puts requests into the ring while there is room; tells whether the server has to be told.
    fn send(&mut self) -> core::result::Result<bool, Broken> {
        let mut notify = false;
        let mut state = self.client.state();
        while let Some(first) = state.outgoing.first_mut() {
            let rest = first.bytes.get(first.sent..).unwrap_or_default();
            let moved = self.ring.write(rest)?;
            notify |= moved.notify;
            self.moved |= moved.bytes != 0;
            first.sent = first.sent.saturating_add(moved.bytes);
            if first.sent < first.bytes.len() {
                break;
            }
            let _ = state.outgoing.remove(0);
        }
        Ok(notify)
    }

    fn report(&mut self, lost: &Lost) {
        if self.stuck || !self.client.complain() {
            return;
        }
        match lost {
            Lost::Ring(Broken::Requests { producer, consumer }) => pr_err!(
                "xenstore: the server's request index {consumer} does not fit ours, {producer}; the rings are started anew\n"
            ),
            Lost::Ring(Broken::Replies { producer, consumer }) => pr_err!(
                "xenstore: the server's reply index {producer} does not fit ours, {consumer}; the rings are started anew\n"
            ),
            Lost::Length(TooLong(length)) => pr_err!(
                "xenstore: a message of {length} bytes is longer than the protocol allows; the rings are started anew\n"
            ),
        }
    }

    /// Finds a place from which messages can be told apart again.
    fn start_anew(&mut self, assembler: &mut Assembler<KVec<u8>>) {
        assembler.reset();
        if !self.ring.can_reconnect() {
            // The best that is left: what lies in the ring is dropped, and the server writes whole messages from here.
            self.ring.discard_input();
            self.stuck = !self.ring.indices_fit();
            self.remade = Some(Token(0));
            return;
        }
        self.client.counters.reconnects.add(1u32, Relaxed);
        self.reconnecting = true;
        self.ring.begin_reconnect();
        (self.notify)();
        for _ in 0..RECONNECT_POLLS {
            drop(self.client.doorbell().take_event());
            if self.ring.reconnected() {
                return self.reconnected();
            }
            if kthread::should_stop() {
                return;
            }
            self.client.doorbell().wait(Some(RECONNECT_POLL));
        }
        self.stuck = true;
        if self.client.complain() {
            pr_err!(
                "xenstore: the server does not start the rings anew; requests fail until it does\n"
            );
        }
    }

    /// The page is new. The server forgot the watches; each one fires as it is made, so no change is missed.
    fn reconnected(&mut self) {
        self.stuck = false;
        self.reconnecting = false;
        self.client.forget_half_sent();
        self.remade = Some(Token(0));
    }

    /// Sends what is due without a caller, as long as there are places for requests; the replies to come make places.
    fn do_chores(&mut self) {
        let _ = self.remake_watches() && self.end_watches() && self.end_orphans();
    }

    /// Makes the watches anew; tells whether all are made.
    fn remake_watches(&mut self) -> bool {
        while let Some(last) = self.remade {
            let Some((token, message)) = self.client.watches().after(last) else {
                self.remade = None;
                break;
            };
            match message {
                Ok(message) => {
                    if !self.client.post(Kind::Watch, Within::NONE, message) {
                        return false;
                    }
                }
                Err(_) if self.client.complain() => {
                    pr_err!("xenstore: a watch could not be made anew for lack of memory\n");
                }
                Err(_) => {}
            }
            self.remade = Some(token);
        }
        true
    }

    /// Tells the server of watches that have ended; tells whether it knows of all.
    fn end_watches(&self) -> bool {
        while let Some((token, message)) = self.client.watches().first_ended() {
            let sent =
                message.map(|message| self.client.post(Kind::Unwatch, Within::NONE, message));
            if sent != Ok(true) {
                return false;
            }
            self.client.watches().forget(token);
        }
        true
    }

    /// Ends transactions that nobody wants any more; tells whether all are ended.
    fn end_orphans(&self) -> bool {
        while let Some(within) = self.client.first_orphan() {
            let sent = body::Message::new()
                .and_then(|message| message.raw(End::Abort.as_bytes()))
                .map(|message| self.client.post(Kind::TransactionEnd, within, message));
            if sent != Ok(true) {
                return false;
            }
            self.client.drop_orphan();
        }
        true
    }
}

/// Gives an answer to its owner.
fn complete(client: &Client, owner: Owner, answer: Result<&[u8]>) {
    match owner {
        Owner::Waiter(pending) => pending.complete(answer.and_then(|body| {
            let mut copy = KVec::with_capacity(body.len(), GFP_KERNEL)?;
            copy.extend_from_slice(body, GFP_KERNEL)?;
            Ok(copy)
        })),
        Owner::Receiver(mut receiver) => receiver.answered(answer, client.epoch()),
        Owner::Undo(place) => {
            if let Some(number) = answer.ok().and_then(parse_number) {
                let epoch = client.epoch();
                client.orphan(Within { number, epoch }, place);
            }
        }
        Owner::Nobody => {}
    }
}

/// Gives a message to its owner or its watch.
fn deliver(client: &Client, message: &Message<'_>) {
    if message.header.kind == Kind::WatchEvent.number() {
        client.counters.events.add(1u64, Relaxed);
        return deliver_event(client, message.body);
    }
    client.counters.replies.add(1u64, Relaxed);
    let mut state = client.state();
    let reply = state.outstanding.complete(&message.header);
    client.note_usage(&state);
    drop(state);
    match reply {
        Reply::Answer(owner) => complete(client, owner, Ok(message.body)),
        Reply::Refusal(owner) => {
            let error = StoreError::parse(message.body);
            if error.is_none() && client.complain() {
                pr_warn!("xenstore: the server reports an error that the protocol does not have\n");
            }
            let errno = error.map_or(EINVAL, |error| {
                Error::from_errno(error.errno().wrapping_neg())
            });
            complete(client, owner, Err(errno));
        }
        Reply::Mismatch(owner, kind) => {
            if client.complain() {
                pr_err!(
                    "xenstore: the reply to request {} is of type {kind}, which is no answer to it; the request fails\n",
                    message.header.request
                );
            }
            complete(client, owner, Err(EPROTO));
        }
        Reply::Late => client.counters.late.add(1u64, Relaxed),
        Reply::Unknown => {
            if client.complain() {
                pr_err!(
                    "xenstore: a reply to request {}, which was never sent, is dropped\n",
                    message.header.request
                );
            }
        }
    }
}

fn deliver_event(client: &Client, body: &[u8]) {
    let Ok(event) = WatchEvent::parse(body) else {
        if client.complain() {
            pr_err!("xenstore: a watch event that is not two strings is dropped\n");
        }
        return;
    };
    // An unknown token is no fault: the watch may have ended while the event was under way.
    let known = Token::decode(event.token)
        .is_some_and(|token| client.watches().dispatch(token, event.path));
    if !known {
        client.counters.strays.add(1u64, Relaxed);
    }
}
