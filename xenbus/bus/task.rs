// SPDX-License-Identifier: GPL-2.0

//! Work that is asked for from anywhere and runs once at a time, however often it was asked for.

use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};
use linux::{
    mm::reclaim::NoIo,
    workqueue::OwnedQueue, //
};

use super::gate::Gate;

/// What a [`Task`] does.
pub(crate) trait Body: Send + Sync {
    /// Does it. It may wait, within bounds.
    fn run(&self);
}

/// Work on a queue of the bus.
#[pin_data]
pub(crate) struct Task {
    #[pin]
    work: Work<Task>,
    queue: Arc<OwnedQueue>,
    gate: Arc<Gate>,
    #[pin]
    body: Mutex<Option<Arc<dyn Body>>>,
}

impl_has_work! {
    impl HasWork<Self> for Task { self.work }
}

impl Task {
    /// Makes a task that does nothing yet.
    pub(crate) fn new(queue: Arc<OwnedQueue>, gate: Arc<Gate>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                work <- new_work!("xenbus::Task"),
                queue,
                gate,
                body <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    /// Gives it something to do.
    pub(crate) fn start(&self, body: Arc<dyn Body>) {
        *self.body.lock() = Some(body);
    }

    /// Asks for a run that begins after this call. From any context.
    pub(crate) fn kick(self: &Arc<Self>) {
        // It is fine when it is queued already.
        let _ = self.queue.enqueue(self.clone());
    }

    /// No run begins any more; one may still be going on.
    pub(crate) fn stop(&self) {
        let body = self.body.lock().take();
        drop(body);
    }
}

impl WorkItem for Task {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // A disk whose connection is made anew is one that writeback may wait for.
        let _no_io = NoIo::enter();
        this.gate.pass(|| {
            let body = this.body.lock().clone();
            if let Some(body) = body {
                body.run();
            }
        });
    }
}
