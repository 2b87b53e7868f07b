// SPDX-License-Identifier: GPL-2.0

//! Packets that the guest sends: read out of its transmit ring, and answered.

use super::script::{Act, Script};
use super::{Packet, MAX_PACKET};
use crate::guest::{Guest, Piece};
use crate::ring::BackRing;
use abi::net::gso::GsoType;
use abi::net::wire::{
    extra_type, status, tx_flags, ExtraInfo, TxRequest, TxResponse, EXTRA_FLAG_MORE, TX_SLOT,
};
use abi::net::{ETHERNET_HEADER, MAX_PACKET_SLOTS};
use abi::shared::Memory;
use anyhow::{bail, ensure, Context, Result};
use std::collections::HashSet;

/// A multicast address that the guest wants, or does not want any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Packets to it are passed on.
    Add([u8; 6]),
    /// They no longer are.
    Remove([u8; 6]),
}

/// The addresses that the guest wants, as many as there is room for.
#[derive(Debug, Default)]
pub struct Filters {
    wanted: HashSet<[u8; 6]>,
    most: Option<usize>,
}

impl Filters {
    /// With room for so many, or for all.
    pub fn new(most: Option<usize>) -> Self {
        Self {
            wanted: HashSet::new(),
            most,
        }
    }

    /// Changes them. Tells whether there was room.
    fn change(&mut self, filter: Filter) -> bool {
        match filter {
            Filter::Add(_) if self.most.is_some_and(|most| self.wanted.len() >= most) => false,
            Filter::Add(address) => {
                self.wanted.insert(address);
                true
            }
            Filter::Remove(address) => {
                self.wanted.remove(&address);
                true
            }
        }
    }

    /// Whether the guest wants this one.
    pub fn has(&self, address: &[u8; 6]) -> bool {
        self.wanted.contains(address)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.wanted.len()
    }
}

/// What the guest has sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets in their order.
    pub packets: Vec<Packet>,
    /// Changes of its filters, refused ones too.
    pub filters: Vec<Filter>,
    /// Packets that are none.
    pub errors: u64,
}

/// A slot of a packet, as its answer has to be.
enum Slot {
    /// A piece of data with this id.
    Data(u16),
    /// Extra info.
    Extra,
}

/// The requests of one packet.
struct Requests {
    pieces: Vec<Piece>,
    slots: Vec<Slot>,
    blank: bool,
    gso: Option<(GsoType, u16)>,
    filters: Vec<Filter>,
    bad: bool,
}

/// Takes all packets of a transmit ring and answers them. `notify` gives the frontend an event.
///
/// # Errors
///
/// When the frontend breaks the rules of the ring.
pub fn serve<M: Memory>(
    ring: &mut BackRing<M>,
    guest: &mut dyn Guest,
    filters: &mut Filters,
    script: &mut Script,
    notify: &mut dyn FnMut(),
) -> Result<Sent> {
    let mut sent = Sent::default();
    loop {
        while let Some(first) = ring.take::<[u8; TX_SLOT]>()? {
            let requests = gather(ring, TxRequest::decode(first))?;
            let mut done = !requests.bad;
            sent.filters.extend(&requests.filters);
            let length = requests.pieces.iter().map(|p| usize::from(p.len)).sum();
            // One that only carries a filter has no frame worth passing on.
            if done && requests.filters.is_empty() {
                let mut data = vec![0; length];
                done = guest.fetch(&requests.pieces, &mut data).is_ok();
                if done {
                    sent.packets.push(Packet {
                        data,
                        blank: requests.blank,
                        gso: requests.gso,
                        hash: None,
                    });
                }
            }
            sent.errors += u64::from(!done);
            for filter in &requests.filters {
                done &= filters.change(*filter);
            }
            let good = if done { status::OKAY } else { status::ERROR };
            let answers: Vec<TxResponse> = requests
                .slots
                .iter()
                .map(|slot| match *slot {
                    Slot::Data(id) => TxResponse { id, status: good },
                    Slot::Extra => TxResponse {
                        id: 0,
                        status: status::NULL,
                    },
                })
                .collect();
            let acts = script.acts();
            match script.transmitted(ring, answers)? {
                Act::Answer(answers) => {
                    for answer in answers {
                        ring.put(&answer.encode())?;
                    }
                    // What it wished may be written over.
                    if ring.publish() || script.acts() != acts {
                        notify();
                    }
                }
                Act::Forced => {
                    notify();
                    return Ok(sent);
                }
            }
        }
        if !ring.arm()? {
            return Ok(sent);
        }
    }
}

/// Takes the rest of a packet of which `first` is the first request.
fn gather<M: Memory>(ring: &mut BackRing<M>, first: TxRequest) -> Result<Requests> {
    let mut requests = Requests {
        pieces: Vec::new(),
        slots: vec![Slot::Data(first.id)],
        blank: first.flags & tx_flags::CSUM_BLANK != 0,
        gso: None,
        filters: Vec::new(),
        bad: false,
    };
    if first.flags & tx_flags::EXTRA_INFO != 0 {
        loop {
            let slot = ring
                .take::<[u8; TX_SLOT]>()?
                .context("an extra info that is announced does not come")?;
            let extra = ExtraInfo::decode_tx(slot);
            requests.slots.push(Slot::Extra);
            requests.extra(&extra);
            if extra.flags & EXTRA_FLAG_MORE == 0 {
                break;
            }
            ensure!(
                requests.slots.len() <= usize::from(extra_type::MAX),
                "extra infos without end"
            );
        }
    }
    let mut rest = Vec::new();
    let mut last = first;
    while last.flags & tx_flags::MORE_DATA != 0 {
        let slot = ring
            .take::<[u8; TX_SLOT]>()?
            .context("a piece that is announced does not come")?;
        last = TxRequest::decode(slot);
        requests.slots.push(Slot::Data(last.id));
        rest.push(last);
        if rest.len() >= MAX_PACKET_SLOTS {
            bail!("a packet of more than {MAX_PACKET_SLOTS} slots");
        }
    }
    // The first says how long all are together, the others how long they are.
    let others: usize = rest.iter().map(|piece| usize::from(piece.size)).sum();
    let size = usize::from(first.size);
    if !requests.filters.is_empty() {
        // There need not be any data.
        return Ok(requests);
    }
    requests.bad |= !(ETHERNET_HEADER..=MAX_PACKET).contains(&size) || others >= size;
    if !requests.bad {
        let head = TxRequest {
            size: (size - others) as u16,
            ..first
        };
        for piece in std::iter::once(head).chain(rest) {
            requests.bad |= usize::from(piece.offset) + usize::from(piece.size) > super::PAGE;
            requests.pieces.push(Piece {
                gref: piece.gref,
                offset: piece.offset,
                len: piece.size,
            });
        }
    }
    Ok(requests)
}

impl Requests {
    fn extra(&mut self, extra: &ExtraInfo) {
        match extra.kind {
            extra_type::GSO => {
                let (size, kind) = extra.gso_fields();
                self.gso = GsoType::from_wire(kind).map(|kind| (kind, size));
                self.bad |= self.gso.is_none() || size == 0;
            }
            extra_type::MCAST_ADD => self.filters.push(Filter::Add(extra.data)),
            extra_type::MCAST_DEL => self.filters.push(Filter::Remove(extra.data)),
            _ => self.bad = true,
        }
    }
}
