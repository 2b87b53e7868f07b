// SPDX-License-Identifier: GPL-2.0

//! Packets on their way: laid out in the slots of the transmit ring, and taken back when the backend has answered.
//!
//! The backend gets pages read-only, those of a frame ([`frames`]) as well. A packet is freed after all its slots were
//! answered and every grant has ended, or at once if it was copied.

use crate::{
    cells::Cells,
    counters::{
        Counter,
        Counters, //
    },
    loan::{
        Loan,
        Packet, //
    }, //
};
use abi::{
    net::{
        multicast::{
            self,
            Address,
            Told,
            MOST, //
        },
        plan::Terms,
        tx::{
            Answer,
            InFlight,
            Ledger,
            Sent,
            TxError, //
        },
        wire::{
            TxResponse,
            TX_SLOT, //
        },
        RING_SLOTS, //
    },
    ring::FrontRing,
    slots::Slot,
    types::DomainId, //
};
use core::fmt;
use grant_table::{
    GrantedPages,
    Pool, //
};
use kernel::prelude::*;

mod frames;
mod groups;
mod post;

type Book = Ledger<Loan, Packet, KVec<Slot<Sent<Loan>>>, KVec<Slot<InFlight<Packet>>>>;

/// The groups that the stack wants, and what the backend was told of them.
pub(crate) type Groups = multicast::Groups<KVec<Option<Address>>, KVec<Option<Told>>>;

/// The ring and what the backend holds.
pub(crate) struct Outbox {
    pub(crate) ring: FrontRing<[u8; TX_SLOT], TxResponse, GrantedPages>,
    book: Book,
    cells: Cells,
    pool: Pool,
    peer: DomainId,
    terms: Terms,
    /// What the backend was told of groups, over this ring.
    pub(crate) groups: Option<Groups>,
    /// More is to be told of groups after an answer of the backend's.
    waits: bool,
}

/// What came back.
#[derive(Default)]
pub(crate) struct Done {
    /// Slots of all kinds.
    pub(crate) slots: usize,
    /// Packets that the byte limit counts, and their bytes.
    pub(crate) packets: usize,
    pub(crate) bytes: usize,
    /// Frames that were lent.
    pub(crate) frames: usize,
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

/// Groups of which the backend was told nothing.
pub(crate) fn no_groups() -> Result<Groups> {
    Ok(Groups::new(
        KVec::from_elem(None, MOST, GFP_KERNEL)?,
        KVec::from_elem(None, MOST, GFP_KERNEL)?,
    ))
}

/// Allocates the slots of a table.
fn storage<T>() -> Result<KVec<Slot<T>>> {
    let mut slots = KVec::with_capacity(RING_SLOTS, GFP_KERNEL)?;
    for _ in 0..RING_SLOTS {
        slots.push(Slot::new(), GFP_KERNEL)?;
    }
    Ok(slots)
}

impl Outbox {
    /// Makes the ring in its page.
    pub(crate) fn new(page: GrantedPages, peer: DomainId, terms: Terms) -> Result<Self> {
        Ok(Self {
            ring: FrontRing::new(page).ok_or(EINVAL)?,
            book: Ledger::new(storage()?, storage()?),
            cells: Cells::new(peer)?,
            pool: Pool::new(RING_SLOTS)?,
            peer,
            terms,
            groups: None,
            waits: false,
        })
    }

    /// Takes the backend's answers and frees what they release. `budget` is that of the poll, or 0 elsewhere.
    ///
    /// # Errors
    ///
    /// [`Broken`] if the backend broke the rules, with what came before; the ring must not be used any more.
    pub(crate) fn reap(
        &mut self,
        budget: usize,
        counters: &Counters,
    ) -> (Done, Result<(), Broken>) {
        let mut done = Done::default();
        let pool = &self.pool;
        let result = loop {
            let response = match self.ring.take() {
                Ok(Some(response)) => response,
                Ok(None) => break Ok(()),
                Err(error) => break Err(Broken::Ring(error)),
            };
            done.slots = done.slots.saturating_add(1);
            let end = |loan: Loan, packet: &mut Packet| loan.end(pool, packet, counters);
            match self.book.answer(response, end) {
                Ok(Answer::Extra) => {}
                Ok(Answer::Slot { sent }) => counters.add(Counter::TxErrors, usize::from(!sent)),
                Ok(Answer::Packet { packet, sent }) => {
                    if let Some(change) = packet.change {
                        if let Some(groups) = &mut self.groups {
                            groups.answered(change, sent);
                        }
                        continue;
                    }
                    counters.add(Counter::TxErrors, usize::from(!sent));
                    if let Some(len) = packet.counted {
                        done.packets = done.packets.saturating_add(1);
                        done.bytes = done.bytes.saturating_add(len);
                    }
                    done.frames = done
                        .frames
                        .saturating_add(usize::from(packet.frame.is_some()));
                    if let Some(skb) = packet.skb {
                        skb.consume(budget);
                    }
                }
                Err(error) => break Err(Broken::Answer(error)),
            }
        };
        (done, result)
    }

    /// Takes everything back, or keeps it until the backend lets go.
    pub(crate) fn abandon(&mut self, counters: &Counters) {
        let pool = &self.pool;
        self.book.abandon(
            |loan, packet| loan.end(pool, packet, counters),
            |packet| {
                if let Some(skb) = packet.skb {
                    skb.consume(0);
                }
            },
        );
    }
}
