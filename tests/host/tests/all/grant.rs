// SPDX-License-Identifier: GPL-2.0

//! Grant entries against a domain that maps whenever it likes, and the lists of free references and slots.

use abi::{
    grant::{
        free::{of_frame, FreeRefs},
        slots::FreeSlots,
        Access, InUse, Slot, ENTRIES_PER_FRAME, INVALID, PERMIT_ACCESS, READING, READONLY,
        RESERVED_ENTRIES, WRITING,
    },
    types::{DomainId, Gfn, GrantRef},
};
use host_tests::peer::{Access as At, Idle, Peer};
use proptest::prelude::*;
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, AtomicU64},
};

fn flags(page: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([page[at], page[at + 1]])
}

#[test]
fn nothing_is_revoked_while_in_use() {
    for state in [READING, WRITING, READING | WRITING] {
        for permission in [PERMIT_ACCESS, PERMIT_ACCESS | READONLY] {
            let page = Peer::new(4096, Idle);
            page.poke(5 * 8, u32::from(permission | state));
            let slot = Slot::new(&page, 5);
            assert_eq!(slot.revoke(), Err(InUse));
            assert_eq!(
                page.with(|page| flags(page, 40)),
                permission | state,
                "nothing has changed"
            );
            page.poke(5 * 8, u32::from(permission));
            assert_eq!(slot.revoke(), Ok(()));
            assert_eq!(page.with(|page| flags(page, 40)), INVALID);
        }
    }
}

/// The permission is the last thing that is written: at every moment before, the entry grants nothing.
#[test]
fn permission_comes_last() {
    let page = Peer::new(4096, |page: &mut [u8], access: At| {
        if access != At::Store(8, 2) {
            assert_eq!(flags(page, 8), INVALID);
        } else {
            assert_eq!(&page[10..16], &[3, 0, 0x34, 0x12, 0, 0]);
        }
    });
    Slot::new(&page, 1)
        .permit(DomainId(3), Gfn(0x1234), Access::ReadOnly)
        .unwrap();
    assert_eq!(page.with(|page| flags(page, 8)), PERMIT_ACCESS | READONLY);
}

#[test]
fn frame_beyond_32_bits_grants_nothing() {
    let page = Peer::new(4096, Idle);
    for frame in [1 << 32, u64::MAX] {
        assert!(Slot::new(&page, 1)
            .permit(DomainId(3), Gfn(frame), Access::ReadWrite)
            .is_err());
        assert!(page.with(|page| page.iter().all(|byte| *byte == 0)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The other domain maps and unmaps between any two accesses of ours. Revoked means: it was not mapped at that moment
    /// and cannot be again. The work is bounded however often it does that.
    #[test]
    fn revoke_against_a_peer_that_maps(plan in prop::collection::vec(0u8..6, 0..40), start in any::<bool>()) {
        let mut plan = plan.into_iter();
        let page = Peer::new(4096, move |page: &mut [u8], _: At| {
            let mut now = flags(page, 16);
            match plan.next() {
                // Xen lets it map only what is permitted.
                Some(0 | 1) if now & 3 == PERMIT_ACCESS => now |= READING,
                Some(2) if now & 3 == PERMIT_ACCESS => now |= READING | WRITING,
                Some(3 | 4) => now &= !(READING | WRITING),
                _ => {}
            }
            page[16..18].copy_from_slice(&now.to_le_bytes());
        });
        let slot = Slot::new(&page, 2);
        if start {
            slot.permit(DomainId(1), Gfn(7), Access::ReadWrite).unwrap();
        }
        let before = page.accesses();
        let revoked = slot.revoke();
        prop_assert!(page.accesses() - before <= 5);
        let now = page.with(|page| flags(page, 16));
        match revoked {
            Ok(()) => prop_assert_eq!(now, INVALID),
            Err(InUse) => prop_assert!(now & 3 == PERMIT_ACCESS, "still granted, so nothing may be reused"),
        }
    }

    /// Each free reference is handed out once, and growth loses none.
    #[test]
    fn free_references_are_a_set(plan in prop::collection::vec((0u8..4, any::<prop::sample::Index>()), 0..300)) {
        let mut free = FreeRefs::new(vec![0u32; 4]);
        let (mut inside, mut outside): (BTreeSet<u32>, BTreeSet<u32>) = (BTreeSet::new(), (100..108).collect());
        for (kind, index) in plan {
            match kind {
                0 => match free.take() {
                    Some(gref) => { prop_assert!(inside.remove(&gref.0)); outside.insert(gref.0); }
                    None => prop_assert!(inside.is_empty()),
                },
                1 | 2 if !outside.is_empty() => {
                    let gref = *outside.iter().nth(index.index(outside.len())).unwrap();
                    let fits = free.len() < free.capacity();
                    prop_assert_eq!(free.put(GrantRef(gref)), fits);
                    if fits { outside.remove(&gref); inside.insert(gref); }
                }
                3 => {
                    let size = index.index(12);
                    let larger = size >= free.len();
                    let old = free.capacity();
                    prop_assert_eq!(free.grow(vec![0; size]).len(), if larger { old } else { size });
                }
                _ => {}
            }
            prop_assert_eq!(free.len(), inside.len());
            prop_assert_eq!(free.is_empty(), inside.is_empty());
        }
    }

    #[test]
    fn free_slots_are_a_set(plan in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..300), size in 0usize..9) {
        let links: Vec<AtomicU32> = (0..size).map(|_| AtomicU32::new(77)).collect();
        let slots = FreeSlots::new(AtomicU64::new(u64::MAX), &links[..]);
        let mut taken = BTreeSet::new();
        for (take, index) in plan {
            if take {
                match slots.take() {
                    Some(slot) => prop_assert!((slot as usize) < size && taken.insert(slot)),
                    None => prop_assert_eq!(taken.len(), size),
                }
            } else if !taken.is_empty() {
                let slot = *taken.iter().nth(index.index(taken.len())).unwrap();
                taken.remove(&slot);
                slots.put(slot);
            }
            // A number that is no slot changes nothing.
            slots.put(size as u32);
        }
    }
}

#[test]
fn reserved_references_are_never_handed_out() {
    let all: BTreeSet<u32> = (0..3).flat_map(of_frame).map(|gref| gref.0).collect();
    assert_eq!(all, (RESERVED_ENTRIES..3 * ENTRIES_PER_FRAME).collect());
    // The last frames of the number space do not come round.
    assert!(of_frame(u32::MAX).all(|gref| gref.0 > ENTRIES_PER_FRAME));
}
