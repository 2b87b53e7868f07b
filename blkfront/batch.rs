// SPDX-License-Identifier: GPL-2.0

//! Requests that have been answered: what becomes of them outside the lock of their queue.

use crate::{
    counters::Counters,
    transfer::Blk, //
};
use abi::block::{
    request::Operation,
    response::Outcome, //
};
use linux::block::{
    Request,
    Status, //
};

/// Requests completed between two looks at the lock.
const BATCH: usize = 16;

/// Requests that leave the queue, and what becomes of them outside the lock.
pub(crate) struct Batch {
    requests: [Option<Request<Blk>>; BATCH],
    len: usize,
}

/// What becomes of a request that a connection has lost: it ends as it was answered, or is offered again.
pub(crate) fn hand_back(rq: Request<Blk>, answered: bool, counters: &Counters) {
    if answered {
        let mut batch = Batch::new();
        batch.push(rq);
        batch.finish(counters);
    } else {
        counters.requeued.count();
        rq.requeue();
    }
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            requests: [const { None }; BATCH],
            len: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// Adds a request; the caller has looked whether there is room.
    pub(crate) fn push(&mut self, rq: Request<Blk>) {
        if let Some(slot) = self.requests.get_mut(self.len) {
            *slot = Some(rq);
            self.len = self.len.wrapping_add(1);
        }
    }

    /// Ends the requests as their outcomes say.
    pub(crate) fn finish(self, counters: &Counters) {
        for mut rq in self.requests.into_iter().flatten() {
            match rq.pdu().outcome {
                Outcome::Done => {
                    let bytes = rq.pdu().bytes;
                    if rq.advance(bytes) {
                        rq.complete(Status::Ok);
                    } else {
                        counters.partial.count();
                        rq.requeue();
                    }
                }
                Outcome::NotSupported if rq.pdu().operation == Operation::Discard => {
                    counters.refused.count();
                    rq.complete(Status::NotSupported);
                }
                // A flush. The backend has no cache that it could write back.
                Outcome::NotSupported => {
                    counters.refused.count();
                    rq.complete(Status::Ok);
                }
                Outcome::Failed => {
                    counters.errors.count();
                    rq.complete(Status::IoError);
                }
            }
        }
    }
}
