// SPDX-License-Identifier: GPL-2.0

//! The control ring: how the guest wants its packets hashed, and spread over its queues.

use super::script::Script;
use crate::guest::{Guest, Piece};
use crate::ring::BackRing;
use abi::shared::Memory;
use anyhow::Result;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes};

/// Octets of a key, at most: what Toeplitz needs for IPv6 and two ports.
const MOST_KEY: usize = 40;

/// Entries of the table from hashes to queues, at most.
const MOST_QUEUES: usize = 128;

/// The algorithm that is there besides none (`XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ`).
const TOEPLITZ: u32 = 1;

/// All kinds of hashes as flags (`XEN_NETIF_CTRL_HASH_TYPE_*`).
const ALL_KINDS: u32 = 0xf;

/// `struct xen_netif_ctrl_request`
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct Request {
    /// Repeated in the response.
    pub id: u16,
    /// What is asked for, see [`kind`].
    pub kind: u16,
    /// What the kind makes of it.
    pub data: [u32; 3],
}

/// `struct xen_netif_ctrl_response`
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct Response {
    /// That of the request.
    pub id: u16,
    /// That of the request.
    pub kind: u16,
    /// See [`status`].
    pub status: u32,
    /// What the kind makes of it.
    pub data: u32,
}

// As `c/layout.c` has them of the header.
const _: () = assert!(size_of::<Request>() == 16 && size_of::<Response>() == 12);

/// Kinds of requests (`XEN_NETIF_CTRL_TYPE_*`).
pub mod kind {
    /// Which kinds of hashes are there.
    pub const GET_FLAGS: u16 = 1;
    /// Which are wanted.
    pub const SET_FLAGS: u16 = 2;
    /// The key, in a granted page.
    pub const SET_KEY: u16 = 3;
    /// How large the table may be.
    pub const GET_MAPPING_SIZE: u16 = 4;
    /// How large it is.
    pub const SET_MAPPING_SIZE: u16 = 5;
    /// A part of it, in a granted page.
    pub const SET_MAPPING: u16 = 6;
    /// Which algorithm.
    pub const SET_ALGORITHM: u16 = 7;
}

/// Values of a response's status (`XEN_NETIF_CTRL_STATUS_*`).
pub mod status {
    /// Done.
    pub const SUCCESS: u32 = 0;
    /// The backend cannot do this.
    pub const NOT_SUPPORTED: u32 = 1;
    /// The request makes no sense.
    pub const INVALID: u32 = 2;
    /// More than the backend takes.
    pub const OVERFLOW: u32 = 3;
}

/// A packet's hash, and the number of its kind (`_XEN_NETIF_CTRL_HASH_TYPE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// 0 and 2: addresses of IPv4 and IPv6; 1 and 3: with the ports of TCP.
    pub kind: u8,
    /// Its value.
    pub value: u32,
}

/// What the guest has said about hashes.
#[derive(Clone, Debug, Default)]
pub struct Control {
    algorithm: u32,
    flags: u32,
    key: Vec<u8>,
    mapping: Vec<u32>,
}

impl Control {
    /// Hashes all there is, with a key of our own, asked for or not.
    pub fn unasked() -> Self {
        Self {
            algorithm: TOEPLITZ,
            flags: ALL_KINDS,
            key: (1..=MOST_KEY as u8).collect(),
            mapping: Vec::new(),
        }
    }

    /// Serves the control ring of a guest with so many queues. Returns whether it wants an event.
    ///
    /// # Errors
    ///
    /// When the frontend breaks the rules of the ring.
    pub fn serve<M: Memory>(
        &mut self,
        ring: &mut BackRing<M>,
        guest: &mut dyn Guest,
        queues: usize,
        script: &mut Script,
    ) -> Result<bool> {
        let mut notify = false;
        loop {
            while let Some(request) = ring.take::<Request>()? {
                let (status, data) = self
                    .obey(&request, guest, queues)
                    .map_or_else(|status| (status, 0), |data| (status::SUCCESS, data));
                let (mut id, mut kind, mut status) = (request.id, request.kind, status);
                if script.controlled(ring, (&mut id, &mut kind, &mut status)) {
                    return Ok(true);
                }
                ring.put(&Response {
                    id,
                    kind,
                    status,
                    data,
                })?;
                notify |= ring.publish();
            }
            if !ring.arm()? {
                return Ok(notify);
            }
        }
    }

    /// Does what one request asks for; gives the response's data, or else its status.
    fn obey(
        &mut self,
        request: &Request,
        guest: &mut dyn Guest,
        queues: usize,
    ) -> std::result::Result<u32, u32> {
        let [first, count, offset] = request.data;
        let selected = self.algorithm != 0;
        let mut page = |gref, len: usize| -> std::result::Result<Vec<u8>, u32> {
            let mut bytes = vec![0; len];
            if len > 0 {
                let piece = Piece {
                    gref,
                    offset: 0,
                    len: len as u16,
                };
                guest
                    .fetch(&[piece], &mut bytes)
                    .map_err(|_| status::INVALID)?;
            }
            Ok(bytes)
        };
        match request.kind {
            kind::SET_ALGORITHM if first > TOEPLITZ => Err(status::INVALID),
            kind::SET_ALGORITHM => {
                self.algorithm = first;
                Ok(0)
            }
            kind::GET_FLAGS if selected => Ok(ALL_KINDS),
            kind::SET_FLAGS if selected => {
                if first & !ALL_KINDS != 0 {
                    return Err(status::INVALID);
                }
                self.flags = first;
                Ok(0)
            }
            kind::GET_FLAGS | kind::SET_FLAGS => Err(status::INVALID),
            kind::SET_KEY => {
                if count as usize > MOST_KEY {
                    return Err(status::OVERFLOW);
                }
                self.key = page(first, count as usize)?;
                Ok(0)
            }
            kind::GET_MAPPING_SIZE => Ok(MOST_QUEUES as u32),
            kind::SET_MAPPING_SIZE => {
                if first as usize > MOST_QUEUES {
                    return Err(status::INVALID);
                }
                self.mapping = vec![0; first as usize];
                Ok(0)
            }
            kind::SET_MAPPING => {
                let (count, offset) = (count as usize, offset as usize);
                let Some(part) = offset
                    .checked_add(count)
                    .and_then(|end| self.mapping.get_mut(offset..end))
                else {
                    return Err(status::OVERFLOW);
                };
                let bytes = page(first, count * 4)?;
                let entries: Vec<u32> = bytes
                    .chunks_exact(4)
                    .map(|entry| u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]))
                    .collect();
                if entries.iter().any(|&queue| queue as usize >= queues) {
                    return Err(status::INVALID);
                }
                part.copy_from_slice(&entries);
                Ok(0)
            }
            _ => Err(status::NOT_SUPPORTED),
        }
    }

    /// The hash of a packet, if the guest wants one of it.
    pub fn hash(&self, data: &[u8]) -> Option<Hash> {
        if self.algorithm == 0 {
            return None;
        }
        let Flow {
            addresses,
            ports,
            kind: plain,
        } = flow(data)?;
        let wants = |kind: u8| self.flags & 1 << kind != 0;
        let (kind, input) = match ports {
            Some(ports) if wants(plain + 1) => (plain + 1, [addresses, ports].concat()),
            _ if wants(plain) => (plain, addresses.to_vec()),
            _ => return None,
        };
        Some(Hash {
            kind,
            value: toeplitz(&self.key, &input),
        })
    }

    /// The queue of a packet with this hash, of so many.
    pub fn queue(&self, hash: Hash, queues: usize) -> usize {
        let value = hash.value as usize;
        match self.mapping.len() {
            0 => value % queues.max(1),
            entries => self
                .mapping
                .get(value % entries)
                .map_or(0, |&queue| queue as usize),
        }
    }
}

/// What of a packet is hashed.
struct Flow<'a> {
    addresses: &'a [u8],
    /// If it is TCP.
    ports: Option<&'a [u8]>,
    /// Kind of a hash without the ports.
    kind: u8,
}

fn flow(data: &[u8]) -> Option<Flow<'_>> {
    let (addresses, protocol, transport, kind) = match data.get(12..14)? {
        [0x08, 0x00] => {
            let words = usize::from(data.get(14)? & 0xf);
            let whole = data.get(20..22)? == [0, 0] || data.get(20..22)? == [0x40, 0];
            let protocol = if whole { *data.get(23)? } else { 0 };
            (data.get(26..34)?, protocol, 14 + words * 4, 0)
        }
        [0x86, 0xdd] => (data.get(22..54)?, *data.get(20)?, 54, 2),
        _ => return None,
    };
    Some(Flow {
        addresses,
        ports: data.get(transport..transport + 4).filter(|_| protocol == 6),
        kind,
    })
}

/// Toeplitz: for each bit that is set in `data`, the 32 bits of the key that begin at its place. A key that ends is
/// followed by zeroes.
fn toeplitz(key: &[u8], data: &[u8]) -> u32 {
    let octet = |at: usize| u64::from(key.get(at).copied().unwrap_or(0));
    let mut hash = 0;
    for (at, byte) in data.iter().enumerate() {
        let window = (0..5).fold(0u64, |bits, next| bits << 8 | octet(at + next));
        for bit in 0..8 {
            if byte & 0x80 >> bit != 0 {
                hash ^= (window >> (8 - bit)) as u32;
            }
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{with_page, Pages};
    use abi::ring::FrontRing;
    use std::collections::HashMap;

    /// The key, a flow and its hashes out of the specification of receive-side scaling.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];
    const ADDRESSES: [u8; 8] = [66, 9, 149, 187, 161, 142, 100, 80];
    const PORTS: [u8; 4] = [0x0a, 0xea, 0x06, 0xe6];

    fn packet(protocol: u8) -> Vec<u8> {
        let mut data = vec![0; 60];
        data[12..14].copy_from_slice(&[0x08, 0x00]);
        data[14] = 0x45;
        data[23] = protocol;
        data[26..34].copy_from_slice(&ADDRESSES);
        data[34..38].copy_from_slice(&PORTS);
        data
    }

    #[test]
    fn hashes_are_those_of_the_specification() {
        let mut control = Control::unasked();
        control.key = KEY.to_vec();
        let hash = |control: &Control, protocol| control.hash(&packet(protocol));
        let (tcp, plain) = (
            Hash {
                kind: 1,
                value: 0x51cc_c178,
            },
            Hash {
                kind: 0,
                value: 0x323e_8fc2,
            },
        );
        assert_eq!(hash(&control, 6), Some(tcp));
        assert_eq!(hash(&control, 17), Some(plain));
        control.flags = 1;
        assert_eq!(hash(&control, 6), Some(plain));
        control.flags = 2;
        assert_eq!(hash(&control, 17), None);
        control.key.clear();
        assert_eq!(hash(&control, 6).map(|hash| hash.value), Some(0));
        control.algorithm = 0;
        assert_eq!(hash(&control, 6), None);
        assert_eq!(Control::unasked().hash(&packet(6)[..33]), None);
    }

    #[test]
    fn the_guest_says_how_it_wants_it() {
        with_page(|memory| {
            let mut front = FrontRing::<Request, Request, _>::new(memory).expect("a ring");
            let (request, response) = (size_of::<Request>(), size_of::<Response>());
            let mut back = BackRing::new(memory, request, response).expect("its other half");
            let mut page = KEY.to_vec();
            page.resize(4096, 0);
            let table: Vec<u8> = [3u32, 1, 2, 0, 9]
                .iter()
                .flat_map(|q| q.to_le_bytes())
                .collect();
            let mut table_page = table;
            table_page.resize(4096, 0);
            let mut pages = Pages(HashMap::from([(5, page), (6, table_page)]));
            let mut control = Control::default();
            let mut ask = |kind, data| {
                let request = Request { id: 7, kind, data };
                front.write(&request).expect("room");
                let _ = front.publish();
                control
                    .serve(&mut back, &mut pages, 4, &mut Script::default())
                    .expect("a frontend that is honest");
                let slot = front.take().expect("an index that is right");
                front.arm(1).expect("an index that is right");
                // The response is shorter than the slot.
                let slot = slot.expect("a response");
                assert_eq!((slot.id, slot.kind), (7, kind));
                (slot.data[0], slot.data[1])
            };
            assert_eq!(ask(kind::GET_FLAGS, [0; 3]).0, status::INVALID);
            assert_eq!(ask(kind::SET_ALGORITHM, [2, 0, 0]).0, status::INVALID);
            assert_eq!(ask(kind::SET_ALGORITHM, [1, 0, 0]).0, status::SUCCESS);
            assert_eq!(ask(kind::GET_FLAGS, [0; 3]), (status::SUCCESS, 15));
            assert_eq!(ask(kind::SET_FLAGS, [16, 0, 0]).0, status::INVALID);
            assert_eq!(ask(kind::SET_FLAGS, [15, 0, 0]).0, status::SUCCESS);
            assert_eq!(ask(kind::SET_KEY, [5, 41, 0]).0, status::OVERFLOW);
            assert_eq!(ask(kind::SET_KEY, [99, 40, 0]).0, status::INVALID);
            assert_eq!(ask(kind::SET_KEY, [5, 40, 0]).0, status::SUCCESS);
            assert_eq!(ask(kind::GET_MAPPING_SIZE, [0; 3]), (status::SUCCESS, 128));
            assert_eq!(ask(kind::SET_MAPPING_SIZE, [129, 0, 0]).0, status::INVALID);
            assert_eq!(ask(kind::SET_MAPPING_SIZE, [4, 0, 0]).0, status::SUCCESS);
            assert_eq!(ask(kind::SET_MAPPING, [6, 5, 0]).0, status::OVERFLOW);
            let much = u32::MAX;
            assert_eq!(ask(kind::SET_MAPPING, [6, much, much]).0, status::OVERFLOW);
            assert_eq!(ask(kind::SET_MAPPING, [6, 4, 0]).0, status::SUCCESS);
            assert_eq!(ask(8, [0; 3]).0, status::NOT_SUPPORTED);
            let hash = control.hash(&packet(6)).expect("a hash");
            assert_eq!(hash.value, 0x51cc_c178);
            // It ends in 0, and there the table has queue 3.
            assert_eq!(control.queue(hash, 4), 3);
        });
    }
}
