// SPDX-License-Identifier: GPL-2.0

//! Packets for the guest: put into the pages that it lends through its receive ring.

use super::script::Script;
use super::{Packet, EXTRA_XDP, PAGE};
use crate::guest::{Guest, Piece};
use crate::ring::BackRing;
use abi::net::wire::{rx_flags, ExtraInfo, RxRequest, RxResponse, EXTRA_FLAG_MORE, RX_SLOT};
use abi::shared::Memory;
use anyhow::Result;
use std::collections::VecDeque;

/// Packets that wait for pages, at most.
const WAITING: usize = 256;

/// How packets are put into pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    /// Bytes left free at the begin of each page.
    pub headroom: u16,
}

/// The receive ring of a guest.
pub struct Receive<M> {
    ring: BackRing<M>,
    waiting: VecDeque<Packet>,
    layout: Layout,
}

/// What goes into a slot of the ring.
enum Answer {
    Data(RxResponse),
    Extra(ExtraInfo),
}

impl<M: Memory> Receive<M> {
    /// Takes up a ring.
    pub fn new(ring: BackRing<M>, layout: Layout) -> Self {
        Self {
            ring,
            waiting: VecDeque::new(),
            layout,
        }
    }

    /// Gives the ring back.
    pub fn into_memory(self) -> M {
        self.ring.into_memory()
    }

    /// Lines a packet up. Returns false when too many wait: it is lost.
    pub fn push(&mut self, packet: Packet) -> bool {
        let room = self.waiting.len() < WAITING;
        if room {
            self.waiting.push_back(packet);
        }
        room
    }

    /// Passes on what there are pages for. Returns how many packets, and whether the frontend wants an event.
    ///
    /// # Errors
    ///
    /// When the frontend breaks the rules of the ring, or Xen refuses one of its grants.
    pub fn pass(&mut self, guest: &mut dyn Guest, script: &mut Script) -> Result<(u64, bool)> {
        let (mut passed, mut notify) = (0, false);
        while let Some(packet) = self.waiting.front() {
            if let Some(event) = script.receive(&mut self.ring)? {
                self.waiting.pop_front();
                notify |= event;
                continue;
            }
            let pages = self.ring.waiting()?;
            if pages < self.slots(packet) {
                if self.ring.arm_after(pages)? {
                    continue;
                }
                break;
            }
            let Some(packet) = self.waiting.pop_front() else {
                break;
            };
            self.put(&packet, guest)?;
            passed += 1;
            notify |= self.ring.publish();
        }
        Ok((passed, notify))
    }

    /// Bytes of data that fit a page.
    fn room(&self) -> usize {
        PAGE - usize::from(self.layout.headroom)
    }

    fn extras(&self, packet: &Packet) -> Vec<ExtraInfo> {
        let mut extras = Vec::new();
        if let Some((kind, size)) = packet.gso {
            extras.push(ExtraInfo::gso(kind, size));
        }
        if let Some(hash) = packet.hash {
            let [a, b, c, d] = hash.value.to_le_bytes();
            // Kind, algorithm (Toeplitz) and value.
            extras.push(ExtraInfo {
                kind: abi::net::wire::extra_type::HASH,
                flags: 0,
                data: [hash.kind, 1, a, b, c, d],
            });
        }
        if self.layout.headroom > 0 {
            let [low, high] = self.layout.headroom.to_le_bytes();
            extras.push(ExtraInfo {
                kind: EXTRA_XDP,
                flags: 0,
                data: [low, high, 0, 0, 0, 0],
            });
        }
        let last = extras.len().saturating_sub(1);
        for extra in extras.iter_mut().take(last) {
            extra.flags |= EXTRA_FLAG_MORE;
        }
        extras
    }

    fn slots(&self, packet: &Packet) -> u32 {
        let pages = packet.data.len().div_ceil(self.room());
        (pages + self.extras(packet).len()) as u32
    }

    fn put(&mut self, packet: &Packet, guest: &mut dyn Guest) -> Result<()> {
        let extras = self.extras(packet);
        let mut answers = Vec::new();
        let mut left = packet.data.as_slice();
        let mut first = true;
        while !left.is_empty() {
            let Some(slot) = self.ring.take::<[u8; RX_SLOT]>()? else {
                break;
            };
            let request = RxRequest::decode(slot);
            let (now, later) = left.split_at(left.len().min(self.room()));
            left = later;
            let piece = Piece {
                gref: request.gref,
                offset: self.layout.headroom,
                len: now.len() as u16,
            };
            let stored = guest.store(&[piece], now);
            let mut flags = 0;
            if !left.is_empty() {
                flags |= rx_flags::MORE_DATA;
            }
            if first && packet.blank {
                flags |= rx_flags::CSUM_BLANK | rx_flags::DATA_VALIDATED;
            }
            if first && !extras.is_empty() {
                flags |= rx_flags::EXTRA_INFO;
            }
            answers.push(Answer::Data(RxResponse {
                id: request.id,
                offset: self.layout.headroom,
                flags,
                status: if stored.is_ok() { now.len() as i16 } else { -1 },
            }));
            if std::mem::take(&mut first) {
                for extra in &extras {
                    // Its page is not used.
                    let _ = self.ring.take::<[u8; RX_SLOT]>()?;
                    answers.push(Answer::Extra(*extra));
                }
            }
        }
        for answer in answers {
            match answer {
                Answer::Data(response) => self.ring.put(&response.encode())?,
                Answer::Extra(extra) => self.ring.put(&extra.encode_rx())?,
            }
        }
        Ok(())
    }
}
