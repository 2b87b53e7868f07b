// SPDX-License-Identifier: GPL-2.0

//! One queue's ring: how requests get into it, and the grants of their data.

use crate::{
    counters::Counters,
    data::{
        Data,
        Need, //
    },
    stock::{
        Buffer,
        Stock, //
    },
    transfer::{
        Blk,
        Lent, //
    }, //
};
use abi::{
    block::{
        features::{
            Agreed,
            Cache,
            Discard, //
        },
        geometry::SECTOR,
        request::{
            self,
            Direction,
            Header,
            Operation,
            Segment, //
        },
        response::{
            Outcome,
            Response, //
        },
        Ring,
        DIRECT_SEGMENTS, //
    },
    ring::Broken,
    slots::SlotId,
    types::{
        DomainId,
        GrantRef,
        Port, //
    },
};
use evtchn::Notifier;
use grant_table::GrantedPages;
use kernel::prelude::*;
use linux::block::{
    Op,
    Request, //
};

/// Pages for indirect requests: at first, and at most.
const INDIRECT_PAGES: (usize, usize) = (4, 64);

/// Why a request was not written into the ring.
pub(crate) enum Refusal {
    /// There is nothing to do: it is done.
    Nothing,
    /// There is no grant and no page for its data; it can be tried again.
    Short,
    /// No backend could do it.
    Impossible,
    /// This backend cannot do it.
    NotSupported,
}

/// The ring of one queue.
pub(crate) struct QueueRing {
    notifier: Notifier,
    ring: Ring<GrantedPages>,
    /// Pages that name the segments of indirect requests. When they are used up, requests go out in parts.
    indirect: Stock,
    /// Once it is agreed how.
    data: Option<Data>,
    backend: DomainId,
    handle: u16,
    segments: u16,
    cache: Cache,
    discard: Option<Discard>,
}

impl QueueRing {
    /// Makes an empty ring, shared with `backend`.
    ///
    /// Nothing is told to the backend.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENOBUFS` when the grant table is full.
    pub(crate) fn new(
        backend: DomainId,
        handle: u16,
        agreed: &Agreed,
        notifier: Notifier,
    ) -> Result<Self> {
        let pages = GrantedPages::new(backend, agreed.ring_pages())?;
        let ring = Ring::new(pages).ok_or(EINVAL)?;
        let (first, most) = match agreed.indirect() {
            true => INDIRECT_PAGES,
            false => (0, 0),
        };
        Ok(Self {
            notifier,
            ring,
            indirect: Stock::new(backend, first, most)?,
            data: None,
            backend,
            handle,
            segments: agreed.segments(),
            cache: agreed.cache(),
            discard: agreed.discard(),
        })
    }

    /// The grants of the ring's pages.
    pub(crate) fn grefs(&self) -> &[GrantRef] {
        self.ring.memory().grefs()
    }

    /// The port of the queue.
    pub(crate) fn port(&self) -> Port {
        self.notifier.port()
    }

    /// What notifies the backend.
    pub(crate) fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// How many references it holds, in use or not.
    pub(crate) fn grants(&self) -> usize {
        let data = self.data.as_ref().map_or(0, Data::grants);
        self.grefs()
            .len()
            .saturating_add(self.indirect.made())
            .saturating_add(data)
    }

    /// Whether the ring has room for a request.
    pub(crate) fn has_room(&self) -> bool {
        self.ring.free() > 0
    }

    /// Takes up what the backend says only when it connects, and makes what requests need. May sleep; after an error it
    /// can be called again.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENOBUFS` when the grant table is full.
    pub(crate) fn connected(&mut self, agreed: &Agreed) -> Result {
        self.cache = agreed.cache();
        self.discard = agreed.discard();
        self.data = Some(Data::new(self.backend, agreed, self.ring.size())?);
        Ok(())
    }

    /// Whether it was short of something since the last call of [`need`](Self::need).
    pub(crate) fn is_short(&self) -> bool {
        self.indirect.is_short() || self.data.as_ref().is_some_and(Data::is_short)
    }

    /// What it was short of, and for which backend.
    pub(crate) fn need(&mut self) -> Option<(DomainId, Need)> {
        let need = match self.indirect.wants() {
            0 => self.data.as_mut()?.need()?,
            count => Need::Indirect(count),
        };
        Some((self.backend, need))
    }

    /// Adds a page that `backend` may use: for data, or for indirect requests.
    pub(crate) fn add(&mut self, backend: DomainId, buffer: Buffer, indirect: bool) {
        if self.backend != backend {
            return;
        }
        if indirect {
            self.indirect.add(buffer);
        } else if let Some(data) = &mut self.data {
            data.add(buffer);
        }
    }

    /// No flush from now on: the backend said that it cannot.
    pub(crate) fn drop_flush(&mut self) {
        self.cache = Cache::WriteThrough;
    }

    /// Writes what is left of a request into the ring, or as much as one ring request can carry.
    ///
    /// The backend does not see it before [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`Refusal`]; the request has no grants then.
    pub(crate) fn write(
        &mut self,
        rq: &mut Request<Blk>,
        id: SlotId,
        counters: &Counters,
    ) -> Result<(), Refusal> {
        let mut header = Header {
            id: id.into(),
            handle: self.handle,
            sector: rq.sector(),
        };
        let slot = match rq.op() {
            Op::Read => self.data(rq, header, Direction::Read, counters)?,
            Op::Write => self.data(rq, header, Direction::Write, counters)?,
            Op::Flush => {
                let operation = match self.cache {
                    Cache::WriteThrough => return Err(Refusal::Nothing),
                    Cache::Flush => Operation::Flush,
                    Cache::Barrier => Operation::WriteBarrier,
                };
                // A request to flush has no place on the disk.
                header.sector = 0;
                rq.pdu_mut().begin(operation);
                counters.flushes.count();
                request::Request::flush(header, operation == Operation::WriteBarrier)
                    .ok_or(Refusal::Impossible)?
            }
            Op::Discard => self.forget(rq, header, false)?,
            Op::SecureErase => self.forget(rq, header, true)?,
            Op::Other(_) => return Err(Refusal::NotSupported),
        };
        if self.ring.write(&slot).is_err() {
            // `has_room` was not asked.
            self.revoke(rq, counters);
            return Err(Refusal::Short);
        }
        counters.requests.count();
        Ok(())
    }

    /// Builds the ring request of a discard.
    fn forget(
        &self,
        rq: &mut Request<Blk>,
        header: Header,
        secure: bool,
    ) -> Result<request::Request, Refusal> {
        // Another backend may have offered it.
        let possible = self.discard.is_some_and(|can| can.secure() || !secure);
        if !possible {
            return Err(Refusal::NotSupported);
        }
        let bytes = rq.bytes();
        let transfer = rq.pdu_mut();
        transfer.begin(Operation::Discard);
        transfer.bytes = bytes;
        Ok(request::Request::discard(
            header,
            u64::from(bytes / SECTOR),
            secure,
        ))
    }

    /// Grants the data of a read or write and builds its ring request.
    fn data(
        &mut self,
        rq: &mut Request<Blk>,
        header: Header,
        direction: Direction,
        counters: &Counters,
    ) -> Result<request::Request, Refusal> {
        match self.segments(rq, direction, counters) {
            Ok((count, direct)) => {
                let page = rq.pdu().indirect.as_ref().and_then(Buffer::gref);
                let built = match page {
                    Some(page) => {
                        counters.indirect.count();
                        request::Request::indirect(header, direction, count, &[page])
                    }
                    None => direct
                        .get(..count.into())
                        .and_then(|direct| request::Request::direct(header, direction, direct)),
                };
                built.ok_or_else(|| {
                    self.revoke(rq, counters);
                    Refusal::Impossible
                })
            }
            Err(refusal) => {
                self.revoke(rq, counters);
                Err(refusal)
            }
        }
    }

    /// Lends the data of a request, up to the limit of the backend. Beyond eleven segments all of them are named in a page
    /// of their own.
    fn segments(
        &mut self,
        rq: &mut Request<Blk>,
        direction: Direction,
        counters: &Counters,
    ) -> Result<(u16, [Segment; DIRECT_SEGMENTS as usize]), Refusal> {
        let mut direct = [Segment::EMPTY; DIRECT_SEGMENTS as usize];
        let mut count = 0u16;
        let (segments, transfer) = rq.parts();
        transfer.begin(direction.operation());
        let way = self.data.as_mut().ok_or(Refusal::Short)?;
        for data in segments.take(self.segments.into()) {
            if count == DIRECT_SEGMENTS {
                let Some(page) = self.indirect.take() else {
                    break;
                };
                for (at, segment) in (0..).zip(direct.iter()) {
                    page.name(at, segment);
                }
                transfer.indirect = Some(page);
            }
            let Some((gref, lent)) = way.lend(self.backend, &data, direction) else {
                // What there is can go out alone.
                break;
            };
            let segment = Segment::new(gref, data.offset(), data.len());
            if transfer.lent.push_within_capacity(Some(lent)).is_err() {
                return Err(Refusal::Impossible);
            }
            let segment = segment.ok_or(Refusal::Impossible)?;
            if let Some(to) = direct.get_mut(usize::from(count)) {
                *to = segment;
            } else if let Some(page) = &transfer.indirect {
                page.name(count, &segment);
            } else {
                return Err(Refusal::Impossible);
            }
            count = count.wrapping_add(1);
            transfer.bytes = transfer.bytes.wrapping_add(data.len());
        }
        if count == 0 {
            return Err(Refusal::Short);
        }
        counters.segments.add(count.into());
        if direction == Direction::Write && way.copies() {
            // CAST: It is at most 1 MiB.
            counters.copied.add(transfer.bytes as usize);
        }
        Ok((count, direct))
    }

    /// Shows what was written to the backend, and notifies it if it wants that.
    pub(crate) fn publish(&mut self, counters: &Counters) {
        if self.ring.unpublished() > 0 && self.ring.publish() {
            counters.notifications.count();
            self.notifier.notify();
        }
    }

    /// Takes the next response, unchecked.
    ///
    /// # Errors
    ///
    /// [`Broken`] when the ring's index cannot be true.
    pub(crate) fn take(&mut self) -> Result<Option<Response>, Broken> {
        self.ring.take()
    }

    /// Asks for an event with the next response; true when there is one already.
    ///
    /// # Errors
    ///
    /// [`Broken`] when the ring's index cannot be true.
    pub(crate) fn arm(&mut self) -> Result<bool, Broken> {
        self.ring.arm(1)
    }

    /// Takes back the data of a request, and what was read with it. Returns false, and keeps them, where the backend has
    /// pages of the request mapped.
    pub(crate) fn end(&mut self, rq: &mut Request<Blk>, counters: &Counters) -> bool {
        let Some(data) = &mut self.data else {
            return true;
        };
        let (segments, transfer) = rq.parts();
        if let Some(page) = transfer.indirect.take() {
            // A backend that keeps it mapped sees what it names next.
            self.indirect.put(page);
        }
        let was_read = transfer.outcome == Outcome::Done && transfer.operation == Operation::Read;
        let mut ended = true;
        for (slot, segment) in transfer.lent.iter_mut().zip(segments) {
            let Some(lent) = slot.take() else {
                continue;
            };
            if let (Lent::Copy(buffer), true) = (&lent, was_read) {
                buffer.drain(&segment);
            }
            if let Err(lent) = data.end(lent) {
                *slot = Some(lent);
                ended = false;
            }
        }
        if was_read && data.copies() {
            // CAST: It is at most 1 MiB.
            counters.copied.add(transfer.bytes as usize);
        }
        if ended {
            transfer.lent.clear();
        }
        ended
    }

    /// Ends the grants of a request for good.
    ///
    /// A page that the backend has mapped stays allocated until it lets go, whatever its owner does.
    pub(crate) fn revoke(&mut self, rq: &mut Request<Blk>, counters: &Counters) {
        if self.end(rq, counters) {
            return;
        }
        let (segments, transfer) = rq.parts();
        for (slot, segment) in transfer.lent.iter_mut().zip(segments) {
            if let (Some(lent), Some(data)) = (slot.take(), &self.data) {
                if !data.revoke(lent, &segment) {
                    counters.deferred.count();
                }
            }
        }
        transfer.lent.clear();
    }
}
