// SPDX-License-Identifier: GPL-2.0

//! Producer and consumer over the indices of a shared ring.

use abi::ring::{FrontRing, HEADER, REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD};
use abi::shared::Memory;
use host_tests::model::Cells;
use loom::{sync::Arc, thread};

const SLOT: usize = HEADER;

/// A ring of two slots.
fn page() -> Arc<Cells> {
    let cells = Cells::new(HEADER + 16)
        .word(REQ_PROD, 0)
        .word(REQ_EVENT, 0)
        .word(RSP_PROD, 0)
        .word(RSP_EVENT, 0)
        .long(SLOT, 0)
        .long(SLOT + 8, 0);
    Arc::new(cells)
}

/// A request that the index covers is there, whole.
#[test]
fn a_published_request_is_seen_whole() {
    super::check(|| {
        let page = page();
        let mut ring: FrontRing<u64, u64, _> = FrontRing::new(page.clone()).unwrap();
        let backend = thread::spawn(move || {
            if page.load_acquire_u32(REQ_PROD) == 1 {
                assert_eq!(page.load_u64(SLOT), 7);
            }
        });
        ring.write(&7).unwrap();
        let _ = ring.publish();
        backend.join().unwrap();
    });
}

/// A response that is taken is the one that was written.
#[test]
fn a_taken_response_is_whole() {
    super::check(|| {
        let page = page();
        let mut ring: FrontRing<u64, u64, _> = FrontRing::new(page.clone()).unwrap();
        ring.write(&7).unwrap();
        let _ = ring.publish();
        let backend = thread::spawn(move || {
            page.store_u64(SLOT, 9);
            page.store_release_u32(RSP_PROD, 1);
        });
        if let Some(response) = ring.take().unwrap() {
            assert_eq!(response, 9);
        }
        backend.join().unwrap();
    });
}

/// The back end goes to sleep while we publish: it has seen the request, or we notify it.
#[test]
fn no_request_is_left_to_a_sleeping_backend() {
    super::check(|| {
        let page = page();
        let mut ring: FrontRing<u64, u64, _> = FrontRing::new(page.clone()).unwrap();
        page.store_u32(REQ_EVENT, 0);
        let backend = thread::spawn(move || {
            page.store_u32(REQ_EVENT, 1);
            page.fence();
            page.load_u32(REQ_PROD) == 1
        });
        ring.write(&7).unwrap();
        let notified = ring.publish();
        assert!(
            backend.join().unwrap() || notified,
            "nobody looks at the request"
        );
    });
}

/// We go to sleep while the back end answers: we have seen the response, or it notifies us.
#[test]
fn no_response_is_left_when_we_sleep() {
    super::check(|| {
        let page = page();
        let mut ring: FrontRing<u64, u64, _> = FrontRing::new(page.clone()).unwrap();
        ring.write(&7).unwrap();
        let _ = ring.publish();
        page.store_u32(RSP_EVENT, 0);
        let backend = thread::spawn(move || {
            page.store_release_u32(RSP_PROD, 1);
            page.fence();
            page.load_u32(RSP_EVENT) == 1
        });
        let seen = ring.arm(1).unwrap();
        assert!(
            backend.join().unwrap() || seen,
            "nobody looks at the response"
        );
    });
}
