// SPDX-License-Identifier: GPL-2.0

//! A packet becomes one of the stack's.

use super::{
    program::Outcome,
    Outlet,
    RxRing,
    HEAD, //
};
use crate::counters::{
    Counter,
    Counters, //
};
use abi::net::{
    gso,
    rx::{
        self,
        RxPacket, //
    }, //
};
use linux::{
    fmt::Shown,
    net::{
        napi::PollContext,
        skb::{
            Checksum,
            GsoType,
            RxSkb, //
        },
    }, //
};

impl RxRing {
    /// Drops a packet; its pages are lent again.
    pub(super) fn malformed(&mut self, error: rx::RxError, counters: &Counters) {
        counters.add(Counter::RxErrors, 1);
        kernel::pr_warn_once!("backend sent a malformed packet: {}\n", Shown(error));
        self.drop_parts(counters);
    }

    /// Lends the pages of a packet again.
    pub(super) fn drop_parts(&mut self, counters: &Counters) {
        while let Some((buffer, _)) = self.parts.pop() {
            self.post(buffer, counters);
        }
    }

    /// Passes a packet up, or to the program that looks at it first.
    pub(super) fn deliver(
        &mut self,
        packet: &RxPacket,
        context: &PollContext<'_>,
        send: &mut Outlet<'_>,
        counters: &Counters,
    ) {
        if let Some((_, first)) = self.parts.first_mut() {
            *first = packet.first;
        }
        let skb = if context.has_program() {
            match self.examine(packet, context, send, counters) {
                Outcome::Pass(skb) => skb,
                Outcome::Gone => return,
            }
        } else if packet.fragments == 1 && packet.len <= HEAD {
            self.copied(context, counters)
        } else {
            self.assembled(context, counters)
        };
        let Some(mut skb) = skb else {
            counters.add(Counter::RxDropped, 1);
            return;
        };
        if let Some(gso) = packet.gso {
            let kind = match gso.kind {
                gso::GsoType::TcpV4 => GsoType::TcpV4,
                gso::GsoType::TcpV6 => GsoType::TcpV6,
            };
            skb.set_gso(kind, gso.size);
        }
        if let Some(hash) = packet.hash {
            skb.set_hash(hash.value, hash.ports);
        }
        let checksum = match packet.checksum {
            rx::Checksum::Unknown => Checksum::Unknown,
            rx::Checksum::Validated => Checksum::Validated,
            rx::Checksum::Blank => Checksum::Blank,
            rx::Checksum::Rebuild => Checksum::Rebuild,
        };
        match context.receive(skb, checksum) {
            Ok(len) => {
                counters.add(Counter::RxPackets, 1);
                counters.add(Counter::RxBytes, len);
            }
            Err(_) => counters.add(Counter::RxErrors, 1),
        }
    }

    /// Copies a packet out of its page, which is lent again under the same grant.
    fn copied(&mut self, context: &PollContext<'_>, counters: &Counters) -> Option<RxSkb> {
        let (buffer, fragment) = self.parts.pop()?;
        let skb = context.alloc_skb(HEAD).and_then(|mut skb| {
            let copied = skb.append_to_head(&buffer.page, fragment.offset(), fragment.len());
            (copied == fragment.len()).then_some(skb)
        });
        self.post(buffer, counters);
        counters.add(Counter::RxCopied, 1);
        skb
    }

    /// Puts a packet together from its pages, with the headers in its head.
    fn assembled(&mut self, context: &PollContext<'_>, counters: &Counters) -> Option<RxSkb> {
        let mut skb = context.alloc_skb(HEAD);
        let mut first = true;
        let mut parts = core::mem::take(&mut self.parts);
        for (buffer, fragment) in parts.drain_all() {
            // From here on the backend can no longer write to the page.
            let Some(page) = self.take_back(buffer, counters) else {
                skb = None;
                continue;
            };
            let Some(packet) = skb.as_mut() else {
                continue;
            };
            let (mut offset, mut len) = (fragment.offset(), fragment.len());
            if core::mem::take(&mut first) {
                let headers = context.header_len(&page, offset, len).min(HEAD);
                let copied = packet.append_to_head(&page, offset, headers);
                (offset, len) = (offset.saturating_add(copied), len.saturating_sub(copied));
            }
            if len != 0 && packet.append_page(page, offset, len).is_err() {
                skb = None;
            }
        }
        // Keeps its memory for the next packet.
        self.parts = parts;
        skb
    }
}
