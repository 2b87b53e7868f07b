// SPDX-License-Identifier: GPL-2.0

//! A packet becomes slots of the ring.

use super::Outbox;
use crate::{
    counters::{
        Counter,
        Counters, //
    },
    loan::{
        Loan,
        Packet,
        Whose, //
    },
    marks::{
        extra,
        flags, //
    }, //
};
use abi::{
    net::{
        plan::{
            Plan,
            Shape, //
        },
        tx::{
            count_pieces,
            pieces,
            PacketId, //
        },
        wire::{
            tx_flags,
            ExtraInfo,
            TxRequest, //
        },
        PAGE_SIZE, //
    },
    types::Gfn, //
};
use grant_table::Access;
use kernel::prelude::*;
use linux::net::skb::{
    PageCopy,
    SkBuff, //
};

/// Why a packet was not sent: it cannot be, or memory is short.
pub(crate) struct Unfit;

/// A packet whose slots are being written.
pub(super) struct Draft {
    pub(super) packet: PacketId,
    /// Bytes of the packet.
    pub(super) len: u16,
    /// Flags of its first slot.
    pub(super) flags: u16,
    pub(super) extra: Option<ExtraInfo>,
    /// Slots that are still to come.
    pub(super) left: usize,
    /// Ring slots that were written.
    pub(super) written: u32,
}

impl Outbox {
    /// Writes a packet to the ring. Returns whether the stack waits for its end, which then comes by [`Done`].
    pub(crate) fn post(&mut self, skb: SkBuff, counters: &Counters) -> Result<bool, Unfit> {
        let len = skb.len();
        let head = skb.head();
        let shape = Shape {
            len,
            head: head.len,
            offset: head.offset,
        };
        let rest = |front| {
            skb.runs(front)
                .map(|run| count_pieces(run.offset, run.len))
                .sum()
        };
        let plan = self.terms.plan(&shape, rest).map_err(|_| Unfit)?;
        let (slots, lent) = match plan {
            Plan::Cell => (1, false),
            Plan::Pages(pages) => (pages, false),
            Plan::Lend { slots, .. } => (slots, true),
        };
        let counted = plan != Plan::Cell;
        let packet = Packet {
            skb: lent.then(|| skb.hold()),
            counted: counted.then_some(len),
            ..Packet::default()
        };
        let mut draft = Draft {
            packet: self.book.begin(packet).map_err(|_| Unfit)?,
            // CAST: The plan has checked it.
            len: len as u16,
            flags: flags(&skb),
            extra: extra(&skb),
            left: slots,
            written: 0,
        };
        let written = match plan {
            Plan::Cell => self.put_cell(&mut draft, &skb, len, counters),
            Plan::Pages(pages) => self.put_copies(&mut draft, &skb, pages, counters),
            Plan::Lend { front: 0, .. } => self.put_runs(&mut draft, &skb, 0, counters),
            Plan::Lend { front, .. } => self
                .put_cell(&mut draft, &skb, front, counters)
                .and_then(|()| self.put_runs(&mut draft, &skb, front, counters)),
        };
        if written.is_err() {
            self.cancel(&draft, counters);
            return Err(Unfit);
        }
        if draft.extra.is_some() {
            self.book.extra();
        }
        let whole = !matches!(plan, Plan::Lend { front: 0, .. });
        counters.add(Counter::TxCopied, usize::from(whole));
        counters.add(Counter::TxSlots, draft.written as usize);
        // What was copied is not needed any more, and what was lent has another owner.
        skb.consume(0);
        Ok(counted)
    }

    /// Takes back what was written of a packet.
    pub(super) fn cancel(&mut self, draft: &Draft, counters: &Counters) {
        // The backend has not been shown any of it.
        self.ring.unwrite(draft.written);
        let pool = &self.pool;
        let end = |loan: Loan, packet: &mut Packet| loan.end(pool, packet, counters);
        drop(self.book.cancel(draft.packet, end));
    }

    /// Sends the first `len` bytes from a cell.
    fn put_cell(
        &mut self,
        draft: &mut Draft,
        skb: &SkBuff,
        len: usize,
        counters: &Counters,
    ) -> Result<(), Unfit> {
        self.put_in_cell(draft, len, |bytes| skb.copy(0, bytes).ok(), counters)
    }

    /// Sends `len` bytes that `copy` puts into a cell.
    pub(super) fn put_in_cell(
        &mut self,
        draft: &mut Draft,
        len: usize,
        copy: impl FnOnce(&mut [u8]) -> Option<()>,
        counters: &Counters,
    ) -> Result<(), Unfit> {
        let id = self.enter(draft, Loan::Cell, counters)?;
        let (gref, offset) = self.cells.fill(id, len, copy).ok_or(Unfit)?;
        // CAST: A cell is small.
        self.write(draft, id, gref, offset, len as u16)
    }

    /// Sends all of the packet from copies.
    fn put_copies(
        &mut self,
        draft: &mut Draft,
        skb: &SkBuff,
        pages: usize,
        counters: &Counters,
    ) -> Result<(), Unfit> {
        for page in 0..pages {
            let copy = skb.copy_page(page.saturating_mul(PAGE_SIZE)).ok_or(Unfit)?;
            self.lend_copy(draft, copy, counters)?;
        }
        Ok(())
    }

    /// Lends a page that was made for it.
    pub(super) fn lend_copy(
        &mut self,
        draft: &mut Draft,
        copy: PageCopy,
        counters: &Counters,
    ) -> Result<(), Unfit> {
        // CAST: At most a page.
        let len = copy.len() as u16;
        let gfn = Gfn(copy.pfn());
        self.lend(draft, gfn, Whose::Copy(copy), (0, len), counters)
    }

    /// Lends what lies behind the first `front` bytes.
    fn put_runs(
        &mut self,
        draft: &mut Draft,
        skb: &SkBuff,
        front: usize,
        counters: &Counters,
    ) -> Result<(), Unfit> {
        for run in skb.runs(front) {
            for piece in pieces(run.offset, run.len) {
                let gfn = Gfn(run.pfn.wrapping_add(piece.page as u64));
                let place = (piece.offset, piece.len);
                self.lend(draft, gfn, Whose::Packet, place, counters)?;
            }
        }
        Ok(())
    }

    /// Lends a page and writes its slot.
    pub(super) fn lend(
        &mut self,
        draft: &mut Draft,
        gfn: Gfn,
        whose: Whose,
        (offset, len): (u16, u16),
        counters: &Counters,
    ) -> Result<(), Unfit> {
        let grant = self.pool.grant(self.peer, gfn, Access::ReadOnly);
        let grant = grant.ok_or(Unfit)?;
        let gref = grant.gref().0;
        let id = self.enter(draft, Loan::Page(grant, whose), counters)?;
        self.write(draft, id, gref, offset, len)
    }

    /// Enters a loan for the next slot; ends it if there is no place.
    fn enter(&mut self, draft: &Draft, loan: Loan, counters: &Counters) -> Result<u16, Unfit> {
        self.book.slot(draft.packet, loan).map_err(|loan| {
            if let Some(packet) = self.book.packet(draft.packet) {
                loan.end(&self.pool, packet, counters);
            }
            Unfit
        })
    }

    /// Writes the next slot, and the extra info behind the first one.
    fn write(
        &mut self,
        draft: &mut Draft,
        id: u16,
        gref: u32,
        offset: u16,
        len: u16,
    ) -> Result<(), Unfit> {
        let first = draft.written == 0;
        draft.left = draft.left.checked_sub(1).ok_or(Unfit)?;
        let more = if draft.left == 0 {
            0
        } else {
            tx_flags::MORE_DATA
        };
        let request = TxRequest {
            gref,
            offset,
            flags: more | if first { draft.flags } else { 0 },
            id,
            size: if first { draft.len } else { len },
        };
        self.ring.write(&request.encode()).map_err(|_| Unfit)?;
        draft.written = draft.written.wrapping_add(1);
        if let Some(extra) = draft.extra.filter(|_| first) {
            self.ring.write(&extra.encode_tx()).map_err(|_| Unfit)?;
            draft.written = draft.written.wrapping_add(1);
        }
        Ok(())
    }
}
