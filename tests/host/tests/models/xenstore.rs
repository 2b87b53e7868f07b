// SPDX-License-Identifier: GPL-2.0

//! The xenstore page: bytes behind their index, the wish for room, and a reply against a time-out.

use abi::{
    shared::Memory,
    xenstore::{
        replies::{Outstanding, Reply, Slot},
        ring::Ring,
        shares::User,
        wire::{Header, Kind},
    },
};
use host_tests::model::Cells;
use loom::{
    sync::{Arc, Mutex},
    thread,
};

const REQ_CONS: usize = 2048;
const REQ_PROD: usize = 2052;
const RSP_CONS: usize = 2056;
const RSP_PROD: usize = 2060;

fn page(rsp_prod: u32) -> Arc<Cells> {
    let cells = Cells::new(4096)
        .byte(0, 0)
        .byte(1024, 0)
        .word(REQ_CONS, 0)
        .word(REQ_PROD, 0)
        .word(RSP_CONS, 0)
        .word(RSP_PROD, rsp_prod);
    Arc::new(cells)
}

/// A request that the index covers is there.
#[test]
fn a_sent_byte_is_seen() {
    super::check(|| {
        let page = page(0);
        let mut ring = Ring::new(page.clone());
        let server = thread::spawn(move || {
            if page.load_acquire_u32(REQ_PROD) == 1 {
                let mut byte = [0];
                page.read(0, &mut byte);
                assert_eq!(byte, [7]);
            }
        });
        ring.write(&[7]).unwrap();
        server.join().unwrap();
    });
}

/// A reply that the index covers is there, and the server writes over it only when we have read it.
#[test]
fn a_reply_is_read_before_it_is_overwritten() {
    super::check(|| {
        let page = page(0);
        let mut ring = Ring::new(page.clone());
        let server = thread::spawn(move || {
            page.write(1024, &[9]);
            page.store_release_u32(RSP_PROD, 1);
            if page.load_acquire_u32(RSP_CONS) == 1 {
                page.write(1024, &[0xee]);
            }
        });
        let mut byte = [0];
        if ring.read(&mut byte).unwrap().bytes == 1 {
            assert_eq!(byte, [9]);
        }
        server.join().unwrap();
    });
}

/// The server fills the ring up and goes to sleep while we make room: it sees the room, or we notify it.
#[test]
fn a_server_that_waits_for_room_is_told() {
    super::check(|| {
        // One byte of room is left; the server takes it, finds the ring full and sleeps.
        let page = page(1023);
        let mut ring = Ring::new(page.clone());
        let server = thread::spawn(move || {
            page.store_release_u32(RSP_PROD, 1024);
            page.fence();
            page.load_acquire_u32(RSP_CONS) != 0
        });
        let moved = ring.read(&mut [0]).unwrap();
        assert_eq!(moved.bytes, 1);
        assert!(
            server.join().unwrap() || moved.notify,
            "the server sleeps for ever"
        );
    });
}

/// A reply comes as its owner stops waiting: exactly one of the two has it.
#[test]
fn reply_against_time_out() {
    super::check(|| {
        let sent = Arc::new(Mutex::new(Outstanding::<u32, [Slot<u32>; 2]>::new(
            Default::default(),
            1,
        )));
        let place = sent.lock().unwrap().reserve(User::Kernel).unwrap();
        let number = sent.lock().unwrap().insert(place, Kind::Read.number(), 7);
        let theirs = sent.clone();
        let reader = thread::spawn(move || {
            let head = Header {
                kind: Kind::Read.number(),
                request: number,
                transaction: 0,
                length: 0,
            };
            theirs.lock().unwrap().complete(&head)
        });
        let given_up = sent.lock().unwrap().abandon(number);
        match (reader.join().unwrap(), given_up) {
            (Reply::Answer(7), None) | (Reply::Late, Some(7)) => {}
            other => panic!("{other:?}"),
        }
    });
}
