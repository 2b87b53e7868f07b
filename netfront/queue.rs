// SPDX-License-Identifier: GPL-2.0

//! A queue: a transmit and a receive ring, one poll for both, and the event channel that wakes it.
//!
//! Queues live as long as the interface; connections come and go and put their rings in. A queue without rings drops
//! what it should send and receives nothing.

use crate::{
    counters::{
        Counter,
        Counters, //
    },
    rx::RxRing,
    tx::TxRing, //
};
use abi::net::{
    merit::Merit,
    patience::Patience, //
};
use evtchn::{
    Event,
    Handler, //
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
    net::{
        device::Xmit,
        lock::{
            lock_or_try,
            new_spinlock_bh,
            SpinLockBh, //
        },
        napi::{
            Napi,
            PollContext, //
        },
        queue::TxQueue,
        skb::SkBuff, //
    },
    new_spinlock_irq,
    sync::irq_lock::SpinLockIrq, //
};

mod frames;
pub(crate) mod groups;
mod poll;

/// The rings of a queue, as far as it has some. Boxed, as they are too large for the stack.
pub(crate) type Rings = (Option<KBox<TxRing>>, Option<KBox<RxRing>>);

/// A queue that is found stuck more often than this gets a new connection.
const MAX_STUCK: u32 = 2;

/// A queue of an interface.
#[pin_data]
pub(crate) struct Queue {
    #[pin]
    tx: SpinLockBh<Option<KBox<TxRing>>>,
    #[pin]
    rx: SpinLockBh<Option<KBox<RxRing>>>,
    /// The event whose end waits for the poll: while it is here its port stays masked.
    #[pin]
    event: SpinLockIrq<Option<Event>>,
    /// Whether the backend had anything for us.
    merit: Merit,
    /// The backend broke the rules, or ignores us: nothing is done until the connection has been replaced.
    broken: Atomic<bool>,
    /// How often the stack found the queue stuck since the last answer.
    stuck: Atomic<u32>,
    pub(crate) patience: Patience,
    dev: xenbus::Device,
    pub(crate) counters: Counters,
}

/// What the event channel wakes.
pub(crate) struct Waker(pub(crate) Arc<Napi<Queue>>);

impl Handler for Waker {
    fn event(&self, event: Event) {
        self.0.counters.add(Counter::Events, 1);
        let old = self.0.event.lock().replace(event);
        drop(old);
        self.0.schedule();
    }
}

impl Queue {
    /// Makes a queue without rings.
    pub(crate) fn new(dev: xenbus::Device) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            tx <- new_spinlock_bh!(None, "oxen_netfront_tx"),
            rx <- new_spinlock_bh!(None, "oxen_netfront_rx"),
            event <- new_spinlock_irq!(None, "oxen_netfront_event"),
            merit: Merit::new(),
            broken: Atomic::new(false),
            stuck: Atomic::new(0),
            patience: Patience::new(),
            dev,
            counters: Counters::new(),
        })
    }

    /// Puts the rings of a new connection in.
    pub(crate) fn attach(&self, tx: KBox<TxRing>, mut rx: KBox<RxRing>) {
        rx.refill(&self.counters);
        self.broken.store(false, Relaxed);
        self.stuck.store(0, Relaxed);
        *self.tx.lock() = Some(tx);
        *self.rx.lock() = Some(rx);
    }

    /// The backend has connected: packets may be sent.
    pub(crate) fn start(napi: &Napi<Self>) {
        let mut ring = napi.tx.lock();
        if let Some(ring) = &mut *ring {
            ring.started = true;
        }
        napi.schedule();
    }

    /// Takes the rings out. Nothing uses them any more when this returns.
    pub(crate) fn detach(&self) -> Rings {
        let tx = self.tx.lock().take();
        let rx = self.rx.lock().take();
        (tx, rx)
    }

    /// Ends the event that is held, after its channel is closed.
    pub(crate) fn drop_event(&self) {
        let held = self.event.lock().take();
        drop(held);
    }

    /// Sends a packet.
    pub(crate) fn send(&self, queue: TxQueue<'_>, skb: SkBuff, more: bool) -> Xmit {
        let Some(mut ring) = lock_or_try(&self.tx) else {
            // Only from a hard interrupt, which comes again.
            return Xmit::Busy(skb);
        };
        let ring_in_use =
            Option::as_mut(&mut *ring).filter(|ring| ring.started && !self.broken.load(Relaxed));
        let Some(in_use) = ring_in_use else {
            self.counters.add(Counter::TxDropped, 1);
            return Xmit::Done;
        };
        if in_use.is_ignored(&self.patience) {
            drop(ring);
            self.ignored();
            return Xmit::Done;
        }
        let mut found = 0;
        let sent = in_use.send(skb, queue, more, &mut found, &self.counters);
        drop(ring);
        self.answered(found);
        sent.unwrap_or_else(|broken| {
            queue.stop();
            self.fail("transmit", &broken);
            Xmit::Done
        })
    }

    /// The backend takes nothing from this connection: perhaps from another one.
    #[cold]
    fn ignored(&self) {
        if !self.broken.xchg(true, Relaxed) {
            self.counters.add(Counter::TxIgnored, 1);
            self.patience.lost();
            self.dev.renew();
        }
        self.counters.add(Counter::TxDropped, 1);
    }

    /// The backend has answered so many slots of the transmit ring.
    fn answered(&self, slots: usize) {
        if slots != 0 {
            self.merit.found();
            self.stuck.store(0, Relaxed);
        }
    }

    /// The interface was brought up or down: looks at what has come meanwhile. Returns whether packets may be sent.
    pub(crate) fn resume(napi: &Napi<Self>) -> bool {
        let ring = napi.tx.lock();
        napi.schedule();
        ring.as_ref().is_some_and(|ring| ring.started)
    }

    /// The stack says that nothing gets sent. Wakes both ends up, and if that does not help, has the connection
    /// replaced.
    pub(crate) fn timed_out(napi: &Napi<Self>) {
        napi.counters.add(Counter::TxTimeouts, 1);
        let mut ring = napi.tx.lock();
        let Some(in_use) = Option::as_mut(&mut *ring).filter(|ring| ring.outstanding()) else {
            return;
        };
        if napi.stuck.fetch_add(1, Relaxed) < MAX_STUCK {
            in_use.nudge(&napi.counters);
            napi.schedule();
            return;
        }
        drop(ring);
        napi.fail("transmit", &"backend answers nothing");
    }

    /// The backend broke the rules.
    fn fail(&self, ring: &str, reason: &dyn core::fmt::Display) {
        if !self.broken.xchg(true, Relaxed) {
            self.counters.add(Counter::Broken, 1);
            self.dev.broken(format_args!("{ring} ring: {reason}"));
        }
    }

    /// Completes transmissions, and tells the backend of groups.
    fn poll_tx(napi: &Napi<Self>, context: &PollContext<'_>) {
        let result = match &mut *napi.tx.lock() {
            Some(ring) => {
                let found = ring.complete(context.tx_queue(), context.budget(), &napi.counters);
                if ring.groups().is_some_and(|groups| groups.take_news()) {
                    napi.dev.update();
                }
                if ring.lags() {
                    napi.schedule();
                }
                found
            }
            None => return,
        };
        match result {
            Ok(found) => napi.answered(found),
            Err(broken) => {
                context.tx_queue().stop();
                napi.fail("transmit", &broken);
            }
        }
    }
}
