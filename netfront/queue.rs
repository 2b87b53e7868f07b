// SPDX-License-Identifier: GPL-2.0

//! A queue: a transmit and a receive ring, one poll for both, and the events that wake it.
//!
//! Queues live as long as the interface; connections come and go and put their rings in. A queue without rings drops
//! what it should send and receives nothing.

use crate::{
    counters::{
        Counter,
        Counters, //
    },
    frontend::Frontend,
    rx::RxRing,
    tx::TxRing, //
};
use evtchn::{
    Event,
    Handler, //
};
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLockIrq, //
    }, //
};
use linux::net::{
    device::Xmit,
    lock::{
        new_spinlock_bh,
        SpinLockBh, //
    },
    napi::{
        Napi,
        Poll,
        PollContext,
        Polled, //
    },
    queue::TxQueue,
    skb::SkBuff, //
};

/// Milliseconds after which memory is asked for again.
const RETRY_MS: u32 = 100;

/// A queue that is found stuck more often than this gets a new connection.
const MAX_STUCK: u32 = 2;

/// A queue of an interface.
#[pin_data]
pub(crate) struct Queue {
    #[pin]
    tx: SpinLockBh<Option<TxRing>>,
    #[pin]
    rx: SpinLockBh<Option<RxRing>>,
    /// Events whose end waits for the poll: while they are here their ports stay masked.
    #[pin]
    events: SpinLockIrq<Events>,
    /// The backend broke the rules: nothing is done until the connection has been replaced.
    broken: Atomic<bool>,
    /// How often the stack found the queue stuck since the last answer.
    stuck: Atomic<u32>,
    frontend: Arc<Frontend>,
    pub(crate) counters: Counters,
}

/// Events that are held, and whether anything came with them.
struct Events {
    held: [Option<Event>; 2],
    tx_progress: bool,
    rx_progress: bool,
}

/// Which ring an event channel is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The transmit ring.
    Tx,
    /// The receive ring.
    Rx,
    /// Both.
    Both,
}

/// What an event channel wakes.
pub(crate) struct Waker {
    pub(crate) napi: Arc<Napi<Queue>>,
    pub(crate) direction: Direction,
}

impl Handler for Waker {
    fn event(&self, event: Event) {
        self.napi.counters.add(Counter::Events, 1);
        let place = usize::from(self.direction == Direction::Rx);
        let old = {
            let mut events = self.napi.events.lock();
            events.held.get_mut(place).map(|held| held.replace(event))
        };
        drop(old);
        self.napi.schedule();
    }
}

impl Queue {
    /// Makes a queue without rings.
    pub(crate) fn new(frontend: Arc<Frontend>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            tx <- new_spinlock_bh!(None, "oxen_netfront_tx"),
            rx <- new_spinlock_bh!(None, "oxen_netfront_rx"),
            events <- new_spinlock_irq!(Events {
                held: [None, None],
                tx_progress: false,
                rx_progress: false,
            }, "oxen_netfront_events"),
            broken: Atomic::new(false),
            stuck: Atomic::new(0),
            frontend,
            counters: Counters::new(),
        })
    }

    /// Puts the rings of a new connection in.
    pub(crate) fn attach(&self, tx: TxRing, mut rx: RxRing) {
        rx.refill(&self.counters);
        self.broken.store(false, Relaxed);
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
    pub(crate) fn detach(&self) -> (Option<TxRing>, Option<RxRing>) {
        let tx = self.tx.lock().take();
        let rx = self.rx.lock().take();
        (tx, rx)
    }

    /// Ends the events that are held, after their channels are closed.
    pub(crate) fn drop_events(&self) {
        let held = {
            let mut events = self.events.lock();
            core::mem::take(&mut events.held)
        };
        drop(held);
    }

    /// Sends a packet.
    pub(crate) fn send(&self, queue: TxQueue<'_>, skb: SkBuff, more: bool) -> Xmit {
        let mut ring = self.tx.lock();
        match &mut *ring {
            Some(ring) if ring.started && !self.broken.load(Relaxed) => {
                ring.send(skb, queue, more, &self.counters)
            }
            _ => {
                self.counters.add(Counter::TxDropped, 1);
                Xmit::Done
            }
        }
    }

    /// The interface is brought up: looks at what has come meanwhile. Returns whether packets may be sent.
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
        let Some(ring) = Option::as_mut(&mut *ring).filter(|ring| ring.outstanding()) else {
            return;
        };
        if napi.stuck.fetch_add(1, Relaxed) >= MAX_STUCK {
            napi.fail("transmit", &"backend answers nothing");
        } else {
            ring.nudge(&napi.counters);
            napi.schedule();
        }
    }

    /// The backend broke the rules.
    fn fail(&self, ring: &str, reason: &dyn core::fmt::Display) {
        if !self.broken.xchg(true, Relaxed) {
            self.counters.add(Counter::Broken, 1);
            self.frontend.broken(ring, reason);
        }
    }

    /// Completes transmissions. Returns whether any slot was answered.
    fn poll_tx(&self, context: &PollContext<'_>) -> bool {
        let mut ring = self.tx.lock();
        let Some(ring) = &mut *ring else {
            return false;
        };
        match ring.complete(context.tx_queue(), context.budget(), &self.counters) {
            Ok(progress) => {
                if progress {
                    self.stuck.store(0, Relaxed);
                }
                progress
            }
            Err(broken) => {
                context.tx_queue().stop();
                self.fail("transmit", &broken);
                false
            }
        }
    }
}

impl Poll for Queue {
    fn poll(napi: &Napi<Self>, context: &PollContext<'_>) -> Polled {
        napi.counters.add(Counter::Polls, 1);
        if napi.broken.load(Relaxed) {
            return Polled::Done(0);
        }
        let tx_progress = napi.poll_tx(context);
        if context.budget() == 0 || napi.broken.load(Relaxed) {
            return Polled::Done(0);
        }
        let received = match &mut *napi.rx.lock() {
            Some(ring) => ring.receive(context, &napi.counters),
            None => return Polled::Done(0),
        };
        let received = match received {
            Ok(received) => received,
            Err(broken) => {
                napi.fail("receive", &broken);
                return Polled::Done(0);
            }
        };
        {
            let mut events = napi.events.lock();
            events.tx_progress |= tx_progress;
            events.rx_progress |= received.progress;
        }
        if received.short {
            napi.schedule_later(RETRY_MS);
        }
        if received.more {
            Polled::Again
        } else {
            Polled::Done(received.packets)
        }
    }

    fn completed(napi: &Napi<Self>) {
        if napi.broken.load(Relaxed) {
            // Its ports stay masked until they are closed.
            return;
        }
        let (held, tx, rx) = {
            let mut events = napi.events.lock();
            (
                core::mem::take(&mut events.held),
                core::mem::take(&mut events.tx_progress),
                core::mem::take(&mut events.rx_progress),
            )
        };
        // Either progress excuses the first one, as it may be for both rings. Dropping an event unmasks its port.
        let [both, receive] = held;
        for (event, progress) in [(both, tx || rx), (receive, rx)] {
            match event {
                Some(event) if !progress => {
                    napi.counters.add(Counter::Spurious, 1);
                    event.spurious();
                }
                event => drop(event),
            }
        }
    }
}
