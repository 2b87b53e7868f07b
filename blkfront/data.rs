// SPDX-License-Identifier: GPL-2.0

//! How the data of requests reaches the backend: in their own pages, or in pages of ours.
//!
//! Pages of requests hold what else lies there, and a backend that keeps one mapped keeps its owner's page. A backend
//! that is not trusted with that gets [`Buffers`](Data::Buffers). They also serve one that keeps grants mapped from
//! request to request, which then maps nothing any more.

use crate::{
    stock::{
        Buffer,
        Stock, //
    },
    transfer::Lent, //
};
use abi::{
    block::{
        features::Agreed,
        request::Direction, //
    },
    grant::Access,
    types::{
        DomainId,
        GrantRef, //
    },
};
use grant_table::Pool;
use kernel::prelude::*;
use linux::block::Segment;

/// Most pages of our own a queue has: what Linux's backend keeps mapped.
const MOST_BUFFERS: usize = 1024;

/// What a queue begins with, at least: as many small requests.
const FIRST: usize = 32;

/// References that are looked for when there are none.
const STEP: usize = 64;

/// The way to the backend, and what it takes.
pub(crate) enum Data {
    /// Pages of requests, granted for one each.
    Direct {
        pool: Pool,
        /// No reference was free.
        short: bool,
    },
    /// Pages of our own.
    Buffers(Stock),
}

/// What a queue was short of.
pub(crate) enum Need {
    /// So many buffers.
    Buffers(usize),
    /// So many pages for indirect requests.
    Indirect(usize),
    /// So many free references in the grant table.
    References(usize),
}

impl Data {
    /// Makes what requests of a ring with `slots` slots need first; the rest is found when it is used. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENOBUFS` when the grant table is full.
    pub(crate) fn new(backend: DomainId, agreed: &Agreed, slots: u32) -> Result<Self> {
        let segments = usize::from(agreed.segments());
        let most = usize::try_from(slots)?.saturating_mul(segments);
        // One request of any size can always be on its way.
        let first = segments.max(FIRST);
        Ok(if agreed.buffers() {
            let most = most.min(MOST_BUFFERS).max(segments);
            Self::Buffers(Stock::new(backend, first, most)?)
        } else {
            Self::Direct {
                pool: Pool::growing(first, most)?,
                short: false,
            }
        })
    }

    /// Lets the backend have the data of `segment`; `None` when there is nothing to do that with.
    pub(crate) fn lend(
        &mut self,
        backend: DomainId,
        segment: &Segment<'_>,
        direction: Direction,
    ) -> Option<(GrantRef, Lent)> {
        match self {
            Self::Direct { pool, short } => {
                // A backend that reads the disk writes our memory; one that writes the disk only reads it.
                let access = match direction {
                    Direction::Read => Access::ReadWrite,
                    Direction::Write => Access::ReadOnly,
                };
                let grant = pool.grant(backend, segment.gfn(), access);
                *short |= grant.is_none();
                grant.map(|grant| (grant.gref(), Lent::Page(grant)))
            }
            Self::Buffers(stock) => {
                let buffer = stock.take()?;
                if direction == Direction::Write {
                    buffer.fill(segment);
                }
                Some((buffer.gref()?, Lent::Copy(buffer)))
            }
        }
    }

    /// Takes back what was lent.
    ///
    /// # Errors
    ///
    /// What the backend still uses.
    pub(crate) fn end(&mut self, lent: Lent) -> Result<(), Lent> {
        match (self, lent) {
            (Self::Direct { pool, .. }, Lent::Page(grant)) => pool.end(grant).map_err(Lent::Page),
            // The backend may use it as long as it likes: it is not the request's.
            (Self::Buffers(stock), Lent::Copy(buffer)) => {
                stock.put(buffer);
                Ok(())
            }
            (_, lent) => Err(lent),
        }
    }

    /// Takes back what was lent, for good: what the backend still uses stays allocated until it lets go. Returns whether
    /// there was nothing of the kind.
    pub(crate) fn revoke(&self, lent: Lent, segment: &Segment<'_>) -> bool {
        match (self, lent) {
            (Self::Direct { pool, .. }, Lent::Page(grant)) => {
                pool.end_or_defer(grant, segment.page())
            }
            (_, lent) => {
                drop(lent);
                true
            }
        }
    }

    /// How many references it holds.
    pub(crate) fn grants(&self) -> usize {
        match self {
            Self::Direct { pool, .. } => pool.held(),
            Self::Buffers(stock) => stock.made(),
        }
    }

    /// Whether data is copied.
    pub(crate) fn copies(&self) -> bool {
        matches!(self, Self::Buffers(_))
    }

    /// Whether it was short of something since the last call of [`need`](Self::need).
    pub(crate) fn is_short(&self) -> bool {
        match self {
            Self::Direct { short, .. } => *short,
            Self::Buffers(stock) => stock.is_short(),
        }
    }

    /// What it was short of since the last call.
    pub(crate) fn need(&mut self) -> Option<Need> {
        match self {
            Self::Direct { short, .. } => core::mem::take(short).then_some(Need::References(STEP)),
            Self::Buffers(stock) => match stock.wants() {
                0 => None,
                count => Some(Need::Buffers(count)),
            },
        }
    }

    /// Adds a buffer, if it is of that kind.
    pub(crate) fn add(&mut self, buffer: Buffer) {
        if let Self::Buffers(stock) = self {
            stock.add(buffer);
        }
    }
}
