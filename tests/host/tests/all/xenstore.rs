// SPDX-License-Identifier: GPL-2.0

//! The xenstore: its ring, its messages and its values, from a server that sends anything.

use abi::xenstore::{
    directory::{Malformed, Names, Part},
    error::StoreError,
    path::{is_valid, DevicePath},
    replies::{Full, Outstanding, Reply, Slot},
    ring::{Broken, Ring, RING_SIZE},
    shares::User,
    stream::{Assembler, TooLong},
    value::{parse_u32, parse_u64, BadNumber},
    watch::{Token, WatchEvent},
    wire::{Header, Kind, PAYLOAD_MAX},
};
use host_tests::peer::{Idle, Peer, Scribbler};
use proptest::prelude::*;
use std::collections::BTreeMap;

pub(crate) const REQ_CONS: usize = 2048;
pub(crate) const REQ_PROD: usize = 2052;
pub(crate) const RSP_CONS: usize = 2056;
pub(crate) const RSP_PROD: usize = 2060;

#[test]
fn ring_indices_further_apart_than_1024() {
    for far in [1025, 2048, 0x8000_0000, u32::MAX] {
        let page = Peer::new(4096, Idle);
        let mut ring = Ring::new(&page);
        page.poke(RSP_PROD, far);
        assert_eq!(
            ring.read(&mut [0; 8]),
            Err(Broken::Replies {
                producer: far,
                consumer: 0
            })
        );
        assert_eq!(page.peek(RSP_CONS), 0);
        assert!(ring.has_input(), "there is something to complain about");
    }
    for far in [1, 100, 0x8000_0000, 0u32.wrapping_sub(1025)] {
        let page = Peer::new(4096, Idle);
        let mut ring = Ring::new(&page);
        page.poke(REQ_CONS, far);
        assert_eq!(
            ring.write(b"x"),
            Err(Broken::Requests {
                producer: 0,
                consumer: far
            })
        );
        assert_eq!(page.peek(REQ_PROD), 0);
    }
}

#[test]
fn message_length_over_4096() {
    for length in [PAYLOAD_MAX as u32 + 1, 0x8000_0000, u32::MAX] {
        let head = Header {
            kind: 2,
            request: 1,
            transaction: 0,
            length,
        }
        .encode();
        let mut assembler = Assembler::new([0; 4096]);
        let mut source = head.iter();
        let mut feed = |into: &mut [u8]| {
            let mut count = 0;
            for (to, from) in into.iter_mut().zip(source.by_ref()) {
                *to = *from;
                count += 1;
            }
            count
        };
        assert_eq!(assembler.step(&mut feed), Err(TooLong(length)));
        assert_eq!(assembler.step(|_| panic!("read on")), Err(TooLong(length)));
        assembler.reset();
        assert!(!assembler.is_midway());
        assert_eq!(assembler.step(|_| 0), Ok(None));
    }
}

fn add<T>(sent: &mut Outstanding<T, [Slot<T>; 4]>, owner: T) -> Result<u32, Full> {
    let place = sent.reserve(User::Kernel)?;
    Ok(sent.insert(place, Kind::Read.number(), owner))
}

#[test]
fn unknown_req_id() {
    let mut sent: Outstanding<u8, [Slot<u8>; 4]> = Outstanding::new(Default::default(), 10);
    let number = add(&mut sent, 1).unwrap();
    let head = |request| Header {
        kind: Kind::Read.number(),
        request,
        transaction: 0,
        length: 0,
    };
    for never in [0, 9, 11, 12, u32::MAX] {
        assert_eq!(sent.complete(&head(never)), Reply::Unknown);
    }
    assert_eq!(sent.complete(&head(number)), Reply::Answer(1));
    assert_eq!(sent.complete(&head(number)), Reply::Late, "answered twice");
}

#[test]
fn reply_type_mismatch() {
    for kind in (0..40).filter(|kind| ![2, 16].contains(kind)) {
        let mut sent: Outstanding<u8, [Slot<u8>; 4]> = Outstanding::new(Default::default(), 1);
        let request = add(&mut sent, 1).unwrap();
        let head = Header {
            kind,
            request,
            transaction: 0,
            length: 0,
        };
        assert_eq!(sent.complete(&head), Reply::Mismatch(1, kind));
        assert_eq!(sent.usage(), (0, 0));
    }
}

#[test]
fn watch_event_without_two_strings() {
    for body in [
        &b""[..],
        b"\0",
        b"a",
        b"a\0",
        b"a\0b",
        b"\0b\0",
        b"a\0b\0c",
        b"a\0b\0c\0",
        b"\0\0",
    ] {
        assert!(WatchEvent::parse(body).is_err(), "{body:?}");
    }
    assert_eq!(
        WatchEvent::parse(b"a\0b\0").map(|e| (e.path, e.token)),
        Ok((&b"a"[..], &b"b"[..]))
    );
}

#[test]
fn unknown_token() {
    for text in [
        "",
        "0",
        "000000000000000g",
        "00000000000000001",
        "-000000000000001",
        "000000000000000A",
    ] {
        assert_eq!(Token::decode(text.as_bytes()), None, "{text}");
    }
    for number in [0, 1, 0xabcdef, u64::MAX] {
        assert_eq!(Token::decode(&Token(number).encode()), Some(Token(number)));
    }
}

#[test]
fn unterminated_directory() {
    assert_eq!(
        Names::parse(b"a\0bc").map(|_| ()),
        Err(Malformed::Unterminated)
    );
    assert_eq!(
        Part::parse(b"7\0a\0bc").map(|_| ()),
        Err(Malformed::Unterminated)
    );
    assert_eq!(Part::parse(b"7").map(|_| ()), Err(Malformed::NoGeneration));
    assert_eq!(Part::parse(b"7\0").map(|_| ()), Err(Malformed::NoProgress));
    assert_eq!(Names::parse(b"").unwrap().count(), 0);
    assert_eq!(
        Names::parse(b"\0\0a\0").unwrap().collect::<Vec<_>>(),
        [b"a"]
    );
}

#[test]
fn numeric_keys_empty_negative_huge_or_with_trailing_text() {
    assert_eq!(parse_u64(b""), Err(BadNumber::Empty));
    assert_eq!(parse_u64(b"-1"), Err(BadNumber::Negative));
    assert_eq!(parse_u64(b"-"), Err(BadNumber::NotADigit(0)));
    assert_eq!(parse_u64(b"18446744073709551615"), Ok(u64::MAX));
    assert_eq!(parse_u64(b"18446744073709551616"), Err(BadNumber::TooLarge));
    assert_eq!(parse_u64(&[b'9'; 4000]), Err(BadNumber::TooLarge));
    assert_eq!(parse_u32(b"4294967296"), Err(BadNumber::TooLarge));
    assert_eq!(parse_u32(b"12 "), Err(BadNumber::NotADigit(2)));
    assert_eq!(parse_u32(b"12x"), Err(BadNumber::NotADigit(2)));
    assert_eq!(parse_u32(b"0x12"), Err(BadNumber::NotADigit(1)));
    assert_eq!(parse_u32(b" 12"), Err(BadNumber::NotADigit(0)));
    assert_eq!(parse_u32(b"12\0"), Err(BadNumber::NotADigit(2)));
}

#[test]
fn every_error_string() {
    for error in StoreError::ALL {
        let text = error.as_text().as_bytes();
        assert_eq!(StoreError::parse(text), Some(*error));
        assert_eq!(StoreError::parse(&[text, b"\0"].concat()), Some(*error));
        for end in 0..text.len() {
            let cut = StoreError::parse(&text[..end]);
            assert!(cut.is_none_or(|other| other.as_text().len() == end));
        }
        assert_eq!(StoreError::parse(&[text, b"\0\0"].concat()), None);
        assert_eq!(StoreError::parse(&[text, b"x"].concat()), None);
        assert!(error.errno() > 0);
    }
    for unknown in ["", "EWHATEVER", "einval", "0", "\0"] {
        assert_eq!(StoreError::parse(unknown.as_bytes()), None);
    }
}

/// Cuts `bytes` into pieces of these sizes and gives them to the assembler; returns the messages.
fn assemble(bytes: &[u8], mut sizes: impl Iterator<Item = usize>) -> Vec<(Header, Vec<u8>)> {
    let mut assembler = Assembler::new([0; 4096]);
    let mut rest = bytes;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let mut left = sizes.next().unwrap_or(1000).clamp(1, rest.len());
        while let Some(message) = assembler
            .step(|into| {
                let count = left.min(into.len());
                into[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                left -= count;
                count
            })
            .unwrap()
        {
            all.push((message.header, message.body.to_vec()));
        }
    }
    all
}

prop_compose! {
    fn message()(kind: u32, request: u32, transaction: u32, body in prop::collection::vec(any::<u8>(), 0..300))
        -> (Header, Vec<u8>) {
        (Header { kind, request, transaction, length: body.len() as u32 }, body)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What is written comes out again, whatever the pieces; and cut off anywhere it gives the whole messages before.
    #[test]
    fn messages_round_trip_and_are_cut_anywhere(
        messages in prop::collection::vec(message(), 0..6),
        sizes in prop::collection::vec(1usize..40, 0..200),
        cut in 0usize..2000,
    ) {
        let bytes: Vec<u8> =
            messages.iter().flat_map(|(head, body)| [&head.encode()[..], body].concat()).collect();
        prop_assert_eq!(&assemble(&bytes, sizes.iter().copied()), &messages);
        let cut = cut.min(bytes.len());
        let whole = assemble(&bytes[..cut], sizes.into_iter());
        prop_assert!(messages.starts_with(&whole));
        let used: usize = whole.iter().map(|(_, body)| 16 + body.len()).sum();
        prop_assert!(cut - used < messages.get(whole.len()).map_or(1, |(_, body)| 16 + body.len()));
    }

    #[test]
    fn header_round_trips(kind: u32, request: u32, transaction: u32, length: u32) {
        let head = Header { kind, request, transaction, length };
        prop_assert_eq!(Header::decode(&head.encode()), head);
    }

    /// Parsers take anything without a panic, and what they give lies in what they got.
    #[test]
    fn parsers_take_anything(body in prop::collection::vec(prop_oneof![Just(0u8), Just(b'/'), Just(b'1'), any::<u8>()], 0..80)) {
        if let Ok(names) = Names::parse(&body) {
            prop_assert!(names.clone().all(|name| !name.is_empty() && !name.contains(&0)));
        }
        if let Ok(part) = Part::parse(&body) {
            prop_assert!(part.advance <= body.len() && (part.last || part.advance > 0));
            prop_assert!(!part.generation.is_empty());
        }
        if let Ok(event) = WatchEvent::parse(&body) {
            prop_assert_eq!(event.path.len() + event.token.len() + 2, body.len());
        }
        let _ = StoreError::parse(&body);
        let _ = Token::decode(&body);
        if let Some(path) = DevicePath::parse(&body) {
            prop_assert!(path.kind.len() <= 64);
        }
        if is_valid(&body) {
            prop_assert!(!body.contains(&0));
        }
    }

    #[test]
    fn numbers_round_trip(number: u64, zeroes in 0usize..5) {
        let text = format!("{}{number}", "0".repeat(zeroes));
        prop_assert_eq!(parse_u64(text.as_bytes()), Ok(number));
        prop_assert_eq!(parse_u32(text.as_bytes()).ok(), u32::try_from(number).ok());
    }

    /// A server that writes anything into the page: what is moved fits, and one call's work is bounded by it.
    #[test]
    fn hostile_server(
        bytes in prop::collection::vec(any::<u8>(), 0..4000),
        plan in prop::collection::vec((any::<bool>(), 0usize..2000), 0..20),
    ) {
        let targets: &[usize] = &[REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD];
        let page = Peer::new(4096, Scribbler { input: bytes.into_iter(), targets });
        let mut ring = Ring::new(&page);
        for (write, len) in plan {
            let before = page.accesses();
            let mut buffer = vec![1; len];
            let moved = if write { ring.write(&buffer) } else { ring.read(&mut buffer) };
            let moved = moved.map_or(0, |moved| moved.bytes);
            prop_assert!(moved <= len && moved <= RING_SIZE as usize);
            prop_assert!(page.accesses() - before <= moved as u64 + 5);
        }
    }

    /// An honest server at the other end: the bytes come through, and nobody waits for an event that is not sent.
    #[test]
    fn bytes_pass_in_order(plan in prop::collection::vec((0u8..4, 1usize..1500), 0..60), start: u32) {
        let page = Peer::new(4096, Idle);
        for index in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] { page.poke(index, start); }
        let mut ring = Ring::new(&page);
        let (mut sent, mut arrived, mut served, mut got) = (0u32, 0u32, 0u32, 0u32);
        for (kind, len) in plan {
            match kind {
                0 => {
                    let bytes: Vec<u8> = (0..len as u32).map(|n| (sent + n) as u8).collect();
                    sent += ring.write(&bytes).unwrap().bytes as u32;
                }
                1 => while arrived < sent && (arrived % 7 != 6 || len > 700) {
                    let at = start.wrapping_add(arrived) % RING_SIZE;
                    prop_assert_eq!(page.with(|page| page[at as usize]), arrived as u8);
                    arrived += 1;
                    page.poke(REQ_CONS, start.wrapping_add(arrived));
                },
                2 => for _ in 0..len {
                    if served - got == RING_SIZE { break; }
                    let at = 1024 + start.wrapping_add(served) % RING_SIZE;
                    page.with(|page| page[at as usize] = served as u8);
                    served += 1;
                    page.poke(RSP_PROD, start.wrapping_add(served));
                },
                _ => {
                    let full = served - got == RING_SIZE;
                    let mut into = vec![0; len];
                    let moved = ring.read(&mut into).unwrap();
                    for byte in &into[..moved.bytes] {
                        prop_assert_eq!(*byte, got as u8);
                        got += 1;
                    }
                    prop_assert_eq!(moved.notify, full, "a server that found the ring full waits for room");
                }
            }
            prop_assert!(sent - arrived <= RING_SIZE && got <= served);
        }
    }

    /// Every request is answered once, refused once or given up once, whatever the replies.
    #[test]
    fn each_request_ends_once(plan in prop::collection::vec((0u8..4, 0u32..12, 0u32..24), 0..300)) {
        let mut sent: Outstanding<u32, [Slot<u32>; 4]> = Outstanding::new(Default::default(), u32::MAX - 20);
        let mut open = BTreeMap::new();
        let mut serial = 0;
        for (kind, number, reply) in plan {
            let number = (u32::MAX - 20).wrapping_add(serial).wrapping_sub(number);
            match kind {
                0 | 1 => match add(&mut sent, serial) {
                    Ok(number) => { open.insert(serial, number); serial += 1; }
                    Err(_) => prop_assert_eq!(open.len(), 4),
                },
                2 => if let Some(owner) = sent.abandon(number) {
                    prop_assert_eq!(open.remove(&owner), Some(number));
                },
                _ => match sent.complete(&Header { kind: reply, request: number, transaction: 0, length: 0 }) {
                    Reply::Answer(owner) => { prop_assert_eq!(reply, 2); prop_assert_eq!(open.remove(&owner), Some(number)); }
                    Reply::Refusal(owner) => { prop_assert_eq!(reply, 16); prop_assert_eq!(open.remove(&owner), Some(number)); }
                    Reply::Mismatch(owner, _) => { prop_assert!(reply != 2 && reply != 16); prop_assert_eq!(open.remove(&owner), Some(number)); }
                    Reply::Late | Reply::Unknown => prop_assert!(!open.values().any(|open| *open == number)),
                },
            }
            prop_assert_eq!(sent.usage().0, open.len());
            prop_assert!(sent.usage().0 + sent.usage().1 <= 4);
        }
        while let Some(owner) = sent.take_any() {
            prop_assert!(open.remove(&owner).is_some());
        }
        prop_assert!(open.is_empty());
    }
}
