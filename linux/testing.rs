// SPDX-License-Identifier: GPL-2.0

//! What the KUnit suites share.

use crate::sync::wait::{
    Sleep,
    WaitQueue,
    Woken, //
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
    time::Delta, //
};

/// A count that others can wait for.
#[pin_data]
pub(crate) struct Steps {
    count: Atomic<u32>,
    #[pin]
    queue: WaitQueue,
}

impl Steps {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                count: Atomic::new(0),
                queue <- crate::new_wait_queue!("oxen_test_steps"),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn step(&self) {
        self.count.add(1, Relaxed);
        self.queue.wake_all();
    }

    pub(crate) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// Waits until there were `count` steps.
    pub(crate) fn wait(&self, count: u32, millis: i64) -> Woken {
        let limit = Some(Delta::from_millis(millis));
        self.queue
            .wait(Sleep::Uninterruptible, limit, || self.count() >= count)
    }

    /// Waits until `condition` holds, which is looked at every few milliseconds.
    pub(crate) fn poll(&self, condition: fn() -> bool) {
        while self
            .queue
            .wait(Sleep::Idle, Some(Delta::from_millis(20)), condition)
            != Woken::Ready
        {}
    }
}
