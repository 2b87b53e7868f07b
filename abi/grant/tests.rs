// SPDX-License-Identifier: GPL-2.0

//! Tests of the transitions of one entry, with a domain that acts between any two accesses.

use super::*;
use crate::shared::RawMemory;
use core::{
    cell::RefCell,
    ptr::NonNull, //
};

/// Runs `test` on a zeroed table frame.
fn with_frame(test: impl FnOnce(&RawMemory)) {
    let mut page = std::vec![0u64; 512];
    let base = NonNull::new(page.as_mut_ptr().cast()).unwrap();
    // SAFETY: The vector is aligned to 8, outlives the memory and is not touched meanwhile.
    test(&unsafe { RawMemory::new(base, 4096) });
}

fn entry(frame: &RawMemory, index: usize) -> Entry {
    frame.read_value(index * ENTRY_SIZE)
}

/// A frame whose other side acts right before each compare-and-exchange.
struct Raced<'a, F>(&'a RawMemory, RefCell<F>);

macro_rules! pass {
    ($($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {
        $(fn $name(&self, $($arg: $ty),*) $(-> $ret)? { self.0.$name($($arg),*) })*
    };
}

impl<F: FnMut(&RawMemory)> Memory for Raced<'_, F> {
    fn compare_exchange_u16(&self, offset: usize, current: u16, new: u16) -> Result<u16, u16> {
        (self.1.borrow_mut())(self.0);
        self.0.compare_exchange_u16(offset, current, new)
    }

    pass! {
        size() -> usize;
        read(offset: usize, into: &mut [u8]);
        write(offset: usize, from: &[u8]);
        load_u16(offset: usize) -> u16;
        store_release_u16(offset: usize, value: u16);
        load_u32(offset: usize) -> u32;
        load_acquire_u32(offset: usize) -> u32;
        store_u32(offset: usize, value: u32);
        store_release_u32(offset: usize, value: u32);
        compare_exchange_u32(offset: usize, current: u32, new: u32) -> Result<u32, u32>;
        fetch_or_u32(offset: usize, mask: u32) -> u32;
        fetch_and_u32(offset: usize, mask: u32) -> u32;
        swap_u32(offset: usize, value: u32) -> u32;
        load_4_u64_and_first(offset: usize) -> [u64; 5];
        load_u64(offset: usize) -> u64;
        store_u64(offset: usize, value: u64);
        fetch_or_u64(offset: usize, mask: u64) -> u64;
        fetch_and_u64(offset: usize, mask: u64) -> u64;
        swap_u64(offset: usize, value: u64) -> u64;
        fence();
    }
}

#[test]
fn permit_and_revoke() {
    with_frame(|frame| {
        let slot = Slot::new(frame, 9);
        assert!(!slot.is_active());
        slot.permit(DomainId(3), Gfn(0x1234), Access::ReadOnly)
            .unwrap();
        assert_eq!(
            entry(frame, 9),
            Entry {
                flags: PERMIT_ACCESS | READONLY,
                domain: 3,
                frame: 0x1234
            }
        );
        assert!(slot.is_active());
        assert_eq!(slot.revoke(), Ok(()));
        assert!(!slot.is_active());
        slot.permit(DomainId(0), Gfn(0xffff_ffff), Access::ReadWrite)
            .unwrap();
        assert_eq!(entry(frame, 9).flags, PERMIT_ACCESS);
        assert_eq!(entry(frame, 8).flags, 0);
        assert_eq!(entry(frame, 10).flags, 0);
    });
}

#[test]
fn revoking_nothing_is_done_at_once() {
    with_frame(|frame| assert_eq!(Slot::new(frame, 8).revoke(), Ok(())));
}

#[test]
fn last_entry_lies_inside_and_indices_wrap() {
    with_frame(|frame| {
        Slot::new(frame, 511)
            .permit(DomainId(1), Gfn(5), Access::ReadWrite)
            .unwrap();
        assert_eq!(entry(frame, 511).frame, 5);
        assert!(Slot::new(frame, 1023).is_active());
    });
}

#[test]
fn a_frame_beyond_32_bits_is_refused() {
    with_frame(|frame| {
        let slot = Slot::new(frame, 8);
        assert_eq!(
            slot.permit(DomainId(1), Gfn(1 << 32), Access::ReadWrite),
            Err(FrameTooHigh)
        );
        assert!(!slot.is_active());
    });
}

#[test]
fn a_mapped_page_is_kept() {
    for bits in [READING, WRITING, READING | WRITING] {
        with_frame(|frame| {
            let slot = Slot::new(frame, 8);
            slot.permit(DomainId(1), Gfn(5), Access::ReadWrite).unwrap();
            frame.store_release_u16(64, PERMIT_ACCESS | bits);
            assert_eq!(slot.revoke(), Err(InUse));
            assert_eq!(entry(frame, 8).flags, PERMIT_ACCESS | bits);
            frame.store_release_u16(64, PERMIT_ACCESS);
            assert_eq!(slot.revoke(), Ok(()));
        });
    }
}

#[test]
fn mapping_between_look_and_exchange_wins() {
    with_frame(|frame| {
        let map = |frame: &RawMemory| {
            frame.store_release_u16(64, PERMIT_ACCESS | READING);
        };
        let raced = Raced(frame, RefCell::new(map));
        let slot = Slot::new(&raced, 8);
        slot.permit(DomainId(1), Gfn(5), Access::ReadWrite).unwrap();
        assert_eq!(slot.revoke(), Err(InUse));
        assert_eq!(entry(frame, 8).flags, PERMIT_ACCESS | READING);
    });
}

#[test]
fn a_change_that_is_no_mapping_is_looked_at_again() {
    with_frame(|frame| {
        let mut first = true;
        let raced = Raced(
            frame,
            RefCell::new(|frame: &RawMemory| {
                if core::mem::take(&mut first) {
                    frame.store_release_u16(64, PERMIT_ACCESS | READONLY);
                }
            }),
        );
        let slot = Slot::new(&raced, 8);
        slot.permit(DomainId(1), Gfn(5), Access::ReadWrite).unwrap();
        assert_eq!(slot.revoke(), Ok(()));
        assert_eq!(entry(frame, 8).flags, INVALID);
    });
}

#[test]
fn endless_changes_end_as_in_use() {
    with_frame(|frame| {
        let mut calls = 0u16;
        let raced = Raced(
            frame,
            RefCell::new(|frame: &RawMemory| {
                calls += 1;
                frame.store_release_u16(64, PERMIT_ACCESS | (calls << 8));
            }),
        );
        let slot = Slot::new(&raced, 8);
        slot.permit(DomainId(1), Gfn(5), Access::ReadWrite).unwrap();
        assert_eq!(slot.revoke(), Err(InUse));
        assert_eq!(usize::from(calls), REVOKE_ATTEMPTS);
    });
}
