// SPDX-License-Identifier: GPL-2.0

//! A packet goes through a program before the stack gets it.
//!
//! The program reads what only we can write: the grant of the page has ended before. It gets a packet in one piece, with
//! room before the data. A backend that was asked for the room leaves it; else, as long as the connection is one from before
//! the program or the backend is one that cannot, the packet is moved inside its page.

use super::{
    Outlet,
    RxRing,
    HEAD, //
};
use crate::counters::{
    Counter,
    Counters, //
};
use abi::net::{
    rx::RxPacket,
    xdp::place, //
};
use linux::net::{
    napi::PollContext,
    page_pool::RxPage,
    skb::RxSkb,
    xdp::run::{
        tail,
        Extent,
        Verdict, //
    }, //
};

/// What became of a packet.
pub(super) enum Outcome {
    /// It is the stack's; none if memory was short.
    Pass(Option<RxSkb>),
    /// It went another way.
    Gone,
}

impl RxRing {
    /// Has a packet go through the program.
    pub(super) fn examine(
        &mut self,
        packet: &RxPacket,
        context: &PollContext<'_>,
        send: &mut Outlet<'_>,
        counters: &Counters,
    ) -> Outcome {
        let Some(place) = place(packet, tail()) else {
            // To show a program a part of a packet would be to let the rest pass unseen.
            counters.add(Counter::XdpErrors, 1);
            self.drop_parts(counters);
            return Outcome::Gone;
        };
        let Some((buffer, _)) = self.parts.pop() else {
            return Outcome::Pass(None);
        };
        // From here on the backend can no longer write to the page.
        let Some(mut page) = self.take_back(buffer, counters) else {
            return Outcome::Pass(None);
        };
        page.shift(place.from, place.to, place.len);
        counters.add(Counter::XdpPackets, 1);
        let counter = match context.run_program(&self.info, page, place.to, place.len) {
            Verdict::Pass(page, extent) => return Outcome::Pass(built(context, page, extent)),
            Verdict::Drop => Counter::XdpDrop,
            Verdict::Send(frame) => {
                if send(frame) {
                    Counter::XdpTx
                } else {
                    context.not_sent();
                    Counter::XdpTxErrors
                }
            }
            Verdict::Redirected => {
                self.redirected = true;
                Counter::XdpRedirect
            }
            Verdict::Failed => Counter::XdpErrors,
        };
        counters.add(counter, 1);
        // It was received, whatever became of it.
        counters.add(Counter::RxPackets, 1);
        counters.add(Counter::RxBytes, place.len);
        Outcome::Gone
    }
}

/// Makes one of the stack's of a packet that the program has let pass. A small one leaves its page to the next packet.
fn built(context: &PollContext<'_>, page: RxPage, extent: Extent) -> Option<RxSkb> {
    let Extent { offset, len, meta } = extent;
    if len > HEAD || meta != 0 {
        return context.skb_in_page(page, offset, len, meta);
    }
    let mut skb = context.alloc_skb(HEAD)?;
    (skb.append_to_head(&page, offset, len) == len).then_some(skb)
}
