// SPDX-License-Identifier: GPL-2.0

//! Requests of a connection that has ended, whose pages its backend has not let go of.
//!
//! They must not end before that: their owners would use memory that the backend can still write.

use crate::{
    counters::Counters,
    ring::QueueRing,
    transfer::Blk, //
};
use kernel::prelude::*;
use linux::block::{
    Request,
    Status, //
};

/// Such requests, with the ring that they went out by, and whether each was answered.
pub(crate) struct Parked {
    ring: QueueRing,
    requests: KVec<(Request<Blk>, bool)>,
}

impl Parked {
    pub(crate) fn new(ring: QueueRing, requests: KVec<(Request<Blk>, bool)>) -> Self {
        Self { ring, requests }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// How many references its ring holds.
    pub(crate) fn grants(&self) -> usize {
        self.ring.grants()
    }

    /// Takes out one whose pages are free now, trying each once.
    pub(crate) fn take(&mut self, counters: &Counters) -> Option<(Request<Blk>, bool)> {
        let ring = &mut self.ring;
        let free = self
            .requests
            .iter_mut()
            .position(|(rq, _)| ring.end(rq, counters))?;
        self.requests.remove(free).ok()
    }

    /// Fails all. What the backend keeps stays allocated until it lets go. May sleep.
    pub(crate) fn fail(mut self, counters: &Counters) {
        for (mut rq, _) in self.requests.drain_all() {
            self.ring.revoke(&mut rq, counters);
            counters.abandoned.count();
            rq.complete(Status::IoError);
        }
    }
}
