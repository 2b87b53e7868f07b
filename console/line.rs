// SPDX-License-Identifier: GPL-2.0

//! One console: its rings, and what the terminal and the event channel do with them.
//!
//! A console lives longer than its connections; between two of them output waits and there is no input.
//!
//! Output that finds no room: a process's stays with the tty layer, which tries again; a kernel message waits as long
//! as [`abi::console::patience`] allows, and what is left of it is dropped then. An index that cannot be is told once in
//! the log; what it covers is dropped.

use crate::counters::Counters;
use abi::{
    console::{
        notice::{
            Flush,
            Notice,
            Put, //
        },
        patience::Patience,
        BadIndex,
        Progress,
        Ring, //
    },
    shared::Memory,
    types::Port, //
};
use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use evtchn::{
    Event,
    Handler, //
};
use kernel::{
    prelude::*,
    time::Delta, //
};
use linux::{
    hvc::{
        self,
        Output, //
    },
    new_spinlock_irq,
    new_wait_queue, //
    sync::{
        irq_lock::SpinLockIrq,
        wait::{
            Sleep,
            WaitQueue, //
        },
    },
};
use xen_core::hypercall;

/// Shared memory of a console, of any kind.
pub(crate) trait Page: Memory + Send + Sync + Unpin + 'static {}

impl<M: Memory + Send + Sync + Unpin + 'static> Page for M {}

/// A connection: the rings, and the port that tells the backend of them.
pub(crate) struct Link<M> {
    ring: Ring<M>,
    port: Port,
    /// How far the backend was at the last event.
    seen: Progress,
    /// The last event, held back until somebody reads: no other comes meanwhile. Printing does not touch it, since a
    /// message may come from within the event channel code.
    event: Option<Event>,
}

impl<M: Page> Link<M> {
    pub(crate) fn new(ring: Ring<M>, port: Port) -> Self {
        Self {
            seen: ring.progress(),
            ring,
            port,
            event: None,
        }
    }

    /// Tells the backend that the rings have changed.
    fn notify(&self) {
        // Fails only for a port whose other end is closed, when nobody listens. In a restored domain the number may be
        // another port's until the connection is made anew: its other end looks and finds nothing.
        let _ = hypercall::event::send(self.port);
    }
}

/// What is behind the lock.
struct State<M> {
    link: Option<Link<M>>,
    patience: Patience,
    notice: Notice,
}

/// A console.
#[pin_data]
pub(crate) struct Line<M> {
    #[pin]
    state: SpinLockIrq<State<M>>,
    /// Waits for the backend to take what there is.
    #[pin]
    drained: WaitQueue,
    number: u32,
    counters: Counters,
    /// Whether the log was told of a bad index.
    told: AtomicBool,
}

impl<M: Page> Line<M> {
    /// The console of that number, not connected.
    pub(crate) fn new(number: u32) -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_spinlock_irq!(
                State {
                    link: None,
                    patience: Patience::new(),
                    notice: Notice::default(),
                },
                "oxen_console_line"
            ),
            drained <- new_wait_queue!("oxen_console_drained"),
            number,
            counters: Counters::default(),
            told: AtomicBool::new(false),
        })
    }

    /// Lets input and output flow.
    pub(crate) fn connect(&self, link: Link<M>) {
        self.counters.connections.count();
        let former = self.state.lock().link.replace(link);
        drop(former);
        // The backend may have been first, and output may have waited.
        hvc::kick();
    }

    /// Ends the use of the connection, if there is one. Its event, which may be held back, is ended.
    pub(crate) fn disconnect(&self) -> Option<Link<M>> {
        let mut link = self.state.lock().link.take()?;
        drop(link.event.take());
        self.drained.wake_all();
        Some(link)
    }

    /// Waits until the backend has taken all output, no longer than `limit`.
    pub(crate) fn drain(&self, limit: Delta) {
        let is_drained = || {
            let mut state = self.state.lock();
            let Some(link) = &mut state.link else {
                return true;
            };
            let is_drained = link.ring.is_drained();
            // Maybe nobody reads, and the next event is to come.
            let event = link.event.take();
            drop(state);
            drop(event);
            is_drained
        };
        let _ = self
            .drained
            .wait(Sleep::Uninterruptible, Some(limit), is_drained);
    }

    /// The domain was restored, with this port and a new page. For any context.
    pub(crate) fn renew(&self, port: Port) {
        if let Some(link) = &mut self.state.lock().link {
            link.ring.renew();
            link.seen = link.ring.progress();
            link.port = port;
        }
    }

    /// Lets go of an event that is held back.
    pub(crate) fn release_event(&self) {
        let event = match &mut self.state.lock().link {
            Some(link) => link.event.take(),
            None => None,
        };
        drop(event);
    }

    /// Tells the backend that there is output.
    fn tell(&self, link: &Link<M>) {
        self.counters.notified.count();
        link.notify();
    }
}

/// The backend did something, or says so.
///
/// Runs without any lock, so this is where a message can be printed.
impl<M: Page> Handler for Line<M> {
    fn event(&self, event: Event) {
        self.counters.events.count();
        let mut state = self.state.lock();
        let moved = state.link.as_mut().is_some_and(|link| {
            let now = link.ring.progress();
            core::mem::replace(&mut link.seen, now) != now
        });
        match &mut state.link {
            Some(link) if moved => {
                let former = link.event.replace(event);
                drop(state);
                drop(former);
                self.drained.wake_all();
            }
            _ => {
                drop(state);
                self.counters.spurious.count();
                event.spurious();
            }
        }
        if self.counters.bad_index.get() > 0 && !self.told.swap(true, Ordering::Relaxed) {
            pr_warn!(
                "console {}: the backend's index is impossible; what it covers is dropped\n",
                self.number
            );
        }
        if moved {
            hvc::kick();
        }
    }
}

impl<M: Page> AsRef<Counters> for Line<M> {
    fn as_ref(&self) -> &Counters {
        &self.counters
    }
}

// Nothing here may print: it could be called for the very message.
impl<M: Page> hvc::Backend for Line<M> {
    fn put(&self, bytes: &[u8], is_piece: bool) -> Output {
        let mut state = self.state.lock();
        let State {
            link: Some(link),
            patience,
            notice,
        } = &mut *state
        else {
            self.counters.stalled.count();
            return Output::Stalled;
        };
        let output = match link.ring.write(bytes) {
            Ok(0) if patience.is_left() && link.ring.is_served() => {
                self.counters.full.count();
                Output::Full
            }
            Ok(0) => {
                self.counters.stalled.count();
                Output::Stalled
            }
            Ok(written) => {
                self.counters.bytes_out.add(written);
                // At most the length of the ring.
                patience.written(written as u32);
                Output::Taken(written)
            }
            Err(BadIndex { .. }) => {
                self.counters.bad_index.count();
                Output::Stalled
            }
        };
        let put = match output {
            Output::Taken(_) => Put::Taken,
            Output::Full => Put::Full,
            Output::Stalled => Put::Dropped,
        };
        if notice.put(put, is_piece) {
            self.tell(link);
        }
        output
    }

    fn flush(&self) {
        let mut state = self.state.lock();
        let Flush { tell, wait } = state.notice.flush();
        match &state.link {
            Some(link) if tell => self.tell(link),
            Some(_) => {}
            None => return,
        }
        drop(state);
        if !wait {
            return;
        }
        let start = hvc::clock();
        // The backend may want this very CPU.
        hypercall::sched::yield_cpu();
        let waited = hvc::clock().saturating_sub(start) / 1000;
        self.state.lock().patience.waited(waited.max(1));
    }

    fn get(&self, into: &mut [u8]) -> usize {
        let mut state = self.state.lock();
        let Some(link) = &mut state.link else {
            return 0;
        };
        let event = link.event.take();
        let read = match link.ring.read(into) {
            Ok(read) => {
                self.counters.bytes_in.add(read);
                // The backend waits for room only when the ring is full; one word when all is read does.
                if read > 0 && link.ring.input() == Ok(0) {
                    link.notify();
                }
                read
            }
            Err(BadIndex { .. }) => {
                self.counters.bad_index.count();
                // There is room again.
                link.notify();
                0
            }
        };
        drop(state);
        drop(event);
        read
    }
}
