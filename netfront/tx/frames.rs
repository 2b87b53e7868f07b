// SPDX-License-Identifier: GPL-2.0

//! Sending frames, which the stack knows nothing of.

use super::{
    TxRing,
    MAX_SLOTS,
    REAP_ROOM, //
};
use crate::{
    counters::{
        Counter,
        Counters, //
    },
    outbox::Broken, //
};
use linux::net::{
    queue::TxQueue,
    xdp::frame::Frame, //
};

/// With less room than this no frame is sent: the stack's packets find room whatever comes from elsewhere.
const FRAME_ROOM: u32 = 2 * MAX_SLOTS;

impl TxRing {
    /// Whether there is room for a frame. Answers that it finds meanwhile add to `found`.
    ///
    /// # Errors
    ///
    /// [`Broken`] if the backend broke the rules; the ring must not be used any more.
    pub(crate) fn has_room(
        &mut self,
        queue: TxQueue<'_>,
        found: &mut usize,
        counters: &Counters,
    ) -> Result<bool, Broken> {
        if self.out.ring.free() < REAP_ROOM {
            self.reap(queue, 0, found, counters)?;
        }
        Ok(self.out.ring.free() >= FRAME_ROOM)
    }

    /// Sends a frame, for which there is [room](Self::has_room). The backend is told at the next [`flush`](Self::flush).
    /// Returns whether it could be sent.
    pub(crate) fn send_frame(&mut self, frame: Frame, counters: &Counters) -> bool {
        let len = frame.run().len;
        let Ok(lent) = self.out.post_frame(frame, counters) else {
            return false;
        };
        self.frames = self.frames.saturating_add(usize::from(lent));
        counters.add(Counter::TxPackets, 1);
        counters.add(Counter::TxBytes, len);
        true
    }

    /// Tells the backend of what was sent.
    ///
    /// # Errors
    ///
    /// [`Broken`] if the backend broke the rules; the ring must not be used any more.
    pub(crate) fn flush(
        &mut self,
        queue: TxQueue<'_>,
        found: &mut usize,
        counters: &Counters,
    ) -> Result<(), Broken> {
        self.publish(counters);
        self.watch(queue, 0, found, counters)
    }
}
