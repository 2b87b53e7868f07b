// SPDX-License-Identifier: GPL-2.0

//! Tests of the console rings against a backend that is told what to do.

use super::*;
use crate::shared::RawMemory;
use core::ptr::NonNull;
use std::vec::Vec;

/// Runs `test` on a zeroed page.
fn with_page(test: impl FnOnce(&RawMemory)) {
    let mut page = std::vec![0u64; 512];
    let base = NonNull::new(page.as_mut_ptr().cast()).unwrap();
    // SAFETY: The vector is aligned to 8, outlives the memory and is not touched meanwhile.
    test(&unsafe { RawMemory::new(base, 4096) });
}

/// The backend types `text`.
fn types(page: &RawMemory, text: &[u8]) {
    let mut prod = page.load_u32(IN_PROD);
    for byte in text {
        page.write((prod % IN_SIZE) as usize, &[*byte]);
        prod = prod.wrapping_add(1);
    }
    page.store_release_u32(IN_PROD, prod);
}

/// The backend takes up to `max` bytes of output.
fn takes(page: &RawMemory, max: u32) -> Vec<u8> {
    let prod = page.load_acquire_u32(OUT_PROD);
    let mut cons = page.load_u32(OUT_CONS);
    let mut taken = Vec::new();
    while cons != prod && (taken.len() as u32) < max {
        let mut byte = [0];
        page.read(OUT + (cons % OUT_SIZE) as usize, &mut byte);
        taken.push(byte[0]);
        cons = cons.wrapping_add(1);
    }
    page.store_release_u32(OUT_CONS, cons);
    taken
}

fn set_all(page: &RawMemory, index: u32) {
    for offset in [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD] {
        page.store_u32(offset, index);
    }
}

#[test]
fn output_and_input_pass_at_every_position() {
    for start in [0, 1, 1000, 1023, 2047, u32::MAX - 3, u32::MAX] {
        with_page(|page| {
            set_all(page, start);
            let mut ring = Ring::attach(page).unwrap();
            for round in 0..200u8 {
                let text: Vec<u8> = (0..37).map(|i| i ^ round).collect();
                assert_eq!(ring.write(&text), Ok(37));
                assert_eq!(takes(page, 100), text);
                types(page, &text);
                let mut into = [0; 64];
                assert_eq!(ring.read(&mut into), Ok(37));
                assert_eq!(into[..37], text);
                assert_eq!(ring.read(&mut into), Ok(0));
            }
        });
    }
}

#[test]
fn a_page_that_was_made_anew_is_taken_up() {
    with_page(|page| {
        set_all(page, 5000);
        let mut ring = Ring::attach(page).unwrap();
        assert_eq!(ring.write(b"before"), Ok(6));
        set_all(page, 0);
        ring.renew();
        assert_eq!(ring.write(b"after"), Ok(5));
        assert_eq!(takes(page, 100), b"after");
        types(page, b"in");
        let mut into = [0; 8];
        assert_eq!(ring.read(&mut into), Ok(2));
    });
}

#[test]
fn a_full_ring_takes_what_fits_and_then_nothing() {
    with_page(|page| {
        set_all(page, 5);
        let mut ring = Ring::attach(page).unwrap();
        let text: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
        assert_eq!(ring.write(&text), Ok(2048));
        assert_eq!(ring.write(&text), Ok(0));
        assert_eq!(ring.room(), Ok(0));
        assert_eq!(takes(page, 1), [0]);
        assert_eq!(ring.write(&text[2048..]), Ok(1));
        let mut rest = takes(page, 4096);
        rest.insert(0, 0);
        assert_eq!(rest, &text[..2049]);
    });
}

#[test]
fn input_comes_in_the_portions_asked_for() {
    with_page(|page| {
        let mut ring = Ring::attach(page).unwrap();
        types(page, &[b'x'; 1024]);
        assert_eq!(ring.input(), Ok(1024));
        let mut into = [0; 16];
        for left in (0..64).rev() {
            assert_eq!(ring.read(&mut into), Ok(16));
            assert_eq!(page.load_u32(IN_CONS), 1024 - 16 * left);
        }
        assert_eq!(ring.read(&mut into), Ok(0));
        assert_eq!(ring.read(&mut []), Ok(0));
    });
}

#[test]
fn input_index_too_far_drops_the_input_and_goes_on() {
    for far in [1025, 0x8000_0000, u32::MAX] {
        with_page(|page| {
            let mut ring = Ring::attach(page).unwrap();
            page.store_u32(IN_PROD, far);
            let mut into = [0xaa; 16];
            assert_eq!(
                ring.read(&mut into),
                Err(BadIndex {
                    ours: 0,
                    theirs: far
                })
            );
            assert_eq!(into, [0xaa; 16]);
            assert_eq!(page.load_u32(IN_CONS), far);
            assert_eq!(ring.read(&mut into), Ok(0));
            types(page, b"ok");
            assert_eq!(ring.read(&mut into), Ok(2));
            assert_eq!(&into[..2], b"ok");
        });
    }
}

#[test]
fn output_index_too_far_drops_the_output_and_goes_on() {
    for far in [1, 0x8000_0000, 0u32.wrapping_sub(2049)] {
        with_page(|page| {
            let mut ring = Ring::attach(page).unwrap();
            page.store_u32(OUT_CONS, far);
            let error = BadIndex {
                ours: 0,
                theirs: far,
            };
            assert_eq!(ring.room(), Err(error));
            assert_eq!(page.load_u32(OUT_PROD), 0);
            assert_eq!(ring.write(b"lost"), Err(error));
            assert_eq!(page.load_u32(OUT_PROD), far);
            assert_eq!(takes(page, 9), b"");
            assert_eq!(ring.write(b"ok"), Ok(2));
            assert_eq!(takes(page, 9), b"ok");
        });
    }
}

#[test]
fn output_that_waits_is_told_from_output_that_is_lost() {
    with_page(|page| {
        let mut ring = Ring::attach(page).unwrap();
        assert!(ring.is_drained());
        assert_eq!(ring.write(b"abc"), Ok(3));
        assert!(!ring.is_drained());
        takes(page, 2);
        assert!(!ring.is_drained());
        takes(page, 1);
        assert!(ring.is_drained());
        assert_eq!(ring.write(b"lost"), Ok(4));
        page.store_u32(OUT_CONS, 99);
        assert!(ring.is_drained());
    });
}

#[test]
fn our_own_indices_are_not_read_back() {
    with_page(|page| {
        let mut ring = Ring::attach(page).unwrap();
        assert_eq!(ring.write(b"abc"), Ok(3));
        page.store_u32(OUT_PROD, 77);
        page.store_u32(IN_CONS, 99);
        assert_eq!(ring.write(b"def"), Ok(3));
        assert_eq!(page.load_u32(OUT_PROD), 6);
        assert_eq!(takes(page, 9), b"abcdef");
        types(page, b"x");
        assert_eq!(ring.read(&mut [0; 4]), Ok(1));
        assert_eq!(page.load_u32(IN_CONS), 1);
    });
}

#[test]
fn a_page_left_in_disorder_is_usable() {
    with_page(|page| {
        page.store_u32(IN_PROD, 0x1234_5678);
        page.store_u32(OUT_CONS, 0x1234_5678);
        let mut ring = Ring::attach(page).unwrap();
        assert!(ring.read(&mut [0; 4]).is_err());
        assert!(ring.write(b"x").is_err());
        types(page, b"y");
        assert_eq!(ring.read(&mut [0; 4]), Ok(1));
        // A backend that finds the indices impossible never moves its own.
        assert_eq!(ring.write(b"z"), Ok(1));
        assert_eq!(takes(page, 9), b"z");
    });
}

#[test]
fn too_small_a_page_is_refused() {
    let mut page = [0u64; 8];
    let base = NonNull::new(page.as_mut_ptr().cast()).unwrap();
    // SAFETY: The array is aligned to 8, outlives the memory and is not touched meanwhile.
    let memory = unsafe { RawMemory::new(base, 64) };
    assert!(Ring::attach(&memory).is_none());
}

#[test]
fn connection_flag() {
    with_page(|page| {
        let ring = Ring::attach(page).unwrap();
        assert!(ring.is_served());
        page.write(CONNECTION, &[DISCONNECTED]);
        assert!(!ring.is_served());
        page.write(CONNECTION, &[2]);
        assert!(ring.is_served(), "an unknown value is no refusal");
    });
}

#[test]
fn progress_tells_what_the_backend_did() {
    with_page(|page| {
        let mut ring = Ring::attach(page).unwrap();
        let before = ring.progress();
        assert_eq!(ring.write(b"abc"), Ok(3));
        assert_eq!(ring.progress(), before, "our own work is none");
        takes(page, 2);
        assert_ne!(ring.progress(), before);
        let before = ring.progress();
        types(page, b"x");
        assert_ne!(ring.progress(), before);
    });
}
