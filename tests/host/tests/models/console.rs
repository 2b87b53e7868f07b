// SPDX-License-Identifier: GPL-2.0

//! The console page: bytes behind their index, both ways.
//!
//! Two barriers have no model that fails without them: output is written after the load of the backend's index, and the
//! index of input is stored after its bytes were loaded. A store that passes an earlier load is what neither loom nor
//! x86 does; `all/barriers.rs` sees that they are there.

use abi::{
    console::{Ring, IN_CONS, IN_PROD, OUT, OUT_CONS, OUT_PROD, SIZE},
    shared::Memory,
};
use host_tests::model::Cells;
use loom::{sync::Arc, thread};

fn page() -> Arc<Cells> {
    let cells = Cells::new(SIZE)
        .byte(0, 0)
        .byte(OUT, 0)
        .word(IN_CONS, 0)
        .word(IN_PROD, 0)
        .word(OUT_CONS, 0)
        .word(OUT_PROD, 0);
    Arc::new(cells)
}

/// Output that the index covers is there.
#[test]
fn a_written_byte_is_seen() {
    super::check(|| {
        let page = page();
        let mut ring = Ring::attach(page.clone()).unwrap();
        let backend = thread::spawn(move || {
            if page.load_acquire_u32(OUT_PROD) == 1 {
                let mut byte = [0];
                page.read(OUT, &mut byte);
                assert_eq!(byte, [7]);
            }
        });
        assert_eq!(ring.write(&[7]), Ok(1));
        backend.join().unwrap();
    });
}

/// Input that the index covers is there, and the backend writes over it only when we have read it.
#[test]
fn input_is_read_before_it_is_overwritten() {
    super::check(|| {
        let page = page();
        let mut ring = Ring::attach(page.clone()).unwrap();
        let backend = thread::spawn(move || {
            page.write(0, &[9]);
            page.store_release_u32(IN_PROD, 1);
            if page.load_acquire_u32(IN_CONS) == 1 {
                page.write(0, &[0xee]);
            }
        });
        let mut byte = [0];
        if ring.read(&mut byte) == Ok(1) {
            assert_eq!(byte, [9]);
        }
        backend.join().unwrap();
    });
}
