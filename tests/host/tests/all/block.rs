// SPDX-License-Identifier: GPL-2.0

//! The block protocol end to end over a ring: a hostile backend against the slot table and the judgement of responses.

use abi::{
    block::{
        request::{Direction, Header, Operation, Request, Segment},
        response::{Outcome, Response},
        Ring,
    },
    ring::{REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD},
    shared::bytes_of,
    slots::{Slot, SlotTable, UnknownId},
    types::GrantRef,
};
use host_tests::peer::{Peer, Scribbler};
use proptest::prelude::*;
use std::collections::BTreeMap;

const OPERATIONS: [Operation; 6] = [
    Operation::Read,
    Operation::Write,
    Operation::WriteBarrier,
    Operation::Flush,
    Operation::Discard,
    Operation::Indirect,
];

#[test]
fn wrong_operation_in_a_response() {
    for sent in OPERATIONS {
        for code in 0..=255u8 {
            let judged = Response::forge(1, code, 0).outcome(sent);
            assert_eq!(
                judged.is_ok(),
                code == sent.code(),
                "{sent:?} answered as {code}"
            );
        }
    }
}

#[test]
fn null_or_error_status_on_any_kind_of_request() {
    for sent in OPERATIONS {
        for status in i16::MIN..=i16::MAX {
            let outcome = Response::forge(1, sent.code(), status)
                .outcome(sent)
                .unwrap();
            let wanted = match (status, sent) {
                (0, _) => Outcome::Done,
                (-2, Operation::Flush | Operation::WriteBarrier | Operation::Discard) => {
                    Outcome::NotSupported
                }
                // -1, and every status that is unknown.
                _ => Outcome::Failed,
            };
            assert_eq!(outcome, wanted, "status {status} for {sent:?}");
        }
    }
}

#[test]
fn id_out_of_range_never_sent_or_completed_twice() {
    let mut table: SlotTable<u8, _> =
        SlotTable::new((0..32).map(|_| Slot::new()).collect::<Vec<_>>());
    let id = table.insert(9).unwrap();
    for wrong in [32, 33, 255, 0x1_0000, u64::MAX, u64::from(id) | 1 << 32] {
        assert_eq!(table.take(wrong), Err(UnknownId::OutOfRange));
    }
    for never in (0..32u64).filter(|n| *n != u64::from(id)) {
        assert_eq!(table.take(never), Err(UnknownId::NotHeld));
    }
    assert_eq!(table.take(id), Ok(9));
    assert_eq!(table.take(id), Err(UnknownId::NotHeld));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Each request completes at most once, and ids of the peer plus free ids are always the whole table.
    #[test]
    fn hostile_backend_completes_each_request_at_most_once(
        bytes in prop::collection::vec(any::<u8>(), 0..6000),
        answers in prop::collection::vec((0u64..40, 0u8..8, -3i16..3), 0..60),
        plan in prop::collection::vec(0u8..3, 0..200),
    ) {
        let targets: &[usize] = &[REQ_PROD, REQ_EVENT, RSP_PROD, RSP_EVENT, RSP_PROD];
        let page = Peer::new(4096, Scribbler { input: bytes.into_iter(), targets });
        let mut ring: Ring<_> = Ring::new(&page).unwrap();
        let size = ring.size() as usize;
        let mut table = SlotTable::new((0..size).map(|_| Slot::new()).collect::<Vec<_>>());
        let mut open = BTreeMap::new();
        let mut serial = 0u32;
        let mut answers = answers.into_iter().cycle();
        for step in plan {
            match step {
                0 => {
                    if let Ok(id) = table.insert((serial, Operation::Read)) {
                        prop_assert_eq!(open.insert(serial, u64::from(id)), None);
                        let header = Header { id: id.into(), handle: 0, sector: 0 };
                        let segment = Segment::new(GrantRef(8), 0, 512).unwrap();
                        let request = Request::direct(header, Direction::Read, &[segment]).unwrap();
                        if ring.write(&request).is_err() {
                            table.take(id).unwrap();
                            open.remove(&serial);
                        }
                        serial += 1;
                    }
                    let _ = ring.publish();
                }
                1 => {
                    // Something that may be an answer, where the next one will be read.
                    if let Some((id, operation, status)) = answers.next() {
                        let response = Response::forge(id, operation, status);
                        page.with(|page| {
                            for slot in 0..size {
                                let at = 64 + slot * 112;
                                page[at..at + 16].copy_from_slice(bytes_of(&response));
                            }
                        });
                    }
                }
                _ => {
                    for _ in 0..size {
                        let Ok(Some(response)) = ring.take() else { break };
                        if let Ok((serial, sent)) = table.take(response.id()) {
                            prop_assert!(open.remove(&serial).is_some(), "completed twice");
                            let _ = response.outcome(sent);
                        }
                    }
                }
            }
            prop_assert_eq!(table.held(), open.len());
            prop_assert_eq!(table.held() + table.free(), size);
        }
    }

    /// A segment that is made lies inside its page, whatever was asked for.
    #[test]
    fn segments_lie_inside_the_page(offset: u32, len: u32, small in 0u32..9000, short in 0u32..9000) {
        for (offset, len) in [(offset, len), (small, short), (small / 512 * 512, short / 512 * 512)] {
            let fits = len != 0 && offset % 512 == 0 && len % 512 == 0 && u64::from(offset) + u64::from(len) <= 4096;
            let segment = Segment::new(GrantRef(1), offset, len);
            prop_assert_eq!(segment.is_some(), fits);
            if let Some(segment) = segment {
                prop_assert!(segment.first_sect <= segment.last_sect && segment.last_sect < 8);
                prop_assert_eq!(u32::from(segment.last_sect - segment.first_sect + 1) * 512, len);
            }
        }
    }
}

#[test]
fn too_many_segments_are_refused() {
    let header = Header {
        id: 0,
        handle: 0,
        sector: 0,
    };
    let segments = [Segment::EMPTY; 12];
    assert!(Request::direct(header, Direction::Write, &segments[..11]).is_some());
    assert!(Request::direct(header, Direction::Write, &segments).is_none());
    assert!(Request::direct(header, Direction::Write, &[]).is_none());
    assert!(Request::indirect(header, Direction::Read, 513, &[GrantRef(8)]).is_none());
    assert!(Request::indirect(header, Direction::Read, 512, &[GrantRef(8)]).is_some());
    assert!(Request::indirect(header, Direction::Read, 1, &[GrantRef(8); 9]).is_none());
    assert!(Request::indirect(header, Direction::Read, 0, &[GrantRef(8)]).is_none());
}
