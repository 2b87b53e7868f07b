// SPDX-License-Identifier: GPL-2.0

//! One request and whoever waits for its answer.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Release, //
            },
            Atomic, //
        },
        Arc,
        Mutex, //
    },
    time::Delta,
};
use linux::{
    new_wait_queue,
    wait::{
        Sleep,
        WaitQueue,
        Woken, //
    },
};

/// An answer that is waited for.
#[pin_data]
pub(crate) struct Pending {
    #[pin]
    answer: Mutex<Option<Result<KVec<u8>>>>,
    done: Atomic<bool>,
    #[pin]
    wait: WaitQueue,
}

impl Pending {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                answer <- new_mutex!(None),
                done: Atomic::new(false),
                wait <- new_wait_queue!("xenbus::Pending"),
            }),
            GFP_KERNEL,
        )
    }

    fn complete(&self, answer: Result<KVec<u8>>) {
        *self.answer.lock() = Some(answer);
        self.done.store(true, Release);
        self.wait.wake_all();
    }

    /// Waits for the answer; `None` when it did not come in time or, in a killable wait, the caller is being killed.
    pub(crate) fn wait(&self, limit: Delta) -> Woken {
        self.wait
            .wait(Sleep::Killable, Some(limit), || self.done.load(Acquire))
    }

    /// Takes the answer if it is there.
    pub(crate) fn take(&self) -> Option<Result<KVec<u8>>> {
        self.answer.lock().take()
    }
}

/// Who gets the answer to a request.
pub(crate) enum Owner {
    /// A caller that waits.
    Waiter(Arc<Pending>),
    /// Nobody: the request was sent for its effect.
    Nobody,
}

impl Owner {
    pub(crate) fn complete(self, answer: Result<KVec<u8>>) {
        if let Self::Waiter(pending) = self {
            pending.complete(answer);
        }
    }
}
