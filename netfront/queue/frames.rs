// SPDX-License-Identifier: GPL-2.0

//! Frames, of a program or of other devices, go out on a queue.

use super::Queue;
use crate::{
    counters::Counter,
    tx::TxRing, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};
use linux::net::{
    queue::TxQueue,
    xdp::frame::{
        Frame,
        Frames, //
    }, //
};

impl Queue {
    /// Sends frames of other devices as far as there is room, and tells the backend of them.
    pub(crate) fn send_frames(&self, queue: TxQueue<'_>, frames: &mut Frames<'_>) {
        let mut guard = self.tx.lock();
        let Some(ring) = self.usable(&mut guard) else {
            return;
        };
        if ring.is_ignored(&self.patience) {
            drop(guard);
            self.ignored();
            return;
        }
        let mut found = 0;
        let result = loop {
            match ring.has_room(queue, &mut found, &self.counters) {
                Ok(true) => {}
                Ok(false) => break ring.flush(queue, &mut found, &self.counters),
                Err(broken) => break Err(broken),
            }
            let Some(frame) = frames.next() else {
                break ring.flush(queue, &mut found, &self.counters);
            };
            let sent = ring.send_frame(frame, &self.counters);
            let counter = if sent {
                Counter::XdpXmit
            } else {
                // Not one that the poll of another CPU counts at the same time.
                Counter::TxDropped
            };
            self.counters.add(counter, 1);
        };
        drop(guard);
        self.answered(found);
        if let Err(broken) = result {
            queue.stop();
            self.fail("transmit", &broken);
        }
    }

    /// Sends a frame of a program. The backend is told by [`flush_frames`](Self::flush_frames). Returns whether it was sent.
    pub(super) fn send_frame(&self, queue: TxQueue<'_>, frame: Frame) -> bool {
        let mut found = 0;
        let room = match self.usable(&mut self.tx.lock()) {
            Some(ring) => ring
                .has_room(queue, &mut found, &self.counters)
                .map(|room| room && ring.send_frame(frame, &self.counters)),
            None => Ok(false),
        };
        self.answered(found);
        room.unwrap_or_else(|broken| {
            queue.stop();
            self.fail("transmit", &broken);
            false
        })
    }

    /// Tells the backend of the frames that were sent.
    pub(super) fn flush_frames(&self, queue: TxQueue<'_>) {
        let mut found = 0;
        let result = match self.usable(&mut self.tx.lock()) {
            Some(ring) => ring.flush(queue, &mut found, &self.counters),
            None => Ok(()),
        };
        self.answered(found);
        if let Err(broken) = result {
            queue.stop();
            self.fail("transmit", &broken);
        }
    }

    /// The ring, if something may be sent on it.
    fn usable<'a>(&self, ring: &'a mut Option<KBox<TxRing>>) -> Option<&'a mut TxRing> {
        ring.as_deref_mut()
            .filter(|ring| ring.started && !self.broken.load(Relaxed))
    }
}
