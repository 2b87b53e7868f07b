// SPDX-License-Identifier: GPL-2.0

//! The network protocol against a hostile backend: transmit answers, and received slots in every combination.

use abi::{
    net::{
        gso::{GsoAccepted, GsoError, GsoType},
        rx::{Assembler, Checksum, Part, Posted, Progress, RxError},
        tx::{Answer, InFlight, Ledger, Sent, TxError},
        wire::{extra_type, rx_flags, status, ExtraInfo, RxResponse, TxResponse, EXTRA_FLAG_MORE},
        ETHERNET_HEADER, MAX_PACKET_SLOTS, PAGE_SIZE,
    },
    slots::{Slot, UnknownId},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

const BOTH: GsoAccepted = GsoAccepted { v4: true, v6: true };

type Tx = Ledger<u32, u32, Vec<Slot<Sent<u32>>>, Vec<Slot<InFlight<u32>>>>;

fn ledger(size: usize) -> Tx {
    Ledger::new(
        (0..size).map(|_| Slot::new()).collect(),
        (0..size).map(|_| Slot::new()).collect(),
    )
}

fn data(flags: u16, offset: u16, status: i16) -> [u8; 8] {
    RxResponse {
        id: 0,
        offset,
        flags,
        status,
    }
    .encode()
}

fn extra(kind: u8, flags: u8, data: [u8; 6]) -> [u8; 8] {
    ExtraInfo { kind, flags, data }.encode_rx()
}

/// What becomes of a packet of these slots.
fn packet(slots: &[[u8; 8]]) -> Progress {
    let mut assembler = Assembler::new(BOTH);
    let mut last = Progress::More;
    for (at, slot) in slots.iter().enumerate() {
        last = assembler.slot(*slot).1;
        assert!(
            last == Progress::More || at + 1 == slots.len(),
            "ended early: {last:?}"
        );
    }
    last
}

fn error(slots: &[[u8; 8]]) -> RxError {
    match packet(slots) {
        Progress::End(Err(error)) => {
            assert!(!error.to_string().is_empty());
            error
        }
        other => panic!("taken: {other:?}"),
    }
}

#[test]
fn offset_plus_length_past_the_page() {
    for (offset, len) in [
        (4096, 60),
        (4000, 97),
        (1, 4096),
        (u16::MAX, 1),
        (0, 4097),
        (u16::MAX, i16::MAX),
    ] {
        assert_eq!(error(&[data(0, offset, len)]), RxError::BeyondPage);
    }
    assert!(matches!(packet(&[data(0, 0, 4096)]), Progress::End(Ok(_))));
    assert!(matches!(packet(&[data(0, 4000, 96)]), Progress::End(Ok(_))));
}

#[test]
fn negative_status() {
    for bad in [-1, -2, -3, i16::MIN] {
        assert_eq!(error(&[data(0, 0, bad)]), RxError::Status(bad));
        let tail = [data(rx_flags::MORE_DATA, 0, 100), data(0, 0, bad)];
        assert_eq!(error(&tail), RxError::Status(bad));
    }
    assert_eq!(error(&[data(0, 0, 0)]), RxError::Empty);
}

#[test]
fn more_data_without_a_next_slot() {
    let mut assembler = Assembler::new(BOTH);
    assert_eq!(assembler.cut_off(), None);
    assert_eq!(
        assembler.slot(data(rx_flags::MORE_DATA, 0, 100)).1,
        Progress::More
    );
    assert_eq!(assembler.cut_off(), Some(RxError::CutOff));
    assert_eq!(assembler.cut_off(), None);
    assert!(
        matches!(assembler.slot(data(0, 0, 100)).1, Progress::End(Ok(_))),
        "the next packet is whole"
    );
}

#[test]
fn extra_info_missing() {
    let mut assembler = Assembler::new(BOTH);
    assert_eq!(
        assembler.slot(data(rx_flags::EXTRA_INFO, 0, 100)).1,
        Progress::More
    );
    assert_eq!(assembler.cut_off(), Some(RxError::CutOff));
}

#[test]
fn extra_info_of_unknown_type() {
    let first = data(rx_flags::EXTRA_INFO, 0, 100);
    let known = [extra_type::GSO, extra_type::HASH, extra_type::XDP];
    for kind in (0..=255).filter(|kind| !known.contains(kind)) {
        assert_eq!(
            error(&[first, extra(kind, 0, [1, 0, 1, 0, 0, 0])]),
            RxError::BadExtra(kind)
        );
    }
}

#[test]
fn extra_info_chained_without_end() {
    let mut assembler = Assembler::new(BOTH);
    assembler.slot(data(rx_flags::EXTRA_INFO, 0, 100));
    // As many as a ring holds; then the ring is dry.
    for _ in 0..256 {
        let chained = extra(extra_type::HASH, EXTRA_FLAG_MORE, [0; 6]);
        assert_eq!(assembler.slot(chained), (Part::Unused, Progress::More));
    }
    assert_eq!(
        assembler.cut_off(),
        Some(RxError::BadExtra(extra_type::HASH))
    );
}

#[test]
fn gso_with_size_0_or_an_unknown_type() {
    let first = data(rx_flags::EXTRA_INFO, 0, 100);
    let gso = |size: u16, kind| {
        let [low, high] = size.to_le_bytes();
        extra(extra_type::GSO, 0, [low, high, kind, 0, 0, 0])
    };
    assert_eq!(
        error(&[first, gso(0, 1)]),
        RxError::BadGso(GsoError::ZeroSize)
    );
    for kind in (0..=255).filter(|kind| ![1, 2].contains(kind)) {
        assert_eq!(
            error(&[first, gso(1448, kind)]),
            RxError::BadGso(GsoError::BadType)
        );
    }
    let mut nothing = Assembler::new(GsoAccepted::default());
    nothing.slot(first);
    assert_eq!(
        nothing.slot(gso(1448, 1)).1,
        Progress::End(Err(RxError::BadGso(GsoError::BadType)))
    );
    let Progress::End(Ok(good)) = packet(&[first, gso(1448, 2)]) else {
        panic!()
    };
    assert_eq!(good.gso.map(|gso| gso.kind), Some(GsoType::TcpV6));
    assert_eq!(
        good.checksum,
        Checksum::Rebuild,
        "nobody said that it was blank"
    );
}

#[test]
fn too_many_slots() {
    let more = data(rx_flags::MORE_DATA, 0, 100);
    let mut slots = vec![more; MAX_PACKET_SLOTS];
    slots.push(data(0, 0, 100));
    assert_eq!(error(&slots), RxError::TooManySlots);
    slots.remove(0);
    let Progress::End(Ok(most)) = packet(&slots) else {
        panic!("18 slots are allowed")
    };
    assert_eq!(
        (most.fragments, most.len),
        (MAX_PACKET_SLOTS, 100 * MAX_PACKET_SLOTS)
    );
}

#[test]
fn first_slot_shorter_than_a_header() {
    for len in 1..ETHERNET_HEADER as i16 {
        assert_eq!(error(&[data(0, 0, len)]), RxError::ShortHeader);
        assert_eq!(
            error(&[data(rx_flags::MORE_DATA, 0, len), data(0, 0, 100)]),
            RxError::ShortHeader
        );
    }
    assert!(matches!(packet(&[data(0, 0, 14)]), Progress::End(Ok(_))));
}

#[test]
fn gso_prefix_was_not_agreed_on() {
    assert_eq!(
        error(&[data(rx_flags::GSO_PREFIX, 0, 100)]),
        RxError::GsoPrefix
    );
}

#[test]
fn transmit_id_out_of_range_never_sent_or_answered_twice() {
    let mut ledger = ledger(4);
    let packet = ledger.begin(7).unwrap();
    let id = ledger.slot(packet, 100).unwrap();
    let answer = |id| TxResponse {
        id,
        status: status::OKAY,
    };
    for wrong in [4, 256, 0xffff] {
        let error = ledger
            .answer(answer(wrong), |_, _| panic!("ended a grant"))
            .unwrap_err();
        assert_eq!(error, TxError::Unknown(wrong, UnknownId::OutOfRange));
    }
    for never in (0..4).filter(|n| *n != id) {
        let error = ledger
            .answer(answer(never), |_, _| panic!("ended a grant"))
            .unwrap_err();
        assert_eq!(error, TxError::Unknown(never, UnknownId::NotHeld));
    }
    let done = ledger.answer(answer(id), |grant, _| assert_eq!(grant, 100));
    assert_eq!(
        done,
        Ok(Answer::Packet {
            packet: 7,
            sent: true
        })
    );
    assert!(ledger.answer(answer(id), |_, _| panic!("twice")).is_err());
}

#[test]
fn null_status_on_a_data_slot_ends_no_grant() {
    let mut ledger = ledger(4);
    let packet = ledger.begin(7).unwrap();
    let id = ledger.slot(packet, 100).unwrap();
    let null = TxResponse {
        id,
        status: status::NULL,
    };
    assert_eq!(ledger.answer(null, |_, _| panic!()), Err(TxError::NoExtra));
    ledger.extra();
    assert_eq!(ledger.answer(null, |_, _| panic!()), Ok(Answer::Extra));
    assert_eq!(ledger.answer(null, |_, _| panic!()), Err(TxError::NoExtra));
    assert_eq!(ledger.outstanding(), 1);
    for bad in [status::ERROR, status::DROPPED, -77, 2, i16::MAX] {
        let mut copy = self::ledger(1);
        let packet = copy.begin(7).unwrap();
        let id = copy.slot(packet, 1).unwrap();
        let answer = copy.answer(TxResponse { id, status: bad }, |_, _| {});
        assert_eq!(
            answer,
            Ok(Answer::Packet {
                packet: 7,
                sent: false
            }),
            "status {bad}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the backend answers: each grant ends once, each packet is given back once after its last grant, and the
    /// ids add up.
    #[test]
    fn hostile_answers_end_each_grant_once(
        plan in prop::collection::vec((0u8..3, 0u16..20, -3i16..4), 0..400),
    ) {
        const SIZE: usize = 16;
        let mut ledger = ledger(SIZE);
        let (mut grants, mut packets, mut extras) = (BTreeSet::new(), BTreeSet::new(), 0u32);
        let mut serial = 0;
        for (kind, number, status) in plan {
            match kind {
                0 => {
                    serial += 1;
                    let slots = usize::from(number % 4) + 1;
                    if ledger.free() >= slots {
                        let id = ledger.begin(serial).unwrap();
                        packets.insert(serial);
                        for _ in 0..slots {
                            serial += 1;
                            ledger.slot(id, serial).unwrap();
                            grants.insert(serial);
                        }
                    }
                }
                1 if ledger.outstanding() < SIZE => { ledger.extra(); extras += 1; }
                1 => {}
                _ => match ledger.answer(TxResponse { id: number, status }, |grant, packet| {
                    assert!(grants.remove(&grant), "grant ended twice");
                    assert!(packets.contains(packet), "packet is gone already");
                }) {
                    Ok(Answer::Extra) => extras -= 1,
                    Ok(Answer::Packet { packet, .. }) => prop_assert!(packets.remove(&packet)),
                    Ok(Answer::Slot { .. }) | Err(_) => {}
                },
            }
            prop_assert_eq!(ledger.outstanding(), grants.len() + extras as usize);
            prop_assert_eq!(ledger.packets(), packets.len());
            prop_assert!(ledger.free() <= SIZE - grants.len());
        }
        ledger.abandon(|grant, _| assert!(grants.remove(&grant)), |packet| assert!(packets.remove(&packet)));
        prop_assert!(grants.is_empty() && packets.is_empty());
        prop_assert_eq!((ledger.outstanding(), ledger.free()), (0, SIZE));
    }

    /// Any slots at all: what is taken lies inside its pages, adds up and is small enough.
    #[test]
    fn hostile_slots_make_no_bad_packet(slots in prop::collection::vec(any::<[u8; 8]>(), 0..200)) {
        let mut assembler = Assembler::new(BOTH);
        let (mut len, mut fragments, mut first) = (0, 0, None);
        for mut slot in slots {
            // Without this nearly every status is an error.
            slot[7] &= 0x1f;
            let (part, progress) = assembler.slot(slot);
            if let Part::Data(fragment) = part {
                prop_assert!(fragment.len() > 0 && fragment.offset() + fragment.len() <= PAGE_SIZE);
                len += fragment.len();
                fragments += 1;
                first.get_or_insert(fragment);
            }
            if let Progress::End(end) = progress {
                if let Ok(packet) = end {
                    // What was left free before the data does not count.
                    let whole = first.unwrap();
                    let room = packet.first.offset() - whole.offset();
                    prop_assert_eq!(packet.first.len() + room, whole.len());
                    prop_assert_eq!((packet.len, packet.fragments), (len - room, fragments));
                    prop_assert!(fragments <= MAX_PACKET_SLOTS && packet.len >= ETHERNET_HEADER);
                    prop_assert!(packet.gso.is_none() || packet.checksum != Checksum::Unknown);
                }
                (len, fragments, first) = (0, 0, None);
            }
        }
    }

    /// Pages come back in the order in which they were lent, and only those that were.
    #[test]
    fn posted_pages_are_a_queue(plan in prop::collection::vec(any::<bool>(), 0..500), size in 0usize..9) {
        let mut posted = Posted::new((0..size).map(|_| None).collect::<Vec<Option<u32>>>());
        let mut model = std::collections::VecDeque::new();
        for (n, push) in plan.into_iter().enumerate() {
            let n = n as u32;
            if push {
                let full = model.len() == size;
                prop_assert_eq!(posted.push(n), if full { Err(n) } else { Ok(()) });
                if !full { model.push_back(n); }
            } else {
                prop_assert_eq!(posted.pop(), model.pop_front());
            }
            prop_assert_eq!(posted.held(), model.len());
        }
    }
}

#[test]
fn slot_with_no_buffer_posted() {
    let mut posted = Posted::new(vec![None::<u8>; 4]);
    assert_eq!(posted.pop(), None);
    posted.push(1).unwrap();
    assert_eq!((posted.pop(), posted.pop()), (Some(1), None));
}
