// SPDX-License-Identifier: GPL-2.0

//! Sending: when the backend is told, when it shall tell us, and when the stack has to wait.
//!
//! The backend is told once for packets that come together. Its answers are looked for at the next packet, and it
//! shall announce them only if somebody waits: for a packet that it has been lent, or for room. Packets that were copied
//! are done as soon as they are written.

use crate::{
    counters::{
        Counter,
        Counters, //
    },
    outbox::{
        Broken,
        Groups,
        Outbox, //
    }, //
};
use abi::{
    net::{
        patience::Patience,
        plan::Terms,
        MAX_PACKET_SLOTS,
        RING_SLOTS, //
    },
    types::DomainId, //
};
use evtchn::Notifier;
use first::First;
use grant_table::GrantedPages;
use kernel::prelude::*;
use linux::net::{
    device::Xmit,
    queue::TxQueue,
    skb::SkBuff, //
};

mod first;
mod frames;

/// Ring slots that a packet can take: its data and one extra info.
const MAX_SLOTS: u32 = MAX_PACKET_SLOTS as u32 + 1;

/// As long as the ring has less room than this, a stopped queue is not woken.
const WAKE_ROOM: u32 = 2 * MAX_SLOTS;

/// With less room than this, a sender looks for answers even if another packet follows at once.
const REAP_ROOM: u32 = RING_SLOTS as u32 / 2;

/// The transmit ring of a connection.
pub(crate) struct TxRing {
    out: Outbox,
    notifier: Notifier,
    /// Packets that the stack waits for.
    counted: usize,
    /// Frames that the backend was lent.
    frames: usize,
    /// The backend has connected.
    pub(crate) started: bool,
    first: First,
}

impl TxRing {
    /// Makes the ring in its page.
    pub(crate) fn new(
        page: GrantedPages,
        peer: DomainId,
        notifier: Notifier,
        terms: Terms,
    ) -> Result<Self> {
        Ok(Self {
            out: Outbox::new(page, peer, terms)?,
            notifier,
            counted: 0,
            frames: 0,
            started: false,
            first: First::None,
        })
    }

    /// A packet is to be sent: tells whether the backend has left those before it where they are, for as long as `patience`
    /// allows.
    #[inline]
    pub(crate) fn is_ignored(&mut self, patience: &Patience) -> bool {
        self.first
            .is_ignored(patience, || self.out.ring.is_touched())
    }

    /// Sends a packet, or drops it if it cannot be sent. Answers that it finds meanwhile add to `found`.
    ///
    /// # Errors
    ///
    /// [`Broken`] if the backend broke the rules; the ring must not be used any more.
    pub(crate) fn send(
        &mut self,
        mut skb: SkBuff,
        queue: TxQueue<'_>,
        more: bool,
        found: &mut usize,
        counters: &Counters,
    ) -> Result<Xmit, Broken> {
        if !more || self.out.ring.free() < REAP_ROOM {
            self.reap(queue, 0, found, counters)?;
        }
        if self.out.ring.free() < MAX_SLOTS {
            // The queue should have been stopped when the room got short.
            queue.stop();
            self.publish(counters);
            self.watch(queue, 0, found, counters)?;
            return Ok(Xmit::Busy(skb));
        }
        let len = skb.len();
        skb.timestamp();
        let mut tell = match self.out.post(skb, counters) {
            Ok(counted) => {
                counters.add(Counter::TxPackets, 1);
                counters.add(Counter::TxBytes, len);
                if counted {
                    self.counted = self.counted.saturating_add(1);
                    queue.sent(len, more)
                } else {
                    !more || queue.stopped()
                }
            }
            Err(_) => {
                counters.add(Counter::TxDropped, 1);
                !more
            }
        };
        if self.out.ring.free() < MAX_SLOTS {
            queue.stop();
            tell = true;
        }
        if tell {
            self.publish(counters);
            self.watch(queue, 0, found, counters)?;
        }
        Ok(Xmit::Done)
    }

    /// Shows the backend what was written to the ring.
    fn publish(&mut self, counters: &Counters) {
        if self.out.ring.unpublished() != 0 && self.out.ring.publish() {
            self.notifier.notify();
            counters.add(Counter::TxNotified, 1);
        }
    }

    /// Notifies the backend whatever it asked for, in case that it missed something.
    pub(crate) fn nudge(&mut self, counters: &Counters) {
        let _ = self.out.ring.publish();
        self.notifier.notify();
        counters.add(Counter::TxNotified, 1);
    }

    /// Whether the backend holds anything.
    pub(crate) fn outstanding(&self) -> bool {
        self.out.ring.outstanding() != 0
    }

    /// Completes what the backend has answered, in a poll of this budget. Returns how many slots that were.
    ///
    /// # Errors
    ///
    /// [`Broken`] if the backend broke the rules; the ring must not be used any more.
    pub(crate) fn complete(
        &mut self,
        queue: TxQueue<'_>,
        budget: usize,
        counters: &Counters,
    ) -> Result<usize, Broken> {
        let mut found = 0;
        self.reap(queue, budget, &mut found, counters)?;
        if self.out.tell_groups(MAX_SLOTS, counters) {
            self.publish(counters);
        }
        self.watch(queue, budget, &mut found, counters)?;
        Ok(found)
    }

    /// Takes the answers that there are, and wakes the queue if there is room again.
    fn reap(
        &mut self,
        queue: TxQueue<'_>,
        budget: usize,
        found: &mut usize,
        counters: &Counters,
    ) -> Result<(), Broken> {
        let (done, result) = self.out.reap(budget, counters);
        *found = found.saturating_add(done.slots);
        self.frames = self.frames.saturating_sub(done.frames);
        if done.packets != 0 {
            self.counted = self.counted.saturating_sub(done.packets);
            queue.completed(done.packets, done.bytes);
        }
        result?;
        if self.started && queue.stopped() && self.out.ring.free() >= WAKE_ROOM {
            queue.wake();
        }
        Ok(())
    }

    /// Asks to be told of half of the answers that are to come, if somebody waits for one and that was not asked yet.
    fn watch(
        &mut self,
        queue: TxQueue<'_>,
        budget: usize,
        found: &mut usize,
        counters: &Counters,
    ) -> Result<(), Broken> {
        // Each turn takes an answer.
        let awaited = |ring: &Self| {
            ring.counted != 0 || ring.frames != 0 || ring.out.waits() || queue.stopped()
        };
        while awaited(self) && !self.out.ring.armed() {
            let half = self.out.ring.outstanding() / 2;
            if !self
                .out
                .ring
                .arm(half.saturating_add(1))
                .map_err(Broken::Ring)?
            {
                break;
            }
            self.reap(queue, budget, found, counters)?;
        }
        Ok(())
    }

    /// The backend is told of these groups from now on.
    pub(crate) fn set_groups(&mut self, groups: Groups) {
        self.out.groups = Some(groups);
    }

    /// Whether the backend has answered meanwhile what more was to be told after: it does not say so.
    pub(crate) fn lags(&self) -> bool {
        self.out.waits() && !self.out.ring.armed()
    }

    /// The groups that the backend is told of, if it is.
    pub(crate) fn groups(&mut self) -> Option<&mut Groups> {
        self.out.groups.as_mut()
    }

    /// Ends the ring: all that the backend holds is taken back, or kept until it can be.
    pub(crate) fn shut(&mut self, counters: &Counters) {
        self.out.abandon(counters);
    }
}
