// SPDX-License-Identifier: GPL-2.0

//! Sending: packets are lent to the backend where they lie, slot by slot.
//!
//! The backend gets the pages of a packet read-only. A packet is freed after the backend has answered all its slots and
//! every grant has ended; if one cannot end because the backend still has the page mapped, the packet's memory is kept
//! with the grant until it can.

use crate::{
    counters::{
        Counter,
        Counters, //
    },
    ring::{
        Notifier,
        SharedPage, //
    },
};
use abi::{
    net::{
        gso,
        tx::{
            count_pieces,
            pieces,
            Answer,
            InFlight,
            Ledger,
            PacketId,
            Sent,
            TxError, //
        },
        wire::{
            tx_flags,
            ExtraInfo,
            TxRequest,
            TxResponse,
            TX_SLOT, //
        },
        ETHERNET_HEADER,
        MAX_PACKET_SLOTS,
        MAX_TX_SIZE,
        PAGE_SIZE,
        RING_SLOTS, //
    },
    ring::FrontRing,
    slots::Slot,
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
use kernel::prelude::*;
use linux::net::{
    device::Xmit,
    queue::TxQueue,
    skb::{
        Checksum,
        FrontCopy,
        GsoType,
        Run,
        SkBuff, //
    }, //
};

/// Ring slots that a packet can take: its data and one extra info.
const MAX_SLOTS: u32 = MAX_PACKET_SLOTS as u32 + 1;

/// As long as the ring has less room than this, a stopped queue is not woken.
const WAKE_ROOM: u32 = 2 * MAX_SLOTS;

/// Bytes at the front of a packet that lie in its first slot, if the packet has as many in its head: all headers that
/// a backend has to look at.
const HEADERS: usize = 256;

/// What the backend was lent for one slot.
struct Loan {
    grant: Grant,
    /// The page, if it is not one of the packet's own.
    copy: Option<FrontCopy>,
}

/// A packet that the backend has.
struct Packet {
    skb: SkBuff,
    len: usize,
}

type Book = Ledger<Loan, Packet, KVec<Slot<Sent<Loan>>>, KVec<Slot<InFlight<Packet>>>>;

/// The transmit ring of a connection.
pub(crate) struct TxRing {
    ring: FrontRing<[u8; TX_SLOT], TxResponse, SharedPage>,
    book: Book,
    pool: Pool,
    peer: DomainId,
    notifier: Notifier,
    /// The backend has connected.
    pub(crate) started: bool,
}

/// Why a packet cannot be sent.
struct Unfit;

/// Allocates the slots of a table.
fn storage<T>() -> Result<KVec<Slot<T>>> {
    let mut slots = KVec::with_capacity(RING_SLOTS, GFP_KERNEL)?;
    for _ in 0..RING_SLOTS {
        slots.push(Slot::new(), GFP_KERNEL)?;
    }
    Ok(slots)
}

impl TxRing {
    /// Makes the ring in its page.
    pub(crate) fn new(page: SharedPage, peer: DomainId, notifier: Notifier) -> Result<Self> {
        Ok(Self {
            ring: FrontRing::new(page).ok_or(EINVAL)?,
            book: Ledger::new(storage()?, storage()?),
            pool: Pool::new(RING_SLOTS)?,
            peer,
            notifier,
            started: false,
        })
    }

    /// Sends a packet, or drops it if it cannot be sent.
    pub(crate) fn send(
        &mut self,
        mut skb: SkBuff,
        queue: TxQueue<'_>,
        more: bool,
        counters: &Counters,
    ) -> Xmit {
        if self.ring.free() < MAX_SLOTS {
            // The queue should have been stopped when the room got short.
            queue.stop();
            self.publish(counters);
            return Xmit::Busy(skb);
        }
        let len = skb.len();
        skb.timestamp();
        if self.post(skb, counters).is_err() {
            counters.add(Counter::TxDropped, 1);
            if !more {
                self.publish(counters);
            }
            return Xmit::Done;
        }
        counters.add(Counter::TxPackets, 1);
        counters.add(Counter::TxBytes, len);

        let mut tell = queue.sent(len, more);
        if self.ring.free() < MAX_SLOTS {
            queue.stop();
            tell = true;
        }
        if tell {
            self.publish(counters);
        }
        Xmit::Done
    }

    /// Shows the backend what was written to the ring.
    pub(crate) fn publish(&mut self, counters: &Counters) {
        if self.ring.unpublished() != 0 && self.ring.publish() {
            self.notifier.notify();
            counters.add(Counter::TxNotified, 1);
        }
    }

    /// Notifies the backend whatever it asked for, in case that it missed something.
    pub(crate) fn nudge(&mut self, counters: &Counters) {
        let _ = self.ring.publish();
        self.notifier.notify();
        counters.add(Counter::TxNotified, 1);
    }

    /// Whether the backend holds anything.
    pub(crate) fn outstanding(&self) -> bool {
        self.ring.outstanding() != 0
    }

    /// Writes a packet to the ring.
    fn post(&mut self, mut skb: SkBuff, counters: &Counters) -> Result<(), Unfit> {
        let len = skb.len();
        if !(ETHERNET_HEADER..=MAX_TX_SIZE).contains(&len) {
            return Err(Unfit);
        }
        if skb.head_len() < ETHERNET_HEADER {
            skb.linearize().map_err(|_| Unfit)?;
        }
        let mut copy = copy_front(&skb)?;
        if count_slots(&skb, copy.as_ref()) > MAX_PACKET_SLOTS {
            skb.linearize().map_err(|_| Unfit)?;
            copy = copy_front(&skb)?;
            if count_slots(&skb, copy.as_ref()) > MAX_PACKET_SLOTS {
                return Err(Unfit);
            }
        }
        counters.add(Counter::TxCopied, usize::from(copy.is_some()));

        let (csum, gso) = (skb.checksum(), skb.gso());
        let skip = copy.as_ref().map_or(0, |copy| copy.run().len);
        let mut requests: [TxRequest; MAX_PACKET_SLOTS] = Default::default();
        let mut ids = [0u16; MAX_PACKET_SLOTS];
        let mut used = 0usize;

        // The runs point into the packet, which stays where it is when its owner moves into the ledger.
        let mut runs: [Option<Run>; MAX_PACKET_SLOTS] = [None; MAX_PACKET_SLOTS];
        for (place, run) in runs.iter_mut().zip(skb.runs(skip)) {
            *place = Some(run);
        }
        let Ok(packet) = self.book.begin(Packet { skb, len }) else {
            return Err(Unfit);
        };
        let front = copy.as_ref().map(|copy| copy.run());
        for run in Iterator::chain(front.into_iter(), runs.into_iter().flatten()) {
            for piece in pieces(run.offset, run.len) {
                let gfn = Gfn(run.pfn.wrapping_add(piece.page as u64));
                let (Some(request), Some(id)) = (requests.get_mut(used), ids.get_mut(used)) else {
                    return Err(self.cancel(packet, ids.get(..used)));
                };
                let Some((number, gref)) = self.lend(packet, gfn, copy.take()) else {
                    return Err(self.cancel(packet, ids.get(..used)));
                };
                *id = number;
                *request = TxRequest {
                    gref,
                    offset: piece.offset,
                    flags: tx_flags::MORE_DATA,
                    id: number,
                    size: piece.len,
                };
                used = used.saturating_add(1);
            }
        }
        let Some(requests) = requests.get_mut(..used) else {
            return Err(Unfit);
        };
        if let Some(last) = requests.last_mut() {
            last.flags = 0;
        }
        if let Some(first) = requests.first_mut() {
            // CAST: Checked above.
            first.size = len as u16;
            first.flags |= match csum {
                Checksum::Blank | Checksum::Rebuild => {
                    tx_flags::CSUM_BLANK | tx_flags::DATA_VALIDATED
                }
                Checksum::Validated => tx_flags::DATA_VALIDATED,
                Checksum::Unknown => 0,
            };
            if gso.is_some() {
                first.flags |= tx_flags::EXTRA_INFO;
            }
        }

        // There is room for all of them.
        for (i, request) in requests.iter().enumerate() {
            let _ = self.ring.write(&request.encode());
            if let Some((kind, size)) = gso.filter(|_| i == 0) {
                let kind = match kind {
                    GsoType::TcpV4 => gso::GsoType::TcpV4,
                    GsoType::TcpV6 => gso::GsoType::TcpV6,
                };
                let _ = self.ring.write(&ExtraInfo::gso(kind, size).encode_tx());
                self.book.extra();
            }
        }
        counters.add(
            Counter::TxSlots,
            used.saturating_add(usize::from(gso.is_some())),
        );
        Ok(())
    }

    /// Lends the backend a page for a slot of a packet. Gives the slot's id and the grant's reference.
    fn lend(&mut self, packet: PacketId, gfn: Gfn, copy: Option<FrontCopy>) -> Option<(u16, u32)> {
        let grant = self.pool.grant(self.peer, gfn, Access::ReadOnly)?;
        let gref = grant.gref().0;
        match self.book.slot(packet, Loan { grant, copy }) {
            Ok(id) => Some((id, gref)),
            Err(loan) => {
                // The backend does not know of it.
                let _ = self.pool.end(loan.grant);
                None
            }
        }
    }

    /// Takes back what was lent for a packet that does not get sent after all.
    fn cancel(&mut self, packet: PacketId, ids: Option<&[u16]>) -> Unfit {
        let pool = &self.pool;
        let packet = self.book.cancel(packet, ids.unwrap_or_default(), |loan| {
            // The backend does not know of it.
            let _ = pool.end(loan.grant);
        });
        drop(packet);
        Unfit
    }

    /// Takes the backend's answers, frees what they release, and wakes the queue if there is room again.
    ///
    /// # Errors
    ///
    /// [`Broken`] if the backend broke the rules; the ring must not be used any more.
    pub(crate) fn complete(
        &mut self,
        queue: TxQueue<'_>,
        budget: usize,
        counters: &Counters,
    ) -> Result<bool, Broken> {
        let (mut packets, mut bytes) = (0usize, 0usize);
        let mut progress = false;
        let result = loop {
            let response = match self.ring.take() {
                Ok(Some(response)) => response,
                // Ask to be told when half of the rest is answered, and look once more.
                Ok(None) => match self
                    .ring
                    .arm((self.ring.outstanding() / 2).saturating_add(1))
                {
                    Ok(true) => continue,
                    Ok(false) => break Ok(()),
                    Err(error) => break Err(Broken::Ring(error)),
                },
                Err(error) => break Err(Broken::Ring(error)),
            };
            progress = true;
            let pool = &self.pool;
            let end = |loan, packet: &mut Packet| end_loan(pool, loan, packet, counters);
            match self.book.answer(response, end) {
                Ok(Answer::Extra) => {}
                Ok(Answer::Slot { sent }) => counters.add(Counter::TxErrors, usize::from(!sent)),
                Ok(Answer::Packet { packet, sent }) => {
                    counters.add(Counter::TxErrors, usize::from(!sent));
                    packets = packets.saturating_add(1);
                    bytes = bytes.saturating_add(packet.len);
                    packet.skb.consume(budget);
                }
                Err(error) => break Err(Broken::Answer(error)),
            }
        };
        if packets != 0 {
            queue.completed(packets, bytes);
        }
        result?;
        if self.started && queue.stopped() && self.ring.free() >= WAKE_ROOM {
            queue.wake();
        }
        Ok(progress)
    }

    /// Ends the ring: all that the backend holds is taken back, or kept until it can be.
    pub(crate) fn shut(mut self, counters: &Counters) {
        let pool = &self.pool;
        self.book.abandon(
            |loan, packet| end_loan(pool, loan, packet, counters),
            |packet| packet.skb.consume(0),
        );
    }
}

/// How the backend broke the rules.
pub(crate) enum Broken {
    /// By an index.
    Ring(abi::ring::Broken),
    /// By an answer.
    Answer(TxError),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Ring(error) => error.fmt(f),
            Broken::Answer(error) => error.fmt(f),
        }
    }
}

/// Ends a loan. If the backend still has the page, the page is kept with the grant.
fn end_loan(pool: &Pool, loan: Loan, packet: &mut Packet, counters: &Counters) {
    let Loan { grant, copy } = loan;
    let Err(grant) = pool.end(grant) else {
        return;
    };
    counters.add(Counter::TxDeferred, 1);
    match copy {
        Some(copy) => pool.end_or_defer(grant, copy),
        None => pool.end_or_defer(grant, packet.skb.hold()),
    };
}

/// Copies the front of a packet if its headers do not lie in one page.
fn copy_front(skb: &SkBuff) -> Result<Option<FrontCopy>, Unfit> {
    let head = skb.head();
    let wanted = head.len.min(HEADERS);
    let in_page = PAGE_SIZE.saturating_sub(head.offset % PAGE_SIZE);
    if in_page >= wanted {
        return Ok(None);
    }
    skb.copy_front(wanted).map(Some).ok_or(Unfit)
}

/// Data slots that a packet takes.
fn count_slots(skb: &SkBuff, copy: Option<&FrontCopy>) -> usize {
    let skip = copy.map_or(0, |copy| copy.run().len);
    skb.runs(skip)
        .map(|run| count_pieces(run.offset, run.len))
        .fold(usize::from(copy.is_some()), usize::saturating_add)
}
