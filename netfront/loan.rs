// SPDX-License-Identifier: GPL-2.0

//! What the backend was lent of a packet, and how it is taken back.

use crate::counters::{
    Counter,
    Counters, //
};
use grant_table::{
    Grant,
    Pool, //
};
use linux::net::skb::{
    PageCopy,
    SkBuff, //
};

/// What a slot lends the backend.
pub(crate) enum Loan {
    /// The cell of the slot's number, which stays granted.
    Cell,
    /// A page: a copy of ours, or one of the packet's own.
    Page(Grant, Option<PageCopy>),
}

/// A packet that the backend has.
pub(crate) struct Packet {
    /// The packet, unless all of it was copied.
    pub(crate) skb: Option<SkBuff>,
    /// Its bytes, if the stack waits for its end: the queue's byte limit counts it.
    pub(crate) counted: Option<usize>,
}

impl Loan {
    /// Ends a loan. If the backend still has the page, the page is kept with the grant.
    pub(crate) fn end(self, pool: &Pool, packet: &Packet, counters: &Counters) {
        let Loan::Page(grant, copy) = self else {
            return;
        };
        let Err(grant) = pool.end(grant) else {
            return;
        };
        counters.add(Counter::TxDeferred, 1);
        match (copy, &packet.skb) {
            (Some(copy), _) => pool.end_or_defer(grant, copy),
            (None, Some(skb)) => pool.end_or_defer(grant, skb.hold()),
            // A page is of the packet or a copy; with neither there is nothing to keep.
            (None, None) => false,
        };
    }
}
