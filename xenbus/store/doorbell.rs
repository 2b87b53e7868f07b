// SPDX-License-Identifier: GPL-2.0

//! What wakes the thread of the xenstore client: its event channel, and callers with something to send.

use evtchn::Event;
use kernel::{
    prelude::*,
    sync::atomic::{
        ordering::{
            Full,
            Relaxed, //
        },
        Atomic, //
    },
    time::Delta, //
};
use linux::{
    new_spinlock_irq,
    new_wait_queue, //
    sync::{
        irq_lock::SpinLockIrq,
        wait::{
            Sleep,
            WaitQueue, //
        },
    },
    workqueue::kthread, //
};

/// Rung from any context, heard by one thread.
#[pin_data]
pub(crate) struct Doorbell {
    #[pin]
    wait: WaitQueue,
    rung: Atomic<bool>,
    /// The event that rang. The port stays masked until the thread has served it.
    #[pin]
    event: SpinLockIrq<Option<Event>>,
    events: Atomic<u64>,
}

impl Doorbell {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            wait <- new_wait_queue!("xenbus::doorbell"),
            rung: Atomic::new(false),
            event <- new_spinlock_irq!(None),
            events: Atomic::new(0),
        })
    }

    /// Makes the thread look at the rings.
    pub(crate) fn ring(&self) {
        self.rung.store(true, Relaxed);
        self.wait.wake_all();
    }

    /// Waits until it is rung, no longer than `limit` if there is one.
    pub(crate) fn wait(&self, limit: Option<Delta>) {
        let _ = self.wait.wait(Sleep::Idle, limit, || {
            self.rung.xchg(false, Full) || kthread::should_stop()
        });
    }

    /// Waits even if it is rung: the server sends faster than it should.
    pub(crate) fn pause(&self, time: Delta) {
        let _ = self
            .wait
            .wait(Sleep::Idle, Some(time), kthread::should_stop);
    }

    /// Takes the event that rang; dropping it unmasks the port.
    pub(crate) fn take_event(&self) -> Option<Event> {
        self.event.lock().take()
    }

    /// Returns how many events came.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Relaxed)
    }
}

impl evtchn::Handler for Doorbell {
    fn event(&self, event: Event) {
        self.events.add(1u64, Relaxed);
        let earlier = self.event.lock().replace(event);
        // The port was masked while `earlier` lived, so there is none.
        drop(earlier);
        self.ring();
    }
}
