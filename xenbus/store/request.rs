// SPDX-License-Identifier: GPL-2.0

//! Who gets the answer to a request.

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
    sync::wait::{
        Sleep,
        WaitQueue,
        Woken, //
    },
};

use super::places::Place;

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

    pub(crate) fn complete(&self, answer: Result<KVec<u8>>) {
        *self.answer.lock() = Some(answer);
        self.done.store(true, Release);
        self.wait.wake_all();
    }

    /// Waits for the answer, killably.
    pub(crate) fn wait(&self, limit: Delta) -> Woken {
        self.wait
            .wait(Sleep::Killable, Some(limit), || self.done.load(Acquire))
    }

    /// Takes the answer if it is there.
    pub(crate) fn take(&self) -> Option<Result<KVec<u8>>> {
        self.answer.lock().take()
    }
}

/// Takes the answer in instead of a caller that waits for it.
pub(crate) trait Receiver: Send {
    /// The server has answered, or the connection is lost. `epoch` is the connection that the answer came by.
    ///
    /// Called once at most, by the thread that serves the rings: must not wait.
    fn answered(&mut self, answer: Result<&[u8]>, epoch: u32);
}

/// The owner of a request.
pub(crate) enum Owner {
    /// A caller that waits.
    Waiter(Arc<Pending>),
    /// An open file.
    Receiver(KBox<dyn Receiver>),
    /// Nobody any more: the transaction that the server opens is ended. Its place is taken until then.
    Undo(Place),
    /// Nobody: the request was sent for its effect.
    Nobody,
}
