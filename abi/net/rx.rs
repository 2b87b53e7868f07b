// SPDX-License-Identifier: GPL-2.0

//! Received slots, put together into packets.
//!
//! A packet is one or more slots in a row: a first one with data, extra infos if the first says so, more data as long
//! as each slot says so. [`Assembler`] is fed one slot after the other, each copied out of the ring once, and nothing
//! of a slot is used but what it gives back. [`Posted`] tells which page a slot is about: responses come in the order
//! of the requests, and their id, which an extra info overlays, is not needed.

use super::{
    gso::{
        Gso,
        GsoAccepted,
        GsoError, //
    },
    steering::Hash,
    wire::{
        extra_type,
        rx_flags,
        ExtraInfo,
        RxResponse,
        EXTRA_FLAG_MORE,
        RX_SLOT, //
    },
    ETHERNET_HEADER, MAX_PACKET_SLOTS, PAGE_SIZE,
};
use core::{
    fmt,
    ops::DerefMut, //
};

/// Most extra infos of one packet: one of each kind that a receiver has use for.
pub const MAX_EXTRAS: usize = 3;

/// A piece of a packet in the page of its slot.
///
/// # Invariants
///
/// The piece is not empty and lies inside the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    offset: u16,
    len: u16,
}

impl Fragment {
    fn new(response: &RxResponse) -> Result<Self, RxError> {
        let len = u16::try_from(response.status).map_err(|_| RxError::Status(response.status))?;
        let end = usize::from(response.offset).saturating_add(usize::from(len));
        if end > PAGE_SIZE {
            return Err(RxError::BeyondPage);
        }
        if len == 0 {
            return Err(RxError::Empty);
        }
        // INVARIANT: checked above.
        Ok(Self {
            offset: response.offset,
            len,
        })
    }

    /// What of the piece lies behind the first `headroom` bytes of its page; `None` if nothing does.
    fn behind(self, headroom: u16) -> Option<Self> {
        let skip = headroom.saturating_sub(self.offset);
        let len = self.len.checked_sub(skip).filter(|len| *len != 0)?;
        // INVARIANT: It is not empty, and what is skipped is part of the piece.
        Some(Self {
            offset: self.offset.wrapping_add(skip),
            len,
        })
    }

    /// Where the piece begins in its page.
    pub fn offset(&self) -> usize {
        usize::from(self.offset)
    }

    /// Bytes of the piece, at least one.
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }
}

/// State of a packet's transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing is known about it.
    Unknown,
    /// The data matches it, says the backend.
    Validated,
    /// The field holds the sum of the pseudo header only.
    Blank,
    /// The packet is to be segmented, which takes a blank checksum, but it was not said to be blank: the field has to
    /// be made anew.
    Rebuild,
}

/// What the slots of a packet say about it as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxPacket {
    /// Bytes of all fragments.
    pub len: usize,
    /// Number of fragments.
    pub fragments: usize,
    /// The first fragment, without the room before the data that its slot may have counted. The others have none.
    pub first: Fragment,
    /// State of the transport checksum.
    pub checksum: Checksum,
    /// How to segment it, if it stands for several packets. To be treated as dodgy: only its form was checked.
    pub gso: Option<Gso>,
    /// Its hash, by the backend's word: a hint.
    pub hash: Option<Hash>,
}

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxError {
    /// The backend reports an error.
    Status(i16),
    /// Offset and length reach beyond the page.
    BeyondPage,
    /// A slot without data.
    Empty,
    /// The first slot does not hold an Ethernet header.
    ShortHeader,
    /// More data slots than a packet may have.
    TooManySlots,
    /// An extra info of a kind that is unknown or that we did not ask for, or a kind twice.
    BadExtra(u8),
    /// What an extra info says about segmentation cannot be.
    BadGso(GsoError),
    /// A kind of slot that was not agreed on.
    GsoPrefix,
    /// The slots end before the packet does.
    CutOff,
}

impl fmt::Display for RxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RxError::Status(status) => write!(f, "slot has error status {status}"),
            RxError::BeyondPage => f.write_str("data reaches beyond its page"),
            RxError::Empty => f.write_str("slot without data"),
            RxError::ShortHeader => f.write_str("first slot is shorter than an Ethernet header"),
            RxError::TooManySlots => f.write_str("too many slots"),
            RxError::BadExtra(kind) => write!(f, "unexpected extra info of type {kind}"),
            RxError::BadGso(error) => error.fmt(f),
            RxError::GsoPrefix => f.write_str("segmentation prefix was not agreed on"),
            RxError::CutOff => f.write_str("next slot of the packet is missing"),
        }
    }
}

/// What a slot's page is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It holds the packet's next fragment.
    Data(Fragment),
    /// It holds nothing and may be lent to the backend again as it is.
    Unused,
}

/// Where a packet stands after a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More slots belong to it.
    More,
    /// The packet is complete, or has to be dropped with all its parts.
    End(Result<RxPacket, RxError>),
}

/// What the next slot is, by what the slots before it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    First,
    Extra,
    Data,
}

/// Puts slots together into packets.
#[derive(Debug)]
pub struct Assembler {
    accepted: GsoAccepted,
    next: Next,
    /// The first slot announced data behind its extra infos.
    more_data: bool,
    /// Bit set of the kinds of extra info seen.
    extras: u32,
    data_slots: usize,
    len: usize,
    checksum: Checksum,
    gso: Option<Gso>,
    hash: Option<Hash>,
    /// Bytes that each slot leaves free before its data.
    headroom: u16,
    /// The first fragment.
    first: Option<Fragment>,
    /// First thing found wrong; the packet is followed to its end and dropped.
    error: Option<RxError>,
}

impl Assembler {
    /// Makes an assembler that takes packets to be segmented as far as `accepted` says.
    pub const fn new(accepted: GsoAccepted) -> Self {
        Self {
            accepted,
            next: Next::First,
            more_data: false,
            extras: 0,
            data_slots: 0,
            len: 0,
            checksum: Checksum::Unknown,
            gso: None,
            hash: None,
            headroom: 0,
            first: None,
            error: None,
        }
    }

    /// Takes the next slot of the ring.
    pub fn slot(&mut self, raw: [u8; RX_SLOT]) -> (Part, Progress) {
        let part = match self.next {
            Next::First => {
                let response = RxResponse::decode(raw);
                self.begin(&response);
                self.data(&response)
            }
            Next::Extra => {
                self.extra(&ExtraInfo::decode_rx(raw));
                Part::Unused
            }
            Next::Data => {
                let response = RxResponse::decode(raw);
                self.more_data = response.flags & rx_flags::MORE_DATA != 0;
                self.next = Next::Data;
                self.data(&response)
            }
        };
        if self.next == Next::Extra || self.more_data {
            return (part, Progress::More);
        }
        (part, Progress::End(self.end()))
    }

    /// Tells that the ring holds no more slots for now. A packet that is not complete then is dropped with all its
    /// parts: backends show packets as a whole.
    pub fn cut_off(&mut self) -> Option<RxError> {
        if self.next == Next::First {
            return None;
        }
        self.error.get_or_insert(RxError::CutOff);
        self.end().err()
    }

    fn fail(&mut self, error: RxError) {
        self.error.get_or_insert(error);
    }

    fn begin(&mut self, response: &RxResponse) {
        *self = Self::new(self.accepted);
        let has = |flag| response.flags & flag != 0;
        self.more_data = has(rx_flags::MORE_DATA);
        self.next = if has(rx_flags::EXTRA_INFO) {
            Next::Extra
        } else {
            Next::Data
        };
        self.checksum = if has(rx_flags::CSUM_BLANK) {
            Checksum::Blank
        } else if has(rx_flags::DATA_VALIDATED) {
            Checksum::Validated
        } else {
            Checksum::Unknown
        };
        if has(rx_flags::GSO_PREFIX) {
            self.fail(RxError::GsoPrefix);
        }
    }

    fn data(&mut self, response: &RxResponse) -> Part {
        let first = self.data_slots == 0;
        self.data_slots = self.data_slots.saturating_add(1);
        if self.data_slots > MAX_PACKET_SLOTS {
            self.fail(RxError::TooManySlots);
            return Part::Unused;
        }
        // netback counts the room before the data as data, of a slot that begins at the front of its page. What it is
        // for the first slot is said behind that.
        let fragment = Fragment::new(response)
            .and_then(|fragment| fragment.behind(self.headroom).ok_or(RxError::Empty));
        match fragment {
            Ok(fragment) if first => {
                self.first = Some(fragment);
                Part::Data(fragment)
            }
            Ok(fragment) => {
                self.len = self.len.saturating_add(fragment.len());
                Part::Data(fragment)
            }
            Err(error) => {
                self.fail(error);
                Part::Unused
            }
        }
    }

    fn extra(&mut self, extra: &ExtraInfo) {
        let bit = 1u32.checked_shl(u32::from(extra.kind)).unwrap_or(0);
        match extra.kind {
            _ if self.extras & bit != 0 => self.fail(RxError::BadExtra(extra.kind)),
            extra_type::GSO => match Gso::from_extra(extra, self.accepted) {
                Ok(gso) => self.gso = Some(gso),
                Err(error) => self.fail(RxError::BadGso(error)),
            },
            extra_type::HASH => self.hash = Hash::from_extra(extra),
            extra_type::XDP => self.headroom = extra.headroom_field(),
            kind => self.fail(RxError::BadExtra(kind)),
        }
        self.extras |= bit;
        if extra.flags & EXTRA_FLAG_MORE == 0 {
            self.next = Next::Data;
        }
    }

    fn end(&mut self) -> Result<RxPacket, RxError> {
        self.next = Next::First;
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let checksum = match (self.gso, self.checksum) {
            (Some(_), Checksum::Unknown | Checksum::Validated) => Checksum::Rebuild,
            (_, checksum) => checksum,
        };
        let first = self
            .first
            .and_then(|first| first.behind(self.headroom))
            .filter(|first| first.len() >= ETHERNET_HEADER)
            .ok_or(RxError::ShortHeader)?;
        Ok(RxPacket {
            len: self.len.saturating_add(first.len()),
            fragments: self.data_slots,
            first,
            checksum,
            gso: self.gso,
            hash: self.hash,
        })
    }
}

/// Pages lent to the backend, in the order in which it has to answer for them.
///
/// The memory is the caller's: a `KVec` in the kernel, a `Vec` in tests.
///
/// # Invariants
///
/// The `held` elements from `head` on, going round, are `Some`; all others are `None`.
pub struct Posted<T, S> {
    slots: S,
    head: usize,
    held: usize,
    values: core::marker::PhantomData<T>,
}

impl<T, S: DerefMut<Target = [Option<T>]>> Posted<T, S> {
    /// Makes an empty queue of as many places as `slots` has. What was in them is dropped.
    pub fn new(mut slots: S) -> Self {
        slots.iter_mut().for_each(|slot| *slot = None);
        // INVARIANT: all are `None`.
        Self {
            slots,
            head: 0,
            held: 0,
            values: core::marker::PhantomData,
        }
    }

    /// Number of pages that the backend has.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Adds a page behind all others.
    ///
    /// # Errors
    ///
    /// The page comes back when there is no place.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.held >= self.slots.len() {
            return Err(value);
        }
        let at = self.wrap(self.head.wrapping_add(self.held));
        match self.slots.get_mut(at) {
            Some(slot) => *slot = Some(value),
            None => return Err(value),
        }
        // INVARIANT: the place behind the last held one has been filled.
        self.held = self.held.wrapping_add(1);
        Ok(())
    }

    /// Takes the page that the next response is about, or `None` if the backend has none.
    pub fn pop(&mut self) -> Option<T> {
        if self.held == 0 {
            return None;
        }
        let value = self.slots.get_mut(self.head)?.take();
        // INVARIANT: the first held place has been emptied.
        self.head = self.wrap(self.head.wrapping_add(1));
        self.held = self.held.wrapping_sub(1);
        value
    }

    /// Brings an index below twice the number of places back into them.
    fn wrap(&self, at: usize) -> usize {
        if at >= self.slots.len() {
            at.wrapping_sub(self.slots.len())
        } else {
            at
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
