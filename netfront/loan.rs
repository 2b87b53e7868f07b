// SPDX-License-Identifier: GPL-2.0

//! What the backend was lent of a packet, and how it is taken back.

use crate::counters::{
    Counter,
    Counters, //
};
use abi::net::multicast::Change;
use grant_table::{
    Grant,
    Pool, //
};
use linux::{
    mm::page::PageRef,
    net::{
        skb::{
            PageCopy,
            SkBuff, //
        },
        xdp::frame::Frame, //
    }, //
};

/// What a slot lends the backend.
pub(crate) enum Loan {
    /// The cell of the slot's number, which stays granted.
    Cell,
    /// A page.
    Page(Grant, Whose),
}

/// Whose page is lent, and what keeps it if the backend does not let go of it.
pub(crate) enum Whose {
    /// A copy of ours.
    Copy(PageCopy),
    /// One of the packet's own.
    Packet,
    /// One of the frame's own.
    Frame(PageRef),
}

/// A packet, or a request without one, that the backend has.
#[derive(Default)]
pub(crate) struct Packet {
    /// The packet, unless all of it was copied.
    pub(crate) skb: Option<SkBuff>,
    /// The frame, if it is one and was not copied.
    pub(crate) frame: Option<Frame>,
    /// Its bytes, if the stack waits for its end: the queue's byte limit counts it.
    pub(crate) counted: Option<usize>,
    /// It is no packet, but changes which groups the backend passes on.
    pub(crate) change: Option<Change>,
}

impl Loan {
    /// Ends a loan. If the backend still has the page, the page is kept with the grant.
    pub(crate) fn end(self, pool: &Pool, packet: &Packet, counters: &Counters) {
        let Loan::Page(grant, whose) = self else {
            return;
        };
        let Err(grant) = pool.end(grant) else {
            return;
        };
        counters.add(Counter::TxDeferred, 1);
        match (whose, &packet.skb) {
            (Whose::Copy(copy), _) => pool.end_or_defer(grant, copy),
            (Whose::Frame(page), _) => pool.end_or_defer(grant, page),
            (Whose::Packet, Some(skb)) => pool.end_or_defer(grant, skb.hold()),
            // A page that is the packet's has a packet; without one there is nothing to keep.
            (Whose::Packet, None) => false,
        };
    }
}
