// SPDX-License-Identifier: GPL-2.0

//! How a network backend can break the rules of its rings: the lines of `docs/hostile-inputs.md` as acts.

use crate::ring::BackRing;
use abi::net::gso::GsoType;
use abi::net::wire::{
    extra_type, rx_flags, status, ExtraInfo, RxRequest, RxResponse, TxResponse, EXTRA_FLAG_MORE,
    RX_SLOT,
};
use abi::shared::Memory;
use anyhow::Result;
use std::collections::VecDeque;

/// Slots of a chain that has no end, or of a packet that is too long.
const CHAIN: usize = 40;

/// Length of the pieces of a packet that is none, in bytes.
const PIECE: i16 = 100;

macro_rules! hostile {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Ways to break the rules.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Hostile {
            $($(#[$doc])* $name,)*
        }

        impl Hostile {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

hostile! {
    /// A sent packet is answered with an id beyond every table.
    TxIdOutOfRange = "tx-id-out-of-range",
    /// A sent packet is answered with an id that was not sent.
    TxIdNeverSent = "tx-id-never-sent",
    /// A sent packet is answered with the id of an earlier one.
    TxIdTwice = "tx-id-twice",
    /// A piece of data is answered as if it were an extra info.
    TxNullStatus = "tx-null-status",
    /// A sent packet is answered with a status that is none.
    TxUnknownStatus = "tx-unknown-status",
    /// The index of answers runs ahead by four times the ring.
    TxProducerBeyondRing = "tx-producer-beyond-ring",
    /// The index of answers goes back.
    TxProducerBackwards = "tx-producer-backwards",
    /// The index of received slots covers more pages than were lent.
    RxNoBuffer = "rx-no-buffer",
    /// The index of received slots goes back.
    RxProducerBackwards = "rx-producer-backwards",
    /// The data goes on past its page.
    RxPastPage = "rx-past-page",
    /// More bytes than any page has.
    RxTooLong = "rx-too-long",
    /// An error instead of data.
    RxNegativeStatus = "rx-negative-status",
    /// More data is announced, and none comes.
    RxMoreWithoutNext = "rx-more-without-next",
    /// More slots than a packet has.
    RxTooManySlots = "rx-too-many-slots",
    /// An extra info is announced, and none comes.
    RxExtraMissing = "rx-extra-missing",
    /// An extra info that is none.
    RxExtraUnknown = "rx-extra-unknown",
    /// Extra infos without end.
    RxExtraEndless = "rx-extra-endless",
    /// Segments of no bytes.
    RxGsoSizeZero = "rx-gso-size-zero",
    /// Segments of an unknown protocol.
    RxGsoUnknownType = "rx-gso-unknown-type",
    /// A prefix, which nobody agreed on.
    RxGsoPrefix = "rx-gso-prefix",
    /// Less than an Ethernet header.
    RxShort = "rx-short",
    /// The frontend's indices and free slots are written over.
    TxOverwritten = "tx-overwritten",
    /// A request on the control ring is answered with an id that was not asked.
    CtrlIdNeverAsked = "ctrl-id-never-asked",
    /// It is answered as one of another type.
    CtrlTypeNeverAsked = "ctrl-type-never-asked",
    /// It is refused.
    CtrlRefused = "ctrl-refused",
    /// The index of answers runs ahead by four times the ring.
    CtrlProducerBeyondRing = "ctrl-producer-beyond-ring",
    /// The index of answers goes back.
    CtrlProducerBackwards = "ctrl-producer-backwards",
}

/// `XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER`
const INVALID_PARAMETER: u32 = 2;

impl Hostile {
    /// The one of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.name() == name)
    }
}

/// What becomes of the answers to a sent packet.
pub enum Act {
    /// These are written.
    Answer(Vec<TxResponse>),
    /// The index was moved already.
    Forced,
}

/// Which rules are broken, one after the other, each with one packet.
#[derive(Debug, Default)]
pub struct Script {
    hostile: VecDeque<Hostile>,
    /// The next packet is an honest one, so that each act has one after it.
    rests: bool,
    acts: u64,
    /// Answers to a packet that wait for those to the next one.
    held: Vec<TxResponse>,
}

impl Script {
    /// Breaks these rules, beginning with the next packet.
    pub fn play(&mut self, hostile: impl IntoIterator<Item = Hostile>) {
        self.hostile = hostile.into_iter().collect();
        (self.rests, self.acts) = (false, 0);
    }

    /// How often a rule was broken.
    pub fn acts(&self) -> u64 {
        self.acts
    }

    fn acted(&mut self) {
        self.hostile.pop_front();
        self.rests = true;
        self.acts += 1;
    }

    /// The connection is another one.
    pub fn reconnected(&mut self) {
        self.held.clear();
    }

    /// Looks at the answers to a packet that the guest has sent.
    ///
    /// # Errors
    ///
    /// When the frontend breaks the rules of the ring.
    pub fn transmitted<M: Memory>(
        &mut self,
        ring: &mut BackRing<M>,
        answers: Vec<TxResponse>,
    ) -> Result<Act> {
        let earlier = self.held.first().copied();
        let mut answers = [std::mem::take(&mut self.held), answers].concat();
        let Some(first) = answers.first_mut() else {
            return Ok(Act::Answer(answers));
        };
        match self.hostile.front() {
            Some(Hostile::TxIdOutOfRange) => first.id = u16::MAX,
            Some(Hostile::TxIdNeverSent) => first.id ^= 0x80,
            Some(Hostile::TxIdTwice) => {
                let Some(earlier) = earlier else {
                    self.held = answers;
                    return Ok(Act::Answer(Vec::new()));
                };
                answers.fill(earlier);
            }
            Some(Hostile::TxNullStatus) => first.status = status::NULL,
            Some(Hostile::TxUnknownStatus) => first.status = 77,
            Some(Hostile::TxOverwritten) => {
                if !ring.scribble()? {
                    return Ok(Act::Answer(answers));
                }
            }
            Some(Hostile::TxProducerBeyondRing) => {
                ring.force(ring.rsp_prod().wrapping_add(ring.slots() * 4));
                self.acted();
                return Ok(Act::Forced);
            }
            Some(Hostile::TxProducerBackwards) => {
                ring.force(ring.rsp_prod().wrapping_sub(1));
                self.acted();
                return Ok(Act::Forced);
            }
            _ => return Ok(Act::Answer(answers)),
        }
        self.acted();
        Ok(Act::Answer(answers))
    }

    /// Looks at the id, type and status of the response to a request on the control ring. Returns whether the index was
    /// moved already.
    pub fn controlled<M: Memory>(
        &mut self,
        ring: &mut BackRing<M>,
        (id, kind, status): (&mut u16, &mut u16, &mut u32),
    ) -> bool {
        let mut forced = None;
        match self.hostile.front() {
            Some(Hostile::CtrlIdNeverAsked) => *id ^= 0x80,
            Some(Hostile::CtrlTypeNeverAsked) => *kind ^= 0x80,
            Some(Hostile::CtrlRefused) => *status = INVALID_PARAMETER,
            Some(Hostile::CtrlProducerBeyondRing) => forced = Some(ring.slots() * 4),
            Some(Hostile::CtrlProducerBackwards) => forced = Some(u32::MAX),
            _ => return false,
        }
        self.acted();
        if let Some(by) = forced {
            ring.force(ring.rsp_prod().wrapping_add(by));
        }
        forced.is_some()
    }

    /// Has a packet for the guest, and may put something else into its ring. Returns then whether it wants an event.
    ///
    /// # Errors
    ///
    /// When the frontend breaks the rules of the ring.
    pub fn receive<M: Memory>(&mut self, ring: &mut BackRing<M>) -> Result<Option<bool>> {
        let Some(hostile) = self.hostile.front() else {
            return Ok(None);
        };
        if std::mem::take(&mut self.rests) {
            return Ok(None);
        }
        let data = |flags, status| RxResponse {
            flags,
            status,
            ..RxResponse::default()
        };
        let plain = |response: RxResponse| vec![response.encode()];
        let with_extra = |extra: ExtraInfo| {
            vec![
                data(rx_flags::EXTRA_INFO, PIECE).encode(),
                extra.encode_rx(),
            ]
        };
        let slots: Vec<[u8; RX_SLOT]> = match hostile {
            Hostile::RxNoBuffer => {
                // The guest may add some meanwhile, but no more than the ring has room for.
                ring.force(ring.rsp_prod().wrapping_add(ring.slots() + 1));
                self.acted();
                return Ok(Some(true));
            }
            Hostile::RxProducerBackwards => {
                ring.force(ring.rsp_prod().wrapping_sub(1));
                self.acted();
                return Ok(Some(true));
            }
            Hostile::RxPastPage => plain(RxResponse {
                offset: 4000,
                ..data(0, PIECE)
            }),
            Hostile::RxTooLong => plain(data(0, 5000)),
            Hostile::RxNegativeStatus => plain(data(0, -1)),
            Hostile::RxMoreWithoutNext => plain(data(rx_flags::MORE_DATA, PIECE)),
            Hostile::RxTooManySlots => {
                let mut slots = vec![data(rx_flags::MORE_DATA, PIECE).encode(); CHAIN];
                slots.extend(plain(data(0, PIECE)));
                slots
            }
            Hostile::RxExtraMissing => plain(data(rx_flags::EXTRA_INFO, PIECE)),
            Hostile::RxExtraUnknown => with_extra(ExtraInfo {
                kind: 77,
                ..ExtraInfo::default()
            }),
            Hostile::RxExtraEndless => {
                let extra = ExtraInfo {
                    flags: EXTRA_FLAG_MORE,
                    ..ExtraInfo::gso(GsoType::TcpV4, 1448)
                };
                let mut slots = with_extra(extra);
                slots.extend(vec![extra.encode_rx(); CHAIN]);
                slots
            }
            Hostile::RxGsoSizeZero => with_extra(ExtraInfo::gso(GsoType::TcpV4, 0)),
            Hostile::RxGsoUnknownType => with_extra(ExtraInfo {
                kind: extra_type::GSO,
                flags: 0,
                data: [0xa8, 5, 77, 0, 0, 0],
            }),
            Hostile::RxGsoPrefix => plain(data(rx_flags::GSO_PREFIX, PIECE)),
            Hostile::RxShort => plain(data(0, 5)),
            _ => return Ok(None),
        };
        // Only with pages for all of it.
        if ring.waiting()? < slots.len() as u32 {
            return Ok(None);
        }
        for slot in &slots {
            let request = ring.take::<[u8; RX_SLOT]>()?;
            let mut slot = *slot;
            // A response carries the id of its request; an extra info has its kind there.
            if slot[..2] == [0, 0] {
                let [low, high] = request
                    .map_or(0, |request| RxRequest::decode(request).id)
                    .to_le_bytes();
                (slot[0], slot[1]) = (low, high);
            }
            ring.put(&slot)?;
        }
        self.acted();
        Ok(Some(ring.publish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for hostile in Hostile::ALL {
            assert_eq!(Hostile::by_name(hostile.name()), Some(*hostile));
        }
        assert_eq!(Hostile::by_name("honest"), None);
    }
}
