// SPDX-License-Identifier: GPL-2.0

//! What keeps the work of the bus back while the domain stops.

use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
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
};

#[derive(Default)]
struct State {
    inside: u32,
    closed: bool,
}

/// Work goes through it while it is open.
#[pin_data]
pub(crate) struct Gate {
    #[pin]
    state: SpinLock<State>,
    #[pin]
    wait: WaitQueue,
}

impl Gate {
    /// An open gate.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                state <- new_spinlock!(State::default(), "oxen_xenbus_gate"),
                wait <- new_wait_queue!("xenbus::Gate"),
            }),
            GFP_KERNEL,
        )
    }

    /// Calls `with` as soon as the gate is open.
    pub(crate) fn pass(&self, with: impl FnOnce()) {
        let _ = self.wait.wait(Sleep::Idle, None, || {
            let mut state = self.state.lock();
            if !state.closed {
                state.inside = state.inside.saturating_add(1);
            }
            !state.closed
        });
        with();
        let mut state = self.state.lock();
        state.inside = state.inside.saturating_sub(1);
        drop(state);
        self.wait.wake_all();
    }

    /// Closes the gate and waits until nobody is inside.
    ///
    /// # Errors
    ///
    /// `EBUSY` when somebody still is after `limit`; the gate is open then.
    pub(crate) fn close(&self, limit: Delta) -> Result {
        self.state.lock().closed = true;
        let woken = self.wait.wait(Sleep::Uninterruptible, Some(limit), || {
            self.state.lock().inside == 0
        });
        if woken == Woken::Ready {
            return Ok(());
        }
        self.open();
        Err(EBUSY)
    }

    /// Opens the gate.
    pub(crate) fn open(&self) {
        self.state.lock().closed = false;
        self.wait.wake_all();
    }
}
