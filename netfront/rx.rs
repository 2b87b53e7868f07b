// SPDX-License-Identifier: GPL-2.0

//! Receiving: the backend is lent pages, copies packets into them and says what is where.
//!
//! What is checked is what is used: a small packet is copied out of its page, once, and the page goes back to the
//! backend as it is; of a larger one nothing is looked at before the grants of its pages have ended. A page that the backend
//! gave back but still uses is kept with its grant and its packet is dropped.

use crate::counters::{
    Counter,
    Counters, //
};
use abi::{
    net::{
        gso::GsoAccepted,
        rx::{
            Assembler,
            Fragment,
            Posted, //
        },
        wire::{
            RxRequest,
            RX_SLOT, //
        },
        xdp::held_back,
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
use evtchn::Notifier;
use grant_table::{
    Access,
    Grant,
    GrantedPages,
    Pool, //
};
use kernel::prelude::*;
use linux::net::{
    page_pool::{
        PagePool,
        RxPage, //
    },
    xdp::{
        frame::Frame,
        run::RxInfo, //
    }, //
};

mod deliver;
mod program;
mod receive;

/// A packet of so many bytes is copied whole. Of a larger one only the headers are, so that the stack can put the rest
/// of many together without copying; longer headers than this end in a page.
const HEAD: usize = 256;

/// Where a program's packets go out. Tells whether one did.
pub(crate) type Outlet<'a> = dyn FnMut(Frame) -> bool + 'a;

/// Pages to receive into, and what programs are told of them.
pub(crate) struct Supply {
    pub(crate) pages: PagePool,
    pub(crate) info: RxInfo,
}

/// What the backend is to send.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// Packets to be segmented.
    pub(crate) accepted: GsoAccepted,
    /// Room before the data.
    pub(crate) headroom: bool,
    /// The backend may see whatever lies in the pages that it is lent.
    pub(crate) trusted: bool,
}

/// Pages are shown to the backend so many at a time.
const BATCH: u32 = 32;

/// With less pages lent than this, memory is asked for again after a while.
const LOW: usize = 64;

/// A page that the backend may write to.
struct Buffer {
    page: RxPage,
    grant: Grant,
}

/// The receive ring of a connection.
pub(crate) struct RxRing {
    ring: FrontRing<[u8; RX_SLOT], [u8; RX_SLOT], GrantedPages>,
    posted: Posted<Buffer, KVec<Option<Buffer>>>,
    assembler: Assembler,
    /// Parts of the packet that is being put together.
    parts: KVec<(Buffer, Fragment)>,
    pages: PagePool,
    info: RxInfo,
    pool: Pool,
    peer: DomainId,
    notifier: Notifier,
    next_id: u16,
    /// Pages that were used before are zeroed before they are lent again.
    clear: bool,
    /// Pages are shown two by two.
    paired: bool,
    /// A program has sent packets elsewhere, which have to be flushed.
    redirected: bool,
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

impl RxRing {
    /// Makes the ring in its page.
    pub(crate) fn new(
        page: GrantedPages,
        peer: DomainId,
        notifier: Notifier,
        supply: Supply,
        wanted: Wanted,
    ) -> Result<Self> {
        let mut posted = KVec::with_capacity(RING_SLOTS, GFP_KERNEL)?;
        for _ in 0..RING_SLOTS {
            posted.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            ring: FrontRing::new(page).ok_or(EINVAL)?,
            posted: Posted::new(posted),
            assembler: Assembler::new(wanted.accepted),
            parts: KVec::with_capacity(MAX_PACKET_SLOTS, GFP_KERNEL)?,
            pages: supply.pages,
            info: supply.info,
            pool: Pool::new(RING_SLOTS)?,
            peer,
            notifier,
            next_id: 0,
            clear: !wanted.trusted,
            paired: wanted.headroom,
            redirected: false,
        })
    }

    /// Lends the backend as many pages as there is room for, and shows them to it in batches. Returns whether memory is
    /// too short to go on without trying again.
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
        // Each showing costs, and may wake the backend.
        let few = self.ring.outstanding() <= self.ring.size().saturating_sub(BATCH);
        let back = if self.paired {
            held_back(self.ring.written())
        } else {
            0
        };
        if few && self.ring.unpublished() > back && self.ring.publish_but(back) {
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

    /// Ends the ring: all pages are taken back, or kept until they can be.
    pub(crate) fn shut(&mut self, counters: &Counters) {
        while let Some((buffer, _)) = self.parts.pop() {
            drop(self.take_back(buffer, counters));
        }
        while let Some(buffer) = self.posted.pop() {
            drop(self.take_back(buffer, counters));
        }
    }
}
