// SPDX-License-Identifier: GPL-2.0

//! One console: its rings, and what the terminal and the event channel do with them.
//!
//! Output that finds no room: a process's stays with the tty layer, which tries again; a kernel message waits as long
//! as [`abi::console::patience`] allows, and what is left of it is dropped then. An index that cannot be is told once in
//! the log; input is dropped up to it, output goes nowhere until it makes sense.

use abi::{
    console::{
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
    AtomicU64,
    Ordering, //
};
use evtchn::Event;
use kernel::{
    fmt,
    new_spinlock_irq,
    prelude::*,
    sync::SpinLockIrq, //
};
use linux::hvc::{
    self,
    Output, //
};
use xen_core::hypercall;

/// Shared memory of a console, of any kind.
pub(crate) trait Page: Memory + Send + Sync + Unpin + 'static {}

impl<M: Memory + Send + Sync + Unpin + 'static> Page for M {}

/// What is behind the lock.
struct State<M> {
    ring: Ring<M>,
    patience: Patience,
    /// How far the backend was at the last event.
    seen: Progress,
    /// The last event, held back until somebody reads: no other comes meanwhile. Printing does not touch it, since a
    /// message may come from within the event channel code.
    event: Option<Event>,
}

/// Numbers for debugfs.
#[derive(Default)]
struct Counters {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    events: AtomicU64,
    spurious: AtomicU64,
    full: AtomicU64,
    stalled: AtomicU64,
    bad_index: AtomicU64,
}

fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

/// A console.
#[pin_data]
pub(crate) struct Line<M> {
    #[pin]
    state: SpinLockIrq<State<M>>,
    port: Port,
    counters: Counters,
    /// Whether the log was told of a bad index.
    told: AtomicBool,
}

impl<M: Page> Line<M> {
    /// A console whose backend is told through `port`.
    pub(crate) fn new(ring: Ring<M>, port: Port) -> impl PinInit<Self> {
        let seen = ring.progress();
        pin_init!(Self {
            state <- new_spinlock_irq!(
                State {
                    ring,
                    patience: Patience::new(),
                    seen,
                    event: None,
                },
                "oxen_console_line"
            ),
            port,
            counters: Counters::default(),
            told: AtomicBool::new(false),
        })
    }

    /// Tells the backend that the rings have changed.
    fn notify(&self) {
        // Fails only for a port that is closed, when nobody listens.
        let _ = hypercall::event::send(self.port);
    }

    /// The backend did something, or says so. Returns whether the terminal should look.
    ///
    /// Runs without any lock, so this is where a message can be printed.
    pub(crate) fn event(&self, event: Event) -> bool {
        count(&self.counters.events, 1);
        let mut state = self.state.lock();
        let now = state.ring.progress();
        let moved = now != state.seen;
        state.seen = now;
        if moved {
            let former = state.event.replace(event);
            drop(state);
            drop(former);
        } else {
            drop(state);
            count(&self.counters.spurious, 1);
            event.spurious();
        }
        if self.counters.bad_index.load(Ordering::Relaxed) > 0
            && !self.told.swap(true, Ordering::Relaxed)
        {
            pr_warn!("the backend's console index is impossible; what it covers is dropped\n");
        }
        moved
    }

    /// Lets go of an event that is held back.
    pub(crate) fn release_event(&self) {
        let event = self.state.lock().event.take();
        drop(event);
    }

    /// Prints the counters.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters {
            bytes_in,
            bytes_out,
            events,
            spurious,
            full,
            stalled,
            bad_index,
        } = &self.counters;
        for (name, counter) in [
            ("bytes_in", bytes_in),
            ("bytes_out", bytes_out),
            ("events", events),
            ("spurious", spurious),
            ("full", full),
            ("stalled", stalled),
            ("bad_index", bad_index),
        ] {
            writeln!(f, "{}: {}", name, counter.load(Ordering::Relaxed))?;
        }
        Ok(())
    }
}

// Nothing here may print: it could be called for the very message.
impl<M: Page> hvc::Backend for Line<M> {
    fn put(&self, bytes: &[u8]) -> Output {
        let mut state = self.state.lock();
        let output = match state.ring.write(bytes) {
            Ok(0) if state.patience.is_left() && state.ring.is_served() => {
                count(&self.counters.full, 1);
                Output::Full
            }
            Ok(0) => {
                count(&self.counters.stalled, 1);
                Output::Stalled
            }
            Ok(written) => {
                count(&self.counters.bytes_out, written);
                // At most the length of the ring.
                state.patience.written(written as u32);
                Output::Taken(written)
            }
            Err(BadIndex { .. }) => {
                count(&self.counters.bad_index, 1);
                Output::Stalled
            }
        };
        drop(state);
        if let Output::Taken(_) = output {
            self.notify();
        }
        output
    }

    fn wait(&self) {
        let start = hvc::clock();
        // The backend may want this very CPU.
        hypercall::sched::yield_cpu();
        let waited = hvc::clock().saturating_sub(start) / 1000;
        self.state.lock().patience.waited(waited.max(1));
    }

    fn get(&self, into: &mut [u8]) -> usize {
        let mut state = self.state.lock();
        let event = state.event.take();
        let result = state.ring.read(into);
        let drained = state.ring.input() == Ok(0);
        drop(state);
        let read = match result {
            Ok(read) => {
                count(&self.counters.bytes_in, read);
                // The backend waits for room only when the ring is full; one word when all is read does.
                if read > 0 && drained {
                    self.notify();
                }
                read
            }
            Err(BadIndex { .. }) => {
                count(&self.counters.bad_index, 1);
                0
            }
        };
        drop(event);
        read
    }
}
