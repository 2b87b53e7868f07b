// SPDX-License-Identifier: GPL-2.0

//! The console page against a backend that writes anything.

use abi::console::{BadIndex, Ring, IN_CONS, IN_PROD, IN_SIZE, OUT_CONS, OUT_PROD, OUT_SIZE};
use host_tests::peer::{Idle, Peer, Scribbler};
use proptest::prelude::*;

#[test]
fn indices_further_apart_than_the_ring() {
    for far in [1025u32, 2048, 0x8000_0000, u32::MAX] {
        let page = Peer::new(4096, Idle);
        let mut ring = Ring::attach(&page).unwrap();
        page.poke(IN_PROD, far);
        let wrong = BadIndex {
            ours: 0,
            theirs: far,
        };
        assert_eq!(ring.input(), Err(wrong));
        assert_eq!(ring.read(&mut [0; 8]), Err(wrong));
        // The input is given up, and the ring works again.
        assert_eq!(ring.input(), Ok(0));
    }
    for far in [1u32, 0x8000_0000, u32::MAX - 2048] {
        let page = Peer::new(4096, Idle);
        let mut ring = Ring::attach(&page).unwrap();
        page.poke(OUT_CONS, far);
        assert_eq!(
            ring.write(b"x"),
            Err(BadIndex {
                ours: 0,
                theirs: far
            })
        );
        // The output is given up, and the ring works again.
        assert_eq!(page.peek(OUT_PROD), far);
        assert_eq!(ring.write(b"x"), Ok(1));
    }
}

#[test]
fn exactly_full_is_no_error() {
    let page = Peer::new(4096, Idle);
    let ring = Ring::attach(&page).unwrap();
    page.poke(IN_PROD, IN_SIZE);
    assert_eq!(ring.input(), Ok(IN_SIZE));
    page.poke(OUT_CONS, 0u32.wrapping_sub(OUT_SIZE));
    assert_eq!(ring.room(), Ok(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// No more than fits, no access outside, and the work of one call is bounded by what is moved.
    #[test]
    fn hostile_backend(
        bytes in prop::collection::vec(any::<u8>(), 0..4000),
        plan in prop::collection::vec((any::<bool>(), 0usize..3000), 0..20),
    ) {
        let targets: &[usize] = &[IN_CONS, IN_PROD, OUT_CONS, OUT_PROD];
        let page = Peer::new(4096, Scribbler { input: bytes.into_iter(), targets });
        let mut ring = Ring::attach(&page).unwrap();
        for (write, len) in plan {
            let before = page.accesses();
            let mut buffer = vec![0x55; len];
            let (moved, most) = if write {
                (ring.write(&buffer), OUT_SIZE)
            } else {
                (ring.read(&mut buffer), IN_SIZE)
            };
            let moved = moved.unwrap_or(0);
            prop_assert!(moved <= len && moved <= most as usize);
            prop_assert!(page.accesses() - before <= moved as u64 + 3);
        }
    }
}
