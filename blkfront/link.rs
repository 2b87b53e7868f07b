// SPDX-License-Identifier: GPL-2.0

//! One queue's connection to the backend: its ring, its event channel and its grants.

use crate::{
    counters::Counters,
    queue::{
        Blk,
        Handler, //
    },
};
use abi::{
    block::{
        features::{
            Agreed,
            Cache, //
        },
        request::{
            self,
            Direction,
            Header,
            Operation,
            Segment, //
        },
        response::Response,
        Ring,
        DIRECT_SEGMENTS, //
    },
    grant::Access,
    ring::Broken,
    shared::Memory,
    slots::SlotId,
    types::{
        DomainId,
        GrantRef, //
    },
};
use evtchn::Listener;
use grant_table::{
    GrantedPages,
    Pool, //
};
use kernel::prelude::*;
use linux::block::{
    Op,
    Request, //
};

const PAGE: usize = 4096;

/// Why a request was not written into the ring.
pub(crate) enum Refusal {
    /// There is nothing to do: it is done.
    Nothing,
    /// No grant is free; it can be tried again.
    NoGrant,
    /// No backend could do it.
    Impossible,
    /// This backend cannot do it.
    NotSupported,
}

/// The connection of one queue.
pub(crate) struct Link {
    /// Declared first: no event comes any more when the rest is taken down.
    listener: Listener<Handler>,
    ring: Ring<GrantedPages>,
    /// One page of indirect descriptors for each slot of the ring.
    indirect: Option<GrantedPages>,
    pool: Pool,
    backend: DomainId,
    handle: u16,
    segments: u16,
    cache: Cache,
}

impl Link {
    /// Makes an empty ring, shared with `backend`, and reserves the grants of its requests.
    ///
    /// Nothing is told to the backend.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENOSPC` when the grant table is full.
    pub(crate) fn new(
        backend: DomainId,
        handle: u16,
        agreed: &Agreed,
        listener: Listener<Handler>,
    ) -> Result<Self> {
        let pages = GrantedPages::new(backend, agreed.ring_pages())?;
        let ring = Ring::new(pages).ok_or(EINVAL)?;
        let slots = ring.size();
        let indirect = if agreed.indirect() {
            Some(GrantedPages::new(backend, usize::try_from(slots)?)?)
        } else {
            None
        };
        let grants = slots.saturating_mul(agreed.segments().into());
        Ok(Self {
            listener,
            ring,
            indirect,
            pool: Pool::new(usize::try_from(grants)?)?,
            backend,
            handle,
            segments: agreed.segments(),
            cache: agreed.cache(),
        })
    }

    /// The grants of the ring's pages.
    pub(crate) fn grefs(&self) -> &[GrantRef] {
        self.ring.memory().grefs()
    }

    /// The event channel.
    pub(crate) fn listener(&self) -> &Listener<Handler> {
        &self.listener
    }

    /// Whether the ring has room for a request.
    pub(crate) fn has_room(&self) -> bool {
        self.ring.free() > 0
    }

    /// How the backend's cache is written back, which it says when it connects.
    pub(crate) fn set_cache(&mut self, cache: Cache) {
        self.cache = cache;
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
            Op::Read => self.data(rq, id, header, Direction::Read, counters)?,
            Op::Write => self.data(rq, id, header, Direction::Write, counters)?,
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
            Op::Discard | Op::SecureErase | Op::Other(_) => return Err(Refusal::NotSupported),
        };
        if self.ring.write(&slot).is_err() {
            // `has_room` was not asked.
            self.revoke(rq, counters);
            return Err(Refusal::NoGrant);
        }
        counters.requests.count();
        Ok(())
    }

    /// Grants the data of a read or write and builds its ring request.
    fn data(
        &mut self,
        rq: &mut Request<Blk>,
        id: SlotId,
        header: Header,
        direction: Direction,
        counters: &Counters,
    ) -> Result<request::Request, Refusal> {
        match self.segments(rq, id, direction) {
            Ok((count, direct)) => {
                let built = if count > DIRECT_SEGMENTS {
                    counters.indirect.count();
                    let page = self
                        .indirect
                        .as_ref()
                        .and_then(|pages| pages.grefs().get(id.index()));
                    page.and_then(|page| {
                        request::Request::indirect(header, direction, count, &[*page])
                    })
                } else {
                    direct
                        .get(..count.into())
                        .and_then(|direct| request::Request::direct(header, direction, direct))
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

    /// Grants the data of a request, up to the limit of the backend. Beyond eleven segments all of them
    /// are in the page of indirect descriptors that belongs to `id`.
    fn segments(
        &self,
        rq: &mut Request<Blk>,
        id: SlotId,
        direction: Direction,
    ) -> Result<(u16, [Segment; DIRECT_SEGMENTS as usize]), Refusal> {
        // A backend that reads the disk writes our memory; one that writes the disk only reads it.
        let access = match direction {
            Direction::Read => Access::ReadWrite,
            Direction::Write => Access::ReadOnly,
        };
        let page = id.index().wrapping_mul(PAGE);
        let mut direct = [Segment::EMPTY; DIRECT_SEGMENTS as usize];
        let mut count = 0u16;
        let (segments, transfer) = rq.parts();
        transfer.begin(direction.operation());
        for data in segments.take(self.segments.into()) {
            let grant = self
                .pool
                .grant(self.backend, data.gfn(), access)
                .ok_or(Refusal::NoGrant)?;
            let segment = Segment::new(grant.gref(), data.offset(), data.len());
            if transfer.grants.push_within_capacity(Some(grant)).is_err() {
                return Err(Refusal::Impossible);
            }
            let segment = segment.ok_or(Refusal::Impossible)?;
            if let Some(to) = direct.get_mut(usize::from(count)) {
                *to = segment;
            } else {
                let memory = self.indirect.as_ref().ok_or(Refusal::Impossible)?;
                if count == DIRECT_SEGMENTS {
                    for (at, segment) in direct.iter().enumerate() {
                        memory.write_value(
                            page.wrapping_add(at.wrapping_mul(Segment::SIZE)),
                            segment,
                        );
                    }
                }
                let at = usize::from(count).wrapping_mul(Segment::SIZE);
                memory.write_value(page.wrapping_add(at), &segment);
            }
            count = count.wrapping_add(1);
            transfer.bytes = transfer.bytes.wrapping_add(data.len());
        }
        Ok((count, direct))
    }

    /// Shows what was written to the backend, and notifies it if it wants that.
    pub(crate) fn publish(&mut self, counters: &Counters) {
        if self.ring.unpublished() > 0 && self.ring.publish() {
            counters.notifications.count();
            self.listener.notify();
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

    /// Ends the grants of a request. Returns false, and keeps them, where the backend has pages mapped.
    pub(crate) fn end(&self, rq: &mut Request<Blk>) -> bool {
        let grants = &mut rq.pdu_mut().grants;
        let mut ended = true;
        for slot in grants.iter_mut() {
            if let Some(grant) = slot.take() {
                if let Err(grant) = self.pool.end(grant) {
                    *slot = Some(grant);
                    ended = false;
                }
            }
        }
        if ended {
            grants.clear();
        }
        ended
    }

    /// Ends the grants of a request for good.
    ///
    /// A page that the backend has mapped stays allocated until it lets go, whatever its owner does.
    pub(crate) fn revoke(&self, rq: &mut Request<Blk>, counters: &Counters) {
        if self.end(rq) {
            return;
        }
        let (segments, transfer) = rq.parts();
        for (slot, data) in transfer.grants.iter_mut().zip(segments) {
            if let Some(grant) = slot.take() {
                counters.deferred.count();
                self.pool.end_or_defer(grant, data.page());
            }
        }
        transfer.grants.clear();
    }
}
