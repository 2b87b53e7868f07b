// SPDX-License-Identifier: GPL-2.0

//! A disk's ring, its table of requests and what is made of responses, against a backend that writes what the fuzzer says.

#![no_main]

use abi::{
    block::{
        features::{Agreed, Offer, Wanted},
        geometry::{Described, Geometry},
        request::{Direction, Header, Operation, Request, Segment},
        response::Outcome,
        Ring,
    },
    ring::RSP_PROD,
    slots::{Slot, SlotTable},
    types::GrantRef,
};
use host_tests::peer::{Peer, Scribbler};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;

const SENT: [Operation; 5] = [
    Operation::Read,
    Operation::Write,
    Operation::Flush,
    Operation::Discard,
    Operation::Indirect,
];

/// Any number of the backend's makes a sane disk or none.
fn disk(bytes: &[u8]) {
    let mut numbers = bytes.chunks_exact(9).map(|chunk| {
        (chunk[0] % 4 != 0).then(|| u64::from_le_bytes(chunk[1..].try_into().unwrap()))
    });
    if let Ok(disk) = Geometry::check(&Described::read(|_| numbers.next().flatten())) {
        assert!(disk.sector_size().is_power_of_two() && disk.sector_size() >= 512);
        assert!(disk.physical_sector_size() >= disk.sector_size());
        assert_eq!(disk.sectors() % u64::from(disk.sector_size() / 512), 0);
    }
    let offer = Offer::read(|_| numbers.next().flatten());
    let wanted = Wanted {
        segments: 32,
        ring_order: 2,
        queues: 4,
        persistent: bytes.first().is_some_and(|byte| byte & 1 != 0),
        trusted: bytes.first().is_some_and(|byte| byte & 2 != 0),
    };
    let agreed = Agreed::settle(&offer, &wanted);
    assert!((1..=4).contains(&agreed.queues()));
    // A backend that may not see pages of requests never gets them.
    assert!(wanted.trusted || agreed.buffers());
}

fuzz_target!(|bytes: &[u8]| {
    disk(bytes);
    let Some((plan, bytes)) = bytes.split_at_checked(48) else {
        return;
    };
    let page = Peer::new(
        4096,
        Scribbler {
            input: bytes.iter().copied(),
            targets: &[RSP_PROD],
        },
    );
    // The responses that the ring will give are the fuzzer's too.
    page.with(|page| {
        for (to, from) in page[64..].iter_mut().zip(bytes.iter().rev()) {
            *to = *from;
        }
    });
    let mut ring: Ring<_> = Ring::new(&page).unwrap();
    let size = ring.size() as usize;
    let mut table = SlotTable::new((0..size).map(|_| Slot::new()).collect::<Vec<_>>());
    let mut open = BTreeSet::new();
    for (serial, step) in plan.iter().enumerate() {
        if step % 2 == 0 {
            let sent = SENT[usize::from(step / 2) % SENT.len()];
            if let Ok(id) = table.insert((serial, sent)) {
                let header = Header {
                    id: id.into(),
                    handle: 0,
                    sector: 0,
                };
                let segment = Segment::new(GrantRef(8), 0, 512).unwrap();
                let request = Request::direct(header, Direction::Read, &[segment]).unwrap();
                match ring.write(&request) {
                    Ok(_) => assert!(open.insert(serial)),
                    Err(_) => drop(table.take(id).unwrap()),
                }
            }
            let _ = ring.publish();
        } else {
            for _ in 0..size {
                let Ok(Some(response)) = ring.take() else {
                    break;
                };
                if let Ok((serial, sent)) = table.take(response.id()) {
                    assert!(open.remove(&serial), "completed twice");
                    if response.outcome(sent) == Ok(Outcome::NotSupported) {
                        assert!(!matches!(
                            sent,
                            Operation::Read | Operation::Write | Operation::Indirect
                        ));
                    }
                }
            }
        }
        assert_eq!(table.held(), open.len());
        assert_eq!(table.held() + table.free(), size);
    }
});
