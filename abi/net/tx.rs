// SPDX-License-Identifier: GPL-2.0

//! What the backend holds of sent packets, and what its answers release.
//!
//! Each data slot of a packet lends the backend one page and has an id; extra infos have a slot but no id, and are
//! answered with [`status::NULL`]. A packet may be released when all its data slots have been answered. Ids are the
//! backend's word, and so is "this was an extra info": an answer is good only as far as [`Ledger`] has a record that
//! it settles. Whatever a backend answers, room in the ring and free ids never drift apart.

use super::{
    wire::{
        status,
        TxResponse, //
    },
    PAGE_SIZE,
};
use crate::slots::{
    SlotId,
    SlotTable,
    Storage,
    UnknownId, //
};
use core::fmt;

/// A data slot that the backend has.
#[derive(Debug)]
pub struct Sent<G> {
    grant: G,
    packet: SlotId,
}

/// A packet of which the backend has at least one slot.
#[derive(Debug)]
pub struct InFlight<P> {
    value: P,
    slots: usize,
}

/// A packet in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketId(SlotId);

/// Why an answer cannot be true. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxError {
    /// The id was not sent, or has been answered.
    Unknown(u16, UnknownId),
    /// It answers for an extra info, but none is outstanding.
    NoExtra,
}

impl fmt::Display for TxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TxError::Unknown(id, why) => write!(f, "transmit id {id}: {why}"),
            TxError::NoExtra => f.write_str("null response, but no extra info is outstanding"),
        }
    }
}

/// What became of a slot.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<P> {
    /// It was an extra info.
    Extra,
    /// It held a piece of a packet of which the backend has more.
    Slot {
        /// Whether the backend says that it took the piece.
        sent: bool,
    },
    /// It was the last slot of this packet.
    Packet {
        /// The packet.
        packet: P,
        /// Whether the backend says that it took the piece.
        sent: bool,
    },
}

/// Packets and grants that the backend holds.
///
/// # Invariants
///
/// `slots` of each packet is the number of [`Sent`] that name it; a packet with none exists only between
/// [`Ledger::begin`] and its first [`Ledger::slot`].
pub struct Ledger<G, P, S, Q>
where
    S: Storage<Sent<G>>,
    Q: Storage<InFlight<P>>,
{
    sent: SlotTable<Sent<G>, S>,
    packets: SlotTable<InFlight<P>, Q>,
    extras: u32,
}

impl<G, P, S, Q> Ledger<G, P, S, Q>
where
    S: Storage<Sent<G>>,
    Q: Storage<InFlight<P>>,
{
    /// Makes an empty ledger. Both storages should have as many places as the ring has slots.
    pub fn new(sent: S, packets: Q) -> Self {
        Self {
            sent: SlotTable::new(sent),
            packets: SlotTable::new(packets),
            extras: 0,
        }
    }

    /// Enters a packet, whose slots follow.
    ///
    /// # Errors
    ///
    /// The packet comes back when there is no place.
    pub fn begin(&mut self, packet: P) -> Result<PacketId, P> {
        self.packets
            .insert(InFlight {
                value: packet,
                slots: 0,
            })
            .map(PacketId)
            .map_err(|packet| packet.value)
    }

    /// Enters a data slot of a packet and gives the id to send it under.
    ///
    /// # Errors
    ///
    /// The grant comes back when there is no place or the packet is gone.
    pub fn slot(&mut self, packet: PacketId, grant: G) -> Result<u16, G> {
        let PacketId(packet) = packet;
        let Ok(entry) = self.packets.get_mut(packet) else {
            return Err(grant);
        };
        let id = self
            .sent
            .insert(Sent { grant, packet })
            .map_err(|sent| sent.grant)?;
        // INVARIANT: the new slot names the packet.
        entry.slots = entry.slots.saturating_add(1);
        Ok(id.into())
    }

    /// Enters an extra info.
    pub fn extra(&mut self) {
        self.extras = self.extras.saturating_add(1);
    }

    /// Number of free ids.
    pub fn free(&self) -> usize {
        self.sent.free().min(self.packets.free())
    }

    /// Number of ring slots that the backend has yet to answer.
    pub fn outstanding(&self) -> usize {
        self.sent.held().saturating_add(self.extras as usize)
    }

    /// Number of packets that the backend holds.
    pub fn packets(&self) -> usize {
        self.packets.held()
    }

    /// Settles a slot by the backend's answer. `end` gets the grant of a data slot, and its packet.
    ///
    /// # Errors
    ///
    /// [`TxError`] when the answer cannot be true: the backend is not to be trusted any further.
    pub fn answer(
        &mut self,
        response: TxResponse,
        end: impl FnOnce(G, &mut P),
    ) -> Result<Answer<P>, TxError> {
        if response.status == status::NULL {
            self.extras = self.extras.checked_sub(1).ok_or(TxError::NoExtra)?;
            return Ok(Answer::Extra);
        }
        let Sent { grant, packet } = self
            .sent
            .take(response.id)
            .map_err(|why| TxError::Unknown(response.id, why))?;
        let sent = response.status == status::OKAY;
        Ok(match self.settle(packet, grant, end) {
            Some(packet) => Answer::Packet { packet, sent },
            None => Answer::Slot { sent },
        })
    }

    /// Gives up on all that the backend holds, because the connection has ended: `end` gets each grant with its packet,
    /// `done` each packet after its last grant.
    pub fn abandon(&mut self, mut end: impl FnMut(G, &mut P), mut done: impl FnMut(P)) {
        for id in 0..self.sent.capacity() as u64 {
            if let Ok(Sent { grant, packet }) = self.sent.take(id) {
                if let Some(packet) = self.settle(packet, grant, &mut end) {
                    done(packet);
                }
            }
        }
        self.packets.drain().for_each(|packet| done(packet.value));
        self.extras = 0;
    }

    /// Takes back a packet that was entered but not sent: the backend must not have been shown its slots. `end` gets each
    /// grant with the packet.
    pub fn cancel(&mut self, packet: PacketId, mut end: impl FnMut(G, &mut P)) -> Option<P> {
        let mut value = self.packets.take(packet.0).ok()?.value;
        for id in 0..self.sent.capacity() as u64 {
            if self.sent.get(id).is_ok_and(|sent| sent.packet == packet.0) {
                if let Ok(sent) = self.sent.take(id) {
                    end(sent.grant, &mut value);
                }
            }
        }
        Some(value)
    }

    /// A packet in the ledger.
    pub fn packet(&mut self, packet: PacketId) -> Option<&mut P> {
        let entry = self.packets.get_mut(packet.0).ok()?;
        Some(&mut entry.value)
    }

    fn settle(&mut self, id: SlotId, grant: G, end: impl FnOnce(G, &mut P)) -> Option<P> {
        // The invariant has the packet there. Were it not, the grant is ended by its own drop.
        let packet = self.packets.get_mut(id).ok()?;
        end(grant, &mut packet.value);
        packet.slots = packet.slots.saturating_sub(1);
        if packet.slots != 0 {
            return None;
        }
        self.packets.take(id).ok().map(|packet| packet.value)
    }
}

/// A run of bytes inside one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which page, counted from the one that the whole begins in.
    pub page: usize,
    /// Where the run begins in that page.
    pub offset: u16,
    /// Bytes, at least one.
    pub len: u16,
}

/// Cuts `len` bytes, which begin `offset` bytes into a row of pages, where pages end.
pub fn pieces(offset: usize, len: usize) -> impl Iterator<Item = Piece> {
    let mut at = offset;
    let mut left = len;
    core::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let inside = at % PAGE_SIZE;
        let take = left.min(PAGE_SIZE.wrapping_sub(inside));
        let piece = Piece {
            page: at / PAGE_SIZE,
            // CAST: both are at most `PAGE_SIZE`.
            offset: inside as u16,
            len: take as u16,
        };
        at = at.wrapping_add(take);
        left = left.wrapping_sub(take);
        Some(piece)
    })
}

/// Number of [`pieces`].
pub fn count_pieces(offset: usize, len: usize) -> usize {
    if len == 0 {
        return 0;
    }
    (offset % PAGE_SIZE).saturating_add(len).div_ceil(PAGE_SIZE)
}

#[cfg(test)]
mod tests;
