// SPDX-License-Identifier: GPL-2.0

//! Packets good and bad, slot by slot.

use super::*;
use crate::net::gso::GsoType;

const BOTH: GsoAccepted = GsoAccepted { v4: true, v6: true };

pub(in crate::net) fn slot(offset: u16, flags: u16, status: i16) -> [u8; RX_SLOT] {
    RxResponse {
        id: 0xdead,
        offset,
        flags,
        status,
    }
    .encode()
}

pub(in crate::net) fn gso(kind: GsoType, size: u16, flags: u8) -> [u8; RX_SLOT] {
    let mut extra = ExtraInfo::gso(kind, size);
    extra.flags = flags;
    extra.encode_rx()
}

fn extra(kind: u8, flags: u8) -> [u8; RX_SLOT] {
    ExtraInfo {
        kind,
        flags,
        data: [0; 6],
    }
    .encode_rx()
}

/// Feeds all slots; the last one has to end the packet, and no other.
pub(in crate::net) fn feed(slots: &[[u8; RX_SLOT]]) -> (Vec<Part>, Result<RxPacket, RxError>) {
    let mut assembler = Assembler::new(BOTH);
    let mut parts = Vec::new();
    for (i, raw) in slots.iter().enumerate() {
        let (part, progress) = assembler.slot(*raw);
        parts.push(part);
        match progress {
            Progress::More => assert!(i + 1 < slots.len(), "packet does not end"),
            Progress::End(result) => {
                assert_eq!(i + 1, slots.len(), "packet ends early");
                assert_eq!(assembler.cut_off(), None);
                return (parts, result);
            }
        }
    }
    unreachable!()
}

fn error(slots: &[[u8; RX_SLOT]]) -> RxError {
    feed(slots).1.unwrap_err()
}

const MORE: u16 = rx_flags::MORE_DATA;
const EXTRA: u16 = rx_flags::EXTRA_INFO;
const BLANK: u16 = rx_flags::CSUM_BLANK;
const VALID: u16 = rx_flags::DATA_VALIDATED;

#[test]
fn one_slot_is_a_packet() {
    let (parts, packet) = feed(&[slot(2, VALID, 60)]);
    let piece = Fragment { offset: 2, len: 60 };
    assert_eq!((piece.offset(), piece.len()), (2, 60));
    assert_eq!(parts, [Part::Data(piece)]);
    assert_eq!(
        packet,
        Ok(RxPacket {
            len: 60,
            fragments: 1,
            first: piece,
            checksum: Checksum::Validated,
            gso: None,
            hash: None
        })
    );
}

#[test]
fn data_and_extras_in_their_order() {
    let (parts, packet) = feed(&[
        slot(0, MORE | EXTRA | BLANK, 4096),
        gso(GsoType::TcpV4, 1448, EXTRA_FLAG_MORE),
        extra(extra_type::HASH, 0),
        slot(0, MORE, 4096),
        slot(16, 0, 100),
    ]);
    assert_eq!(parts[1..3], [Part::Unused, Part::Unused]);
    assert_eq!(
        parts.iter().filter(|p| matches!(p, Part::Data(_))).count(),
        3
    );
    let packet = packet.unwrap();
    assert_eq!((packet.len, packet.fragments), (8292, 3));
    assert_eq!(packet.checksum, Checksum::Blank);
    assert_eq!(packet.gso.unwrap().size.get(), 1448);
}

#[test]
fn extras_without_more_data_end_the_packet() {
    let (_, packet) = feed(&[slot(0, EXTRA, 60), extra(extra_type::HASH, 0)]);
    let packet = packet.unwrap();
    assert_eq!((packet.fragments, packet.hash), (1, None));
}

#[test]
fn negative_status_drops_the_packet_to_its_end() {
    for status in [-1, -2, i16::MIN] {
        assert_eq!(error(&[slot(0, 0, status)]), RxError::Status(status));
        let (parts, packet) = feed(&[slot(0, MORE, 100), slot(0, MORE, status), slot(0, 0, 9)]);
        assert_eq!(parts[1], Part::Unused);
        assert!(matches!(parts[2], Part::Data(_)));
        assert_eq!(packet, Err(RxError::Status(status)));
    }
}

#[test]
fn data_beyond_the_page_is_refused() {
    assert!(feed(&[slot(0, 0, 4096)]).1.is_ok());
    assert!(feed(&[slot(4096 - 14, 0, 14)]).1.is_ok());
    assert_eq!(error(&[slot(1, 0, 4096)]), RxError::BeyondPage);
    assert_eq!(error(&[slot(0, 0, 4097)]), RxError::BeyondPage);
    assert_eq!(error(&[slot(0xffff, 0, 0x7fff)]), RxError::BeyondPage);
    assert_eq!(error(&[slot(4097, 0, 0)]), RxError::BeyondPage);
}

#[test]
fn first_slot_holds_a_header() {
    assert_eq!(error(&[slot(0, 0, 13)]), RxError::ShortHeader);
    assert_eq!(
        error(&[slot(0, MORE, 1), slot(0, 0, 100)]),
        RxError::ShortHeader
    );
    assert!(feed(&[slot(0, MORE, 14), slot(0, 0, 1)]).1.is_ok());
}

#[test]
fn slots_without_data_are_refused() {
    assert_eq!(error(&[slot(0, 0, 0)]), RxError::Empty);
    assert_eq!(error(&[slot(0, MORE, 60), slot(0, 0, 0)]), RxError::Empty);
}

#[test]
fn eighteen_slots_are_the_most() {
    let chain = |n: usize| {
        let mut slots = vec![slot(0, MORE, 100); n];
        slots[n - 1] = slot(0, 0, 100);
        feed(&slots)
    };
    assert_eq!(chain(18).1.unwrap().fragments, 18);
    for n in [19, 20, 256] {
        let (parts, packet) = chain(n);
        assert_eq!(packet, Err(RxError::TooManySlots));
        assert_eq!(
            parts.iter().filter(|p| matches!(p, Part::Data(_))).count(),
            18
        );
    }
}

#[test]
fn more_data_without_a_next_slot() {
    let mut assembler = Assembler::new(BOTH);
    assert_eq!(assembler.slot(slot(0, MORE, 60)).1, Progress::More);
    assert_eq!(assembler.cut_off(), Some(RxError::CutOff));
    // The next slot begins a packet.
    assert!(matches!(
        assembler.slot(slot(0, 0, 60)).1,
        Progress::End(Ok(_))
    ));
}

#[test]
fn missing_extra_info() {
    let mut assembler = Assembler::new(BOTH);
    assert_eq!(assembler.slot(slot(0, EXTRA, 60)).1, Progress::More);
    assert_eq!(assembler.cut_off(), Some(RxError::CutOff));
    assert_eq!(assembler.cut_off(), None);
}

#[test]
fn unknown_extras_are_refused() {
    for kind in [0, 2, 3, 6, 31, 32, 255] {
        assert_eq!(
            error(&[slot(0, EXTRA, 60), extra(kind, 0)]),
            RxError::BadExtra(kind)
        );
    }
}

#[test]
fn extras_chained_without_end() {
    let mut slots = vec![extra(extra_type::HASH, EXTRA_FLAG_MORE); 200];
    slots[0] = slot(0, EXTRA, 60);
    slots.push(extra(extra_type::HASH, 0));
    let (parts, packet) = feed(&slots);
    assert_eq!(packet, Err(RxError::BadExtra(extra_type::HASH)));
    assert!(parts[1..].iter().all(|p| *p == Part::Unused));
}

#[test]
fn bad_segmentation_is_refused() {
    let with = |raw| error(&[slot(0, EXTRA | BLANK, 60), raw]);
    assert_eq!(
        with(gso(GsoType::TcpV4, 0, 0)),
        RxError::BadGso(GsoError::ZeroSize)
    );
    let mut unknown = ExtraInfo::gso(GsoType::TcpV4, 1000);
    unknown.data[2] = 3;
    assert_eq!(
        with(unknown.encode_rx()),
        RxError::BadGso(GsoError::BadType)
    );

    let mut assembler = Assembler::new(GsoAccepted::default());
    assembler.slot(slot(0, EXTRA | BLANK, 60));
    assert_eq!(
        assembler.slot(gso(GsoType::TcpV4, 1000, 0)).1,
        Progress::End(Err(RxError::BadGso(GsoError::BadType)))
    );
}

#[test]
fn segmentation_without_blank_checksum_rebuilds_it() {
    for flags in [0, VALID] {
        let (_, packet) = feed(&[slot(0, EXTRA | flags, 60), gso(GsoType::TcpV6, 1000, 0)]);
        assert_eq!(packet.unwrap().checksum, Checksum::Rebuild);
    }
}

#[test]
fn gso_prefix_is_refused() {
    assert_eq!(
        error(&[slot(0, rx_flags::GSO_PREFIX, 60)]),
        RxError::GsoPrefix
    );
}

#[test]
fn nothing_is_carried_over_to_the_next_packet() {
    let mut assembler = Assembler::new(BOTH);
    assembler.slot(slot(0, EXTRA | BLANK, 60));
    assembler.slot(gso(GsoType::TcpV4, 1000, 0));
    assert_eq!(
        assembler.slot(slot(0, 0, 70)).1,
        Progress::End(Ok(RxPacket {
            len: 70,
            fragments: 1,
            first: Fragment { offset: 0, len: 70 },
            checksum: Checksum::Unknown,
            gso: None,
            hash: None
        }))
    );
}

#[test]
fn posted_pages_come_back_in_order() {
    let mut posted = Posted::new(vec![None; 4]);
    assert_eq!(posted.pop(), None);
    for round in 0..10 {
        for n in 0..4 {
            assert_eq!(posted.push(round * 4 + n), Ok(()));
        }
        assert_eq!(posted.push(99), Err(99));
        for n in 0..3 {
            assert_eq!(posted.pop(), Some(round * 4 + n));
        }
        assert_eq!(posted.held(), 1);
        assert_eq!(posted.pop(), Some(round * 4 + 3));
        assert_eq!(posted.pop(), None);
    }
    let mut none: Posted<u8, Vec<Option<u8>>> = Posted::new(vec![]);
    assert_eq!((none.push(1), none.pop()), (Err(1), None));
}
