// SPDX-License-Identifier: GPL-2.0

//! What the block layer and the event channels call.

use crate::{
    disk::Vdisk,
    transfer::{
        Blk,
        Transfer, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::block::{
    HwQueue,
    Operations,
    Rejected,
    Request,
    Status, //
};

impl Operations for Blk {
    type OwnerModule = crate::Own;
    type Data = Vdisk;
    type Pdu = Transfer;

    fn new_pdu(disk: &Vdisk) -> Result<Transfer> {
        Transfer::new(disk.max_segments())
    }

    fn queue_rq(
        disk: &Vdisk,
        hw: HwQueue<'_>,
        rq: Request<Self>,
        last: bool,
    ) -> Result<(), Rejected<Self>> {
        match disk.queue(hw.index()) {
            Some(queue) => queue.submit(&hw, rq, last, || disk.find_soon()),
            None => Err(rq.reject(Status::IoError)),
        }
    }

    fn commit_rqs(disk: &Vdisk, hw: HwQueue<'_>) {
        if let Some(queue) = disk.queue(hw.index()) {
            queue.commit();
        }
    }

    fn timed_out(disk: &Vdisk, queue: u32, _tag: u32) {
        if let Some(queue) = disk.queue(queue) {
            disk.overdue(queue);
        }
    }
}

/// Receives the events of one queue.
pub(crate) struct Handler {
    disk: Arc<Vdisk>,
    queue: u32,
}

impl Handler {
    pub(crate) fn new(disk: Arc<Vdisk>, queue: u32) -> Self {
        Self { disk, queue }
    }
}

impl evtchn::Handler for Handler {
    fn event(&self, mut event: evtchn::Event) {
        let Some(queue) = self.disk.queue(self.queue) else {
            event.spurious();
            return;
        };
        queue.counters().events.count();
        let answers = self.disk.collect(queue);
        if let Some(cpu) = answers.asked_by {
            event.asked_by(cpu);
        }
        if !answers.any {
            queue.counters().spurious.count();
            event.spurious();
        }
    }
}
