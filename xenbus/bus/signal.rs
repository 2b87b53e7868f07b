// SPDX-License-Identifier: GPL-2.0

//! What has happened to a device and was not looked at yet.
//!
//! Watches and drivers set a bit here, from any context; the device's own task does what waits.

use core::fmt;

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Full,
                Relaxed, //
            },
            Atomic, //
        },
        Arc, //
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
};

use super::task::Task;

/// Bytes of a sentence that says how a backend broke the rules; what is longer is cut.
const SENTENCE_MAX: usize = 160;

/// How a backend broke the rules, in words. Printed by the device's task: where it was found, printing may not be
/// possible.
pub(crate) struct Sentence {
    bytes: [u8; SENTENCE_MAX],
    len: usize,
}

impl Sentence {
    fn new() -> Self {
        Self {
            bytes: [0; SENTENCE_MAX],
            len: 0,
        }
    }

    pub(crate) fn text(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            // Cut within a character.
            Err(error) => bytes
                .get(..error.valid_up_to())
                .and_then(|bytes| core::str::from_utf8(bytes).ok())
                .unwrap_or_default(),
        }
    }
}

impl fmt::Write for Sentence {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let place = self.bytes.get_mut(self.len).ok_or(fmt::Error)?;
            *place = byte;
            self.len = self.len.wrapping_add(1);
        }
        Ok(())
    }
}

/// News of one device.
#[pin_data]
pub(crate) struct Signal {
    /// The backend's state may have changed.
    changed: Atomic<bool>,
    /// The device is gone, or another has its name.
    vanished: Atomic<bool>,
    /// The domain was restored since the last look.
    resumed: Atomic<bool>,
    /// The domain was restored, and the other end was not found again yet.
    lost: Atomic<bool>,
    /// Our end wants another connection.
    renewal: Atomic<bool>,
    /// Our end wants other keys.
    update: Atomic<bool>,
    /// The backend broke the rules.
    #[pin]
    fault: SpinLockIrq<Option<Sentence>>,
    /// Counts news, for those that wait.
    count: Atomic<u32>,
    #[pin]
    wait: WaitQueue,
    task: Arc<Task>,
}

impl Signal {
    /// News that `task` looks at.
    pub(crate) fn new(task: Arc<Task>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                changed: Atomic::new(false),
                vanished: Atomic::new(false),
                resumed: Atomic::new(false),
                lost: Atomic::new(false),
                renewal: Atomic::new(false),
                update: Atomic::new(false),
                fault <- new_spinlock_irq!(None, "xenbus_fault"),
                count: Atomic::new(0),
                wait <- new_wait_queue!("xenbus::Signal"),
                task,
            }),
            GFP_KERNEL,
        )
    }

    /// Has the task look. From any context.
    pub(crate) fn kick(&self) {
        self.count.add(1u32, Relaxed);
        self.wait.wake_all();
        self.task.kick();
    }

    /// The backend's state may have changed.
    pub(crate) fn otherend_changed(&self) {
        self.changed.store(true, Relaxed);
        self.kick();
    }

    /// Tells whether the backend's state may have changed since the last call.
    pub(crate) fn take_changed(&self) -> bool {
        self.changed.xchg(false, Full)
    }

    /// The backend's state could not be read: it is still to be looked at.
    pub(crate) fn put_changed_back(&self) {
        self.changed.store(true, Relaxed);
    }

    /// The device is gone, or another has its name.
    pub(crate) fn vanish(&self) {
        self.vanished.store(true, Relaxed);
        self.kick();
    }

    pub(crate) fn has_vanished(&self) -> bool {
        self.vanished.load(Relaxed)
    }

    /// The domain was restored: the connection is gone, and the other end has to be found again.
    pub(crate) fn resume(&self) {
        self.lost.store(true, Relaxed);
        self.resumed.store(true, Relaxed);
        self.kick();
    }

    /// Tells whether the domain was restored since the last call.
    pub(crate) fn take_resumed(&self) -> bool {
        self.resumed.xchg(false, Full)
    }

    /// The other end was found again.
    pub(crate) fn found(&self) {
        let _ = self.lost.xchg(false, Full);
        self.otherend_changed();
    }

    /// Tells whether the other end is to be found again.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Relaxed)
    }

    /// Our end wants another connection.
    pub(crate) fn renew(&self) {
        self.renewal.store(true, Relaxed);
        self.kick();
    }

    /// Tells whether our end has wanted another connection since the last call.
    pub(crate) fn take_renewal(&self) -> bool {
        self.renewal.xchg(false, Full)
    }

    /// Our end wants other keys.
    pub(crate) fn update(&self) {
        self.update.store(true, Relaxed);
        self.kick();
    }

    /// Tells whether our end has wanted other keys since the last call.
    pub(crate) fn take_update(&self) -> bool {
        self.update.xchg(false, Full)
    }

    /// The keys could not be changed: they are still to be.
    pub(crate) fn put_update_back(&self) {
        self.update.store(true, Relaxed);
    }

    /// The backend broke the rules; the first of several reasons is kept.
    pub(crate) fn fail(&self, reason: fmt::Arguments<'_>) {
        let mut fault = self.fault.lock();
        if fault.is_none() {
            let mut sentence = Sentence::new();
            // A sentence that is too long is cut.
            let _ = fmt::write(&mut sentence, reason);
            *fault = Some(sentence);
        }
        drop(fault);
        self.kick();
    }

    pub(crate) fn take_fault(&self) -> Option<Sentence> {
        self.fault.lock().take()
    }

    /// Returns how often there were news.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// Waits until there were more news than `seen`, no longer than `limit`.
    pub(crate) fn wait(&self, seen: u32, limit: Delta) {
        let _ = self
            .wait
            .wait(Sleep::Uninterruptible, Some(limit), || self.count() != seen);
    }
}
