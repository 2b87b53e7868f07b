// SPDX-License-Identifier: GPL-2.0

//! Receiving: the backend is lent pages, copies packets into them and says what is where.
//!
//! Nothing in a page is looked at before its grant has ended, so what is checked is what is used. A page that the
//! backend gave back but still uses is kept with its grant and its packet is dropped.

use crate::{
    counters::{
        Counter,
        Counters, //
    },
    ring::{
        Notifier,
        SharedPage, //
    },
    shown::Shown,
};
use abi::{
    net::{
        gso::{
            self,
            GsoAccepted, //
        },
        rx::{
            self,
            Assembler,
            Fragment,
            Part,
            Posted,
            Progress,
            RxPacket, //
        },
        wire::{
            RxRequest,
            RX_SLOT, //
        },
        MAX_PACKET_SLOTS,
        RING_SLOTS, //
    },
    ring::FrontRing,
    types::{
        DomainId,
        Gfn, //
    }, //
};
use core::fmt;
use grant_table::{
    Access,
    Grant,
    Pool, //
};
use kernel::{
    alloc::kvec::PushError,
    prelude::*, //
};
use linux::net::{
    napi::PollContext,
    page_pool::{
        PagePool,
        RxPage, //
    },
    skb::{
        Checksum,
        GsoType, //
    }, //
};

/// Bytes of a packet that are copied into its head; the rest stays in the page.
const HEAD: usize = 256;

/// With less pages lent than this, memory is asked for again after a while.
const LOW: usize = 64;

/// A page that the backend may write to.
struct Buffer {
    page: RxPage,
    grant: Grant,
}

/// The receive ring of a connection.
pub(crate) struct RxRing {
    ring: FrontRing<[u8; RX_SLOT], [u8; RX_SLOT], SharedPage>,
    posted: Posted<Buffer, KVec<Option<Buffer>>>,
    assembler: Assembler,
    /// Parts of the packet that is being put together.
    parts: KVec<(Buffer, Fragment)>,
    pages: PagePool,
    pool: Pool,
    peer: DomainId,
    notifier: Notifier,
    next_id: u16,
    /// Pages that were used before are zeroed before they are lent again.
    clear: bool,
}

/// How the backend broke the rules.
pub(crate) enum Broken {
    /// By an index.
    Ring(abi::ring::Broken),
    /// It answered a request that was not made.
    NoBuffer,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Ring(error) => error.fmt(f),
            Broken::NoBuffer => f.write_str("receive response without a request"),
        }
    }
}

/// What a round of receiving did.
pub(crate) struct Received {
    /// Packets, good and bad.
    pub(crate) packets: usize,
    /// Whether any slot came back.
    pub(crate) progress: bool,
    /// Whether there is more.
    pub(crate) more: bool,
    /// Whether memory was short.
    pub(crate) short: bool,
}

impl RxRing {
    /// Makes the ring in its page.
    pub(crate) fn new(
        page: SharedPage,
        peer: DomainId,
        notifier: Notifier,
        accepted: GsoAccepted,
        trusted: bool,
    ) -> Result<Self> {
        let mut posted = KVec::with_capacity(RING_SLOTS, GFP_KERNEL)?;
        for _ in 0..RING_SLOTS {
            posted.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            ring: FrontRing::new(page).ok_or(EINVAL)?,
            posted: Posted::new(posted),
            assembler: Assembler::new(accepted),
            parts: KVec::with_capacity(MAX_PACKET_SLOTS, GFP_KERNEL)?,
            pages: PagePool::new(RING_SLOTS)?,
            pool: Pool::new(RING_SLOTS)?,
            peer,
            notifier,
            next_id: 0,
            clear: !trusted,
        })
    }

    /// Lends the backend as many pages as there is room for, and shows them to it. Returns whether memory is too short
    /// to go on without trying again.
    pub(crate) fn refill(&mut self, counters: &Counters) -> bool {
        let mut short = false;
        while self.ring.free() != 0 {
            let Some(mut page) = self.pages.alloc() else {
                short = true;
                break;
            };
            if self.clear {
                page.clear();
            }
            let Some(grant) = self
                .pool
                .grant(self.peer, Gfn(page.pfn()), Access::ReadWrite)
            else {
                short = true;
                break;
            };
            self.post(Buffer { page, grant }, counters);
        }
        if self.ring.unpublished() != 0 && self.ring.publish() {
            self.notifier.notify();
            counters.add(Counter::RxNotified, 1);
        }
        short && self.posted.held() < LOW
    }

    /// Puts a lent page into the ring.
    fn post(&mut self, buffer: Buffer, counters: &Counters) {
        let request = RxRequest {
            id: self.next_id,
            pad: 0,
            gref: buffer.grant.gref().0,
        };
        // Room in the ring and in the queue go together; a page without room for it is taken back.
        let buffer = match self.ring.free() {
            0 => Err(buffer),
            _ => self.posted.push(buffer),
        };
        match buffer {
            Ok(()) => {
                let _ = self.ring.write(&request.encode());
                self.next_id = self.next_id.wrapping_add(1) & (RING_SLOTS as u16).wrapping_sub(1);
            }
            Err(buffer) => drop(self.take_back(buffer, counters)),
        }
    }

    /// Ends the grant of a page. Returns the page unless the backend still uses it.
    fn take_back(&mut self, buffer: Buffer, counters: &Counters) -> Option<RxPage> {
        let Buffer { page, grant } = buffer;
        match self.pool.end(grant) {
            Ok(()) => Some(page),
            Err(grant) => {
                counters.add(Counter::RxDeferred, 1);
                self.pool.end_or_defer(grant, page.leave_pool());
                None
            }
        }
    }

    /// Receives packets, at most as many as the poll's budget, and lends new pages.
    ///
    /// # Errors
    ///
    /// [`Broken`] if the backend broke the rules; the ring must not be used any more.
    pub(crate) fn receive(
        &mut self,
        context: &PollContext<'_>,
        counters: &Counters,
    ) -> Result<Received, Broken> {
        let (mut packets, mut slots) = (0usize, 0usize);
        // Pages lent during this round are shown to the backend after it, so it ends after one turn of the ring.
        while packets < context.budget() {
            let Some(raw) = self.ring.take().map_err(Broken::Ring)? else {
                if let Some(error) = self.assembler.cut_off() {
                    packets = packets.saturating_add(1);
                    self.malformed(error, counters);
                }
                break;
            };
            slots = slots.saturating_add(1);
            let buffer = self.posted.pop().ok_or(Broken::NoBuffer)?;
            let (part, progress) = self.assembler.slot(raw);
            match part {
                Part::Unused => self.post(buffer, counters),
                Part::Data(fragment) => {
                    // There is room for as many as the assembler lets through.
                    let full = self.parts.push_within_capacity((buffer, fragment)).err();
                    if let Some(PushError((buffer, _))) = full {
                        drop(self.take_back(buffer, counters));
                    }
                }
            }
            match progress {
                Progress::More => continue,
                Progress::End(Ok(packet)) => self.deliver(&packet, context, counters),
                Progress::End(Err(error)) => self.malformed(error, counters),
            }
            packets = packets.saturating_add(1);
        }
        counters.add(Counter::RxSlots, slots);
        let short = self.refill(counters);
        let more = packets >= context.budget() || self.ring.arm(1).map_err(Broken::Ring)?;
        Ok(Received {
            packets,
            progress: slots != 0,
            more,
            short,
        })
    }

    /// Drops a packet; its pages are lent again.
    fn malformed(&mut self, error: rx::RxError, counters: &Counters) {
        counters.add(Counter::RxErrors, 1);
        kernel::pr_warn_once!("backend sent a malformed packet: {}\n", Shown(&error));
        while let Some((buffer, _)) = self.parts.pop() {
            self.post(buffer, counters);
        }
    }

    /// Passes a packet up.
    fn deliver(&mut self, packet: &RxPacket, context: &PollContext<'_>, counters: &Counters) {
        let mut skb = context.alloc_skb(HEAD);
        let mut complete = skb.is_some();
        let mut first = true;
        let mut parts = core::mem::take(&mut self.parts);
        for (buffer, fragment) in parts.drain_all() {
            // From here on the backend can no longer write to the page.
            let Some(page) = self.take_back(buffer, counters) else {
                complete = false;
                continue;
            };
            let Some(skb) = skb.as_mut().filter(|_| complete) else {
                continue;
            };
            let mut copied = 0;
            if first {
                first = false;
                copied = skb.append_to_head(&page, fragment.offset(), fragment.len().min(HEAD));
            }
            let (offset, len) = (
                fragment.offset().saturating_add(copied),
                fragment.len().saturating_sub(copied),
            );
            if len != 0 && skb.append_page(page, offset, len).is_err() {
                complete = false;
            }
        }
        // Keeps its memory for the next packet.
        self.parts = parts;

        let Some(mut skb) = skb.filter(|_| complete) else {
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

    /// Ends the ring: all pages are taken back, or kept until they can be.
    pub(crate) fn shut(mut self, counters: &Counters) {
        while let Some((buffer, _)) = self.parts.pop() {
            drop(self.take_back(buffer, counters));
        }
        while let Some(buffer) = self.posted.pop() {
            drop(self.take_back(buffer, counters));
        }
    }
}
