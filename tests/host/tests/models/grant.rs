// SPDX-License-Identifier: GPL-2.0

//! Grants against a domain that maps at the same time, and the lock-free list of slots.

use abi::{
    grant::{
        slots::{FreeSlots, Head, Link},
        Access, Slot, PERMIT_ACCESS, READING, TYPE_MASK,
    },
    shared::Memory,
    types::{DomainId, Gfn},
};
use host_tests::model::Cells;
use loom::{
    sync::{
        atomic::{AtomicU32, AtomicU64, Ordering},
        Arc,
    },
    thread,
};

/// One entry, and a word of the page that it grants.
fn table() -> Arc<Cells> {
    Arc::new(
        Cells::new(4096)
            .half(0, 0)
            .half(2, 0)
            .word(4, 0)
            .word(1024, 0),
    )
}

/// Xen maps on behalf of the domain, if it may; returns whether it did.
fn map(table: &Cells) -> bool {
    let flags = table.load_u16(0);
    flags & TYPE_MASK == PERMIT_ACCESS
        && table
            .compare_exchange_u16(0, flags, flags | READING)
            .is_ok()
}

/// The domain maps while we revoke: one of the two fails.
#[test]
fn revoke_and_map_exclude_each_other() {
    super::check(|| {
        let table = table();
        let slot = Slot::new(table.clone(), 0);
        slot.permit(DomainId(1), Gfn(5), Access::ReadOnly).unwrap();
        let peer = thread::spawn(move || map(&table));
        let revoked = slot.revoke().is_ok();
        let mapped = peer.join().unwrap();
        assert!(!(revoked && mapped), "revoked under a mapping");
    });
}

/// What we write into a page after its revocation is never seen by the domain, and what we wrote before the permission
/// always is.
#[test]
fn a_granted_page_shows_what_it_should() {
    super::check(|| {
        let table = table();
        let slot = Slot::new(table.clone(), 0);
        let theirs = table.clone();
        let peer = thread::spawn(move || {
            if map(&theirs) {
                // What the page held earlier was 0.
                assert_eq!(theirs.load_u32(1024), 1);
                assert_eq!((theirs.load_u16(2), theirs.load_u32(4)), (1, 5));
            }
        });
        table.store_u32(1024, 1);
        slot.permit(DomainId(1), Gfn(5), Access::ReadOnly).unwrap();
        if slot.revoke().is_ok() {
            table.store_u32(1024, 2);
        }
        peer.join().unwrap();
    });
}

struct LoomLink(AtomicU32);
struct LoomHead(AtomicU64);

impl Link for LoomLink {
    fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
    fn store(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Head for LoomHead {
    fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        self.0
            .compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
    }
}

/// Two takers and givers of two slots: nobody gets what another has.
#[test]
fn a_slot_has_one_owner() {
    super::check(|| {
        let links: Vec<_> = (0..2).map(|_| LoomLink(AtomicU32::new(0))).collect();
        let slots = Arc::new(FreeSlots::new(LoomHead(AtomicU64::new(0)), links));
        let owners = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let work = |slots: Arc<FreeSlots<LoomHead, Vec<LoomLink>>>, owners: Arc<[AtomicU32; 2]>| {
            for _ in 0..2 {
                if let Some(slot) = slots.take() {
                    let owner = &owners[slot as usize];
                    assert_eq!(owner.swap(1, Ordering::Relaxed), 0, "taken twice");
                    owner.store(0, Ordering::Relaxed);
                    slots.put(slot);
                }
            }
        };
        let (slots2, owners2) = (slots.clone(), owners.clone());
        let other = thread::spawn(move || work(slots2, owners2));
        work(slots.clone(), owners);
        other.join().unwrap();
        let all: std::collections::BTreeSet<_> = std::iter::from_fn(|| slots.take()).collect();
        assert_eq!(all.len(), 2, "none is lost");
    });
}
