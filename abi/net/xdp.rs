// SPDX-License-Identifier: GPL-2.0

//! What a program needs that looks at received packets before the stack does (XDP).
//!
//! It gets a packet in one piece, with room before the data that it can move the front into, and with the stack's own
//! structure behind it. The backend leaves that room if it knows how; otherwise the packet is moved inside its page.

use super::{
    rx::RxPacket,
    ETHERNET_HEADER,
    PAGE_SIZE, //
};

/// Bytes before the data of a packet.
pub const HEADROOM: usize = 256;

/// Bytes of a VLAN tag, which an MTU does not count.
const VLAN_TAG: usize = 4;

/// Bytes of the longest packet that a program can get, if `tail` bytes at the end of a page are the stack's.
pub const fn longest(tail: usize) -> usize {
    PAGE_SIZE.saturating_sub(HEADROOM).saturating_sub(tail)
}

/// Largest MTU of an interface whose packets go through a program.
pub const fn mtu_max(tail: usize) -> u32 {
    // CAST: Less than a page.
    longest(tail).saturating_sub(ETHERNET_HEADER + VLAN_TAG) as u32
}

/// Why an interface cannot have a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The backend leaves no room before the data.
    Backend,
    /// Packets of this MTU do not fit; this is the largest.
    Mtu(u32),
}

/// Tells whether an interface can have a program. `offered` is what the backend said, if it was asked yet.
///
/// # Errors
///
/// [`Refusal`].
pub fn may_attach(offered: Option<bool>, mtu: u32, most: u32) -> Result<(), Refusal> {
    if offered == Some(false) {
        return Err(Refusal::Backend);
    }
    if mtu > most {
        return Err(Refusal::Mtu(most));
    }
    Ok(())
}

/// Where a packet lies for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the data begins in its page.
    pub from: usize,
    /// Where it has to begin.
    pub to: usize,
    /// Bytes of the data.
    pub len: usize,
}

/// Gives the place of a packet, or `None` if a program cannot get it: it is in several pieces, stands for several packets,
/// or is too long.
pub fn place(packet: &RxPacket, tail: usize) -> Option<Place> {
    let (from, len) = (packet.first.offset(), packet.first.len());
    if packet.fragments != 1 || packet.gso.is_some() || len > longest(tail) {
        return None;
    }
    let end = from.saturating_add(len).saturating_add(tail);
    let lies_well = from >= HEADROOM && end <= PAGE_SIZE;
    Some(Place {
        from,
        to: if lies_well { from } else { HEADROOM },
        len,
    })
}

/// How many of so many pages that are ready must be held back from the backend.
///
/// A packet with room before it takes two slots, its own and one that tells of the room. Linux's netback looks for one
/// only, takes both, and knows no end any more when the second was not there. So it must never find one alone.
pub const fn held_back(pages: u32) -> u32 {
    pages % 2
}

#[cfg(test)]
mod tests {
    use super::{
        super::rx::{
            tests::{
                feed,
                gso,
                slot, //
            },
            RxPacket, //
        },
        *,
    };
    use crate::net::wire::{
        rx_flags,
        ExtraInfo,
        GsoType,
        RX_SLOT, //
    };

    /// Bytes of the stack's structure on x86-64.
    const TAIL: usize = 320;

    const EXTRA: u16 = rx_flags::EXTRA_INFO;

    fn packet(slots: &[[u8; RX_SLOT]]) -> RxPacket {
        feed(slots).1.unwrap()
    }

    fn headroom(bytes: u16) -> [u8; RX_SLOT] {
        ExtraInfo::headroom(bytes).encode_rx()
    }

    #[test]
    fn netback_counts_the_room_as_data() {
        let packet = packet(&[slot(0, EXTRA, 256 + 60), headroom(256)]);
        assert_eq!((packet.len, packet.first.offset()), (60, 256));
        let place = place(&packet, TAIL).unwrap();
        assert_eq!((place.from, place.to, place.len), (256, 256, 60));
    }

    #[test]
    fn another_backend_may_say_where_the_data_begins() {
        let packet = packet(&[slot(256, EXTRA, 60), headroom(256)]);
        assert_eq!((packet.len, packet.first.offset()), (60, 256));
    }

    #[test]
    fn each_slot_has_its_room() {
        let more = EXTRA | rx_flags::MORE_DATA;
        let packet = packet(&[slot(0, more, 4096), headroom(256), slot(0, 0, 300)]);
        assert_eq!((packet.len, packet.fragments), (3840 + 44, 2));
        assert_eq!(place(&packet, TAIL), None);
    }

    #[test]
    fn room_without_data_is_no_packet() {
        for bytes in [0, 256, 269, 300, u16::MAX] {
            assert!(
                feed(&[slot(0, EXTRA, 256 + 13), headroom(bytes)])
                    .1
                    .is_err()
                    || bytes == 0
            );
        }
    }

    #[test]
    fn what_lies_badly_is_moved() {
        let moved = |offset, len| {
            let place = place(&packet(&[slot(offset, 0, len)]), TAIL)?;
            Some((place.from, place.to))
        };
        assert_eq!(moved(0, 60), Some((0, 256)));
        assert_eq!(moved(255, 60), Some((255, 256)));
        assert_eq!(moved(300, 60), Some((300, 300)));
        assert_eq!(moved(300, 3476), Some((300, 300)));
        assert_eq!(moved(301, 3476), Some((301, 256)));
        assert_eq!(moved(0, 3520), Some((0, 256)));
        assert_eq!(moved(0, 3521), None);
    }

    #[test]
    fn what_stands_for_several_is_not_for_a_program() {
        let packet = packet(&[slot(0, EXTRA, 1000), gso(GsoType::TcpV4, 500, 0)]);
        assert_eq!(place(&packet, TAIL), None);
    }

    #[test]
    fn the_mtu_leaves_room_for_all() {
        assert_eq!(mtu_max(TAIL), 3502);
        assert_eq!(mtu_max(PAGE_SIZE), 0);
        assert_eq!(may_attach(None, 3502, 3502), Ok(()));
        assert_eq!(may_attach(Some(true), 3503, 3502), Err(Refusal::Mtu(3502)));
        assert_eq!(may_attach(Some(false), 1500, 3502), Err(Refusal::Backend));
    }

    #[test]
    fn pages_are_shown_in_pairs() {
        assert_eq!([0, 1, 2, 255, 256].map(held_back), [0, 1, 0, 1, 0]);
    }
}
