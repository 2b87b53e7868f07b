// SPDX-License-Identifier: GPL-2.0

//! Changes of the backend's list of groups, as requests without data.

use super::{
    post::Unfit,
    Outbox, //
};
use crate::{
    counters::{
        Counter,
        Counters, //
    },
    loan::{
        Loan,
        Packet, //
    }, //
};
use abi::net::{
    multicast::Change,
    wire::{
        tx_flags,
        TxRequest, //
    }, //
};

/// Ring slots of a change: the request, and the extra info that says what it is.
const SLOTS: u32 = 2;

impl Outbox {
    /// Tells the backend what it does not know of the groups, as long as the ring keeps `room` for others. Returns
    /// whether anything was written.
    pub(crate) fn tell_groups(&mut self, room: u32, counters: &Counters) -> bool {
        let Some(mut groups) = self.groups.take() else {
            return false;
        };
        let (mut told, mut full) = (false, false);
        while let Some(change) = groups.due() {
            full = self.ring.free() < room.saturating_add(SLOTS);
            if full || self.post_change(change, counters).is_err() {
                break;
            }
            groups.sent(change);
            told = true;
        }
        self.waits = full || groups.is_waiting();
        self.groups = Some(groups);
        told
    }

    /// Whether an answer of the backend's is waited for: to a change, or for one to have room.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Writes a change to the ring.
    fn post_change(&mut self, change: Change, counters: &Counters) -> Result<(), Unfit> {
        let packet = Packet {
            change: Some(change),
            ..Packet::default()
        };
        let packet = self.book.begin(packet).map_err(|_| Unfit)?;
        let mut written = 0u32;
        let mut write = || -> Result<(), Unfit> {
            let id = self.book.slot(packet, Loan::Cell).map_err(|_| Unfit)?;
            // There is no data. A backend that looks for some all the same finds none but ours.
            let (gref, offset) = self.cells.place(id).ok_or(Unfit)?;
            let request = TxRequest {
                gref,
                offset,
                flags: tx_flags::EXTRA_INFO,
                id,
                size: 0,
            };
            for slot in [request.encode(), change.to_extra().encode_tx()] {
                self.ring.write(&slot).map_err(|_| Unfit)?;
                written = written.wrapping_add(1);
            }
            Ok(())
        };
        let done = write();
        if done.is_err() {
            // The backend has not been shown any of it. A cell is lent for good.
            self.ring.unwrite(written);
            drop(self.book.cancel(packet, |_, _| ()));
            return done;
        }
        self.book.extra();
        counters.add(Counter::TxSlots, SLOTS as usize);
        Ok(())
    }
}
