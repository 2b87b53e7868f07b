// SPDX-License-Identifier: GPL-2.0

//! Shared rings: against Xen's own macros as the other end, and against an end that writes anything.

use abi::ring::{Broken, FrontRing, REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD};
use abi::shared::{Memory, RawMemory};
use host_tests::{
    peer::{Access, Idle, Peer, Scribbler},
    xen::Oracle,
};
use proptest::prelude::*;
use std::{cell::Cell, ptr::NonNull, rc::Rc};

type Ring<M> = FrontRing<u64, u64, M>;

/// Indices to begin at: the start, ordinary ones, and the wrap-around.
fn start() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        any::<u32>(),
        (0u32..300).prop_map(|n| n.wrapping_sub(300))
    ]
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Write,
    Publish,
    Take,
    Arm,
    BackTake,
    BackWrite,
    BackPublish,
    BackArm,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    use Move::*;
    prop::collection::vec(
        prop::sample::select(vec![
            Write,
            Write,
            Publish,
            Take,
            Take,
            Arm,
            BackTake,
            BackTake,
            BackWrite,
            BackWrite,
            BackPublish,
            BackArm,
        ]),
        0..600,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Our front end and Xen's do the same, step by step: the same answers, the same bytes in the page.
    #[test]
    fn front_end_is_the_one_of_xens_macros(moves in moves(), by in start()) {
        let mut ours = vec![0u64; 512];
        let mut theirs = vec![0u64; 512];
        let base = NonNull::new(ours.as_mut_ptr().cast::<u8>()).unwrap();
        // SAFETY: Aligned; both vectors outlive what uses them, and are only used through it.
        let (memory, mut honest, mut oracle) = unsafe { (
            RawMemory::new(base, 4096),
            Oracle::new(base.as_ptr(), 4096, 0),
            Oracle::new(theirs.as_mut_ptr().cast(), 4096, by),
        ) };
        let mut ring = Ring::new(&memory).unwrap();
        prop_assert_eq!(ring.size(), oracle.slots());
        ring.start_at(by);
        // The honest back end on our page takes part from here on.
        honest.attach_back(by);
        let (mut value, mut taken) = (0u64, 0u32);
        let mut published = 0u32;
        for step in moves {
            match step {
                Move::Write => {
                    prop_assert_eq!(ring.free(), oracle.front_free());
                    prop_assert_eq!(ring.free() == 0, oracle.front_full());
                    value += 1;
                    if ring.write(&value).is_ok() {
                        oracle.front_write(value);
                    }
                }
                Move::Publish => prop_assert_eq!(ring.publish(), oracle.front_publish()),
                Move::Take => prop_assert_eq!(ring.take().unwrap(), oracle.front_take()),
                Move::Arm => {
                    // Xen's macro leaves the wish as it is while responses are there; ours states it. Callers take
                    // all first.
                    while let Some(response) = oracle.front_take() {
                        prop_assert_eq!(ring.take().unwrap(), Some(response));
                    }
                    prop_assert_eq!(ring.arm(1).unwrap(), oracle.front_arm());
                }
                Move::BackTake => {
                    let request = oracle.back_take();
                    prop_assert_eq!(honest.back_take(), request);
                    taken += u32::from(request.is_some());
                }
                Move::BackWrite if published < taken => {
                    published += 1;
                    honest.back_write(value ^ 0xff);
                    oracle.back_write(value ^ 0xff);
                }
                Move::BackWrite => {}
                Move::BackPublish => prop_assert_eq!(honest.back_publish(), oracle.back_publish()),
                Move::BackArm => prop_assert_eq!(honest.back_arm(), oracle.back_arm()),
            }
            for index in [REQ_PROD, REQ_EVENT, RSP_PROD, RSP_EVENT] {
                let theirs = theirs[index / 8] >> (index % 8 * 8) as u32;
                prop_assert_eq!(memory.load_u32(index), theirs as u32, "{:?} index at {}", step, index);
            }
        }
    }

    /// Whatever the other end writes and when: no panic, no access outside, no more answers than requests, and the
    /// work of one call is bounded.
    #[test]
    fn hostile_peer_gets_no_more_answers_than_requests(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        plan in prop::collection::vec(0u8..4, 0..300),
    ) {
        let scribbler = Scribbler { input: bytes.into_iter(), targets: &[REQ_PROD, REQ_EVENT, RSP_PROD, RSP_EVENT] };
        let page = Peer::new(4096, scribbler);
        let mut ring = Ring::new(&page).unwrap();
        let (mut written, mut published, mut taken) = (0u64, 0u64, 0u64);
        for step in plan {
            let before = page.accesses();
            match step {
                0 => written += u64::from(ring.write(&7).is_ok()),
                1 => {
                    let _ = ring.publish();
                    published = written;
                }
                2 => taken += u64::from(matches!(ring.take(), Ok(Some(_)))),
                _ => drop(ring.arm(1)),
            }
            prop_assert!(taken <= published && published <= written);
            prop_assert!(written - taken <= u64::from(ring.size()));
            prop_assert_eq!(u64::from(ring.free()), u64::from(ring.size()) - (written - taken));
            prop_assert!(page.accesses() - before <= 11, "work of one call");
        }
    }
}

/// A ring with `sent` requests published, and the page.
fn with_sent(sent: u32, test: impl FnOnce(Ring<&Peer<Idle>>, &Peer<Idle>)) {
    let page = Peer::new(4096, Idle);
    let mut ring = Ring::new(&page).unwrap();
    for _ in 0..sent {
        ring.write(&1).unwrap();
    }
    let _ = ring.publish();
    test(ring, &page);
}

#[test]
fn producer_beyond_ring_size() {
    for far in [4, 256, 257, 1000, 0x8000_0000, u32::MAX] {
        with_sent(3, |mut ring, page| {
            page.poke(RSP_PROD, far);
            let broken = Broken {
                rsp_prod: far,
                rsp_cons: 0,
                outstanding: 3,
            };
            assert_eq!(ring.take(), Err(broken));
            assert_eq!(ring.arm(1), Err(broken));
            assert!(broken.to_string().contains("3 requests"));
        });
    }
}

#[test]
fn producer_going_backwards() {
    with_sent(5, |mut ring, page| {
        page.poke(RSP_PROD, 4);
        assert!(ring.take().unwrap().is_some());
        for back in [0, 1, 3, u32::MAX] {
            page.poke(RSP_PROD, back);
            assert!(ring.arm(1).is_err(), "back to {back}");
        }
    });
}

#[test]
fn response_for_a_request_not_yet_pushed() {
    with_sent(1, |mut ring, page| {
        ring.write(&2).unwrap();
        page.poke(RSP_PROD, 2);
        assert!(ring.take().is_err());
    });
}

#[test]
fn requests_are_not_read_back() {
    // The other end overwrites whatever lies in the page before each access, indices of ours included.
    let page = Peer::new(4096, |page: &mut [u8], access: Access| {
        if !matches!(access, Access::Acquire(8, 4)) {
            page[..8].fill(0xee);
            page[64..].fill(0xee);
        }
    });
    let mut ring = Ring::new(&page).unwrap();
    for n in 0..256 {
        assert_eq!(ring.write(&n), Ok(n as u32));
    }
    assert!(ring.write(&0).is_err());
    assert_eq!((ring.free(), ring.unpublished()), (0, 256));
}

#[test]
fn a_response_is_copied_once() {
    // Each byte of the response is loaded exactly once.
    let loads = Rc::new(Cell::new(0));
    let count = loads.clone();
    let page = Peer::new(4096, move |_: &mut [u8], access: Access| {
        if matches!(access, Access::Load(at, _) if at >= 64) {
            count.set(count.get() + 1);
        }
    });
    let mut ring = Ring::new(&page).unwrap();
    ring.write(&1).unwrap();
    let _ = ring.publish();
    page.poke(RSP_PROD, 1);
    assert!(ring.take().unwrap().is_some());
    assert_eq!(loads.get(), 8);
}

#[test]
fn arm_asks_for_the_nth_response() {
    with_sent(9, |mut ring, page| {
        for after in [0u32, 1, 2, 5] {
            ring.arm(after).unwrap();
            assert_eq!(page.peek(RSP_EVENT), after.max(1));
        }
    });
}

#[test]
fn indices_wrap_at_32_bits() {
    let page = Peer::new(4096, Idle);
    let mut ring = Ring::new(&page).unwrap();
    ring.start_at(u32::MAX - 9);
    for round in 0u32..40 {
        assert_eq!(ring.free(), 256);
        assert_eq!(ring.write(&1), Ok((246 + round) % 256));
        assert!(ring.publish());
        let prod = page.peek(REQ_PROD);
        assert_eq!(prod, (u32::MAX - 9).wrapping_add(round + 1));
        page.poke(RSP_PROD, prod.wrapping_add(1));
        assert!(ring.take().is_err(), "one more than was sent");
        page.poke(RSP_PROD, prod);
        page.poke(REQ_EVENT, prod.wrapping_add(1));
        assert!(ring.take().unwrap().is_some());
        assert_eq!(ring.outstanding(), 0);
    }
}
