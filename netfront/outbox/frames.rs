// SPDX-License-Identifier: GPL-2.0

//! A frame, of a program or of another device, becomes slots of the ring.
//!
//! It goes as a packet does, but for its end: nobody counts its bytes, and a frame that was lent goes back to where its page
//! came from when the backend has answered.

use super::{
    post::{
        Draft,
        Unfit, //
    },
    Outbox, //
};
use crate::{
    counters::{
        Counter,
        Counters, //
    },
    loan::{
        Packet,
        Whose, //
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
            pieces, //
        },
        PAGE_SIZE, //
    },
    types::Gfn, //
};
use linux::net::xdp::frame::Frame;

impl Outbox {
    /// Writes a frame to the ring. Returns whether it was lent, so that its end has to be waited for.
    pub(crate) fn post_frame(&mut self, frame: Frame, counters: &Counters) -> Result<bool, Unfit> {
        let run = frame.run();
        let shape = Shape {
            len: run.len,
            head: run.len,
            offset: run.offset,
        };
        let behind = |front: usize| {
            let (offset, len) = (
                run.offset.saturating_add(front),
                run.len.saturating_sub(front),
            );
            count_pieces(offset, len)
        };
        let plan = self.terms.plan(&shape, behind).map_err(|_| Unfit)?;
        let mut draft = Draft {
            packet: self.book.begin(Packet::default()).map_err(|_| Unfit)?,
            // CAST: The plan has checked it.
            len: run.len as u16,
            flags: 0,
            extra: None,
            left: match plan {
                Plan::Cell => 1,
                Plan::Pages(slots) | Plan::Lend { slots, .. } => slots,
            },
            written: 0,
        };
        let lent = matches!(plan, Plan::Lend { .. });
        let written = match plan {
            Plan::Cell => self.put_front(&mut draft, &frame, run.len, counters),
            Plan::Pages(pages) => self.put_frame_copies(&mut draft, &frame, pages, counters),
            Plan::Lend { front, .. } => self.put_frame(&mut draft, &frame, front, counters),
        };
        if written.is_err() {
            self.cancel(&draft, counters);
            return Err(Unfit);
        }
        counters.add(Counter::TxCopied, usize::from(!lent));
        counters.add(Counter::TxSlots, draft.written as usize);
        if let (true, Some(packet)) = (lent, self.book.packet(draft.packet)) {
            // It is kept until the backend has answered.
            packet.frame = Some(frame);
        }
        Ok(lent)
    }

    /// Sends the first `len` bytes from a cell.
    fn put_front(
        &mut self,
        draft: &mut Draft,
        frame: &Frame,
        len: usize,
        counters: &Counters,
    ) -> Result<(), Unfit> {
        self.put_in_cell(draft, len, |bytes| frame.copy(0, bytes), counters)
    }

    /// Sends all of the frame from copies.
    fn put_frame_copies(
        &mut self,
        draft: &mut Draft,
        frame: &Frame,
        pages: usize,
        counters: &Counters,
    ) -> Result<(), Unfit> {
        for page in 0..pages {
            let at = page.saturating_mul(PAGE_SIZE);
            let copy = frame.copy_page(at).ok_or(Unfit)?;
            self.lend_copy(draft, copy, counters)?;
        }
        Ok(())
    }

    /// Sends the first `front` bytes from a cell, if any, and lends the rest.
    fn put_frame(
        &mut self,
        draft: &mut Draft,
        frame: &Frame,
        front: usize,
        counters: &Counters,
    ) -> Result<(), Unfit> {
        if front != 0 {
            self.put_front(draft, frame, front, counters)?;
        }
        let run = frame.run();
        let mut at = front;
        for piece in pieces(
            run.offset.saturating_add(front),
            run.len.saturating_sub(front),
        ) {
            // Each page has a keeper of its own, for a backend that does not let go of it.
            let page = frame.hold(at).ok_or(Unfit)?;
            let gfn = Gfn(run.pfn.wrapping_add(piece.page as u64));
            let place = (piece.offset, piece.len);
            self.lend(draft, gfn, Whose::Frame(page), place, counters)?;
            at = at.saturating_add(usize::from(piece.len));
        }
        Ok(())
    }
}
