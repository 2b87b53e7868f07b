// SPDX-License-Identifier: GPL-2.0

//! Where the thread of the xenstore client stands while the domain stops.

use kernel::{
    prelude::*,
    sync::atomic::{
        ordering::{
            Full,
            Relaxed, //
        },
        Atomic, //
    },
    time::Delta,
};
use linux::{
    new_wait_queue,
    sync::wait::{
        Sleep,
        WaitQueue,
        Woken, //
    },
    workqueue::kthread, //
};

/// Stops one thread, between two messages.
#[pin_data]
pub(crate) struct Halt {
    wanted: Atomic<bool>,
    stands: Atomic<bool>,
    renewed: Atomic<bool>,
    #[pin]
    wait: WaitQueue,
}

impl Halt {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            wanted: Atomic::new(false),
            stands: Atomic::new(false),
            renewed: Atomic::new(false),
            wait <- new_wait_queue!("xenbus::Halt"),
        })
    }

    /// For the thread: stands here while it is to. Returns whether the connection is another one now; then
    /// [`is_renewed`](Self::is_renewed) follows.
    pub(crate) fn stand(&self) -> bool {
        if self.wanted.load(Relaxed) {
            self.stands.store(true, Relaxed);
            self.wait.wake_all();
            let _ = self.wait.wait(Sleep::Idle, None, || {
                !self.wanted.load(Relaxed) || kthread::should_stop()
            });
            self.stands.store(false, Relaxed);
        }
        self.renewed.load(Relaxed)
    }

    /// For the thread: it has taken the other connection over.
    pub(crate) fn is_renewed(&self) {
        let _ = self.renewed.xchg(false, Full);
        self.wait.wake_all();
    }

    /// Has the thread stand, which `wake` has look. Waits until it does.
    ///
    /// # Errors
    ///
    /// `EBUSY` when it does not within `limit`; it goes on then.
    pub(crate) fn stop(&self, wake: impl FnOnce(), limit: Delta) -> Result {
        self.wanted.store(true, Relaxed);
        wake();
        let woken = self.wait.wait(Sleep::Uninterruptible, Some(limit), || {
            self.stands.load(Relaxed)
        });
        if woken == Woken::Ready {
            return Ok(());
        }
        self.go_on(false, limit);
        Err(EBUSY)
    }

    /// Has the thread go on; `renewed` tells it that the connection is another one, which it is given time to take over.
    pub(crate) fn go_on(&self, renewed: bool, limit: Delta) {
        self.renewed.store(renewed, Relaxed);
        let _ = self.wanted.xchg(false, Full);
        self.wait.wake_all();
        let _ = self.wait.wait(Sleep::Uninterruptible, Some(limit), || {
            !self.renewed.load(Relaxed)
        });
    }
}
