// SPDX-License-Identifier: GPL-2.0

//! The slots of one pool of references, taken and given back without a lock.
//!
//! A queue grants in one context and ends access in another, at times on another CPU. The free slots are a linked stack:
//! `head` names the first, each slot's link the next. The head also counts changes, so that a slot which went out and
//! came back between the look and the exchange (the ABA problem) is noticed.
//!
//! The atomics are the caller's ([`Link`], [`Head`]), so that a model checker can bring its own.

use core::{
    ops::Deref,
    sync::atomic::{
        AtomicU32,
        AtomicU64,
        Ordering, //
    },
};

/// Ends the stack.
const END: u32 = u32::MAX;

/// The link of one slot: 32 bits, accessed relaxed.
pub trait Link {
    /// Loads.
    fn load(&self) -> u32;
    /// Stores.
    fn store(&self, value: u32);
}

/// The top of the stack: 64 bits.
pub trait Head {
    /// Loads with acquire ordering.
    fn load(&self) -> u64;

    /// Replaces `current` by `new`, with acquire and release ordering.
    ///
    /// # Errors
    ///
    /// The value found (with acquire ordering), if it was not `current`.
    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64>;
}

impl Link for AtomicU32 {
    #[inline]
    fn load(&self) -> u32 {
        AtomicU32::load(self, Ordering::Relaxed)
    }

    #[inline]
    fn store(&self, value: u32) {
        AtomicU32::store(self, value, Ordering::Relaxed);
    }
}

impl Head for AtomicU64 {
    #[inline]
    fn load(&self) -> u64 {
        AtomicU64::load(self, Ordering::Acquire)
    }

    #[inline]
    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        AtomicU64::compare_exchange_weak(self, current, new, Ordering::AcqRel, Ordering::Acquire)
    }
}

/// Returns the slot that a head names.
#[inline]
const fn top(head: u64) -> u32 {
    // CAST: The low half.
    head as u32
}

/// Returns the head that follows `old` and names `top`.
#[inline]
fn next_head(old: u64, top: u32) -> u64 {
    let changes = (old >> 32).wrapping_add(1);
    (changes << 32) | u64::from(top)
}

/// Free slots `0..n`, for any number of concurrent takers and givers.
#[derive(Debug)]
pub struct FreeSlots<H, L> {
    head: H,
    links: L,
}

impl<H, L, A> FreeSlots<H, L>
where
    H: Head,
    L: Deref<Target = [A]>,
    A: Link,
{
    /// All slots of `links` free. `head` may hold anything; it becomes part of the stack here.
    pub fn new(head: H, links: L) -> Self {
        let this = Self::none(head, links);
        this.fill();
        this
    }

    /// No slot of `links` free: each has to be given back once before it can be taken.
    pub fn none(head: H, links: L) -> Self {
        let this = Self { head, links };
        this.reset(END);
        this
    }

    fn reset(&self, top: u32) {
        let mut old = self.head.load();
        while let Err(now) = self.head.compare_exchange(old, next_head(old, top)) {
            old = now;
        }
    }

    fn fill(&self) {
        let mut above = END;
        for (slot, link) in self.links.iter().enumerate() {
            link.store(above);
            // More slots than a u32 counts cannot lie in memory as 4-byte links of one pool; they would be left out.
            match u32::try_from(slot) {
                Ok(slot) if slot != END => above = slot,
                _ => break,
            }
        }
        self.reset(above);
    }

    /// Takes a free slot.
    #[inline]
    pub fn take(&self) -> Option<u32> {
        let mut old = self.head.load();
        loop {
            let slot = top(old);
            // `END` is beyond every slot. The link may be changing if another taker got the slot meanwhile; then the
            // head has changed too and the exchange fails.
            let below = self.links.get(slot as usize)?.load();
            match self.head.compare_exchange(old, next_head(old, below)) {
                Ok(_) => return Some(slot),
                Err(now) => old = now,
            }
        }
    }

    /// Gives back a slot that [`Self::take`] returned, once. A number that is no slot is ignored.
    #[inline]
    pub fn put(&self, slot: u32) {
        let Some(link) = self.links.get(slot as usize) else {
            return;
        };
        let mut old = self.head.load();
        loop {
            link.store(top(old));
            match self.head.compare_exchange(old, next_head(old, slot)) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::atomic::AtomicBool,
        thread,
        vec::Vec, //
    };

    fn slots(n: usize) -> FreeSlots<AtomicU64, Vec<AtomicU32>> {
        FreeSlots::new(
            AtomicU64::new(0),
            (0..n).map(|_| AtomicU32::new(7)).collect(),
        )
    }

    #[test]
    fn each_head_counts_the_changes() {
        assert_eq!(next_head(5 << 32 | 3, 9), 6 << 32 | 9);
        assert_eq!(next_head(u64::MAX, 9), 9);
        assert_eq!((top(6 << 32 | 9), top(9)), (9, 9));
    }

    #[test]
    fn all_come_out_once_and_go_back() {
        for n in [0, 1, 2, 300] {
            let free = slots(n);
            for _ in 0..3 {
                let mut out: Vec<_> = core::iter::from_fn(|| free.take()).collect();
                assert_eq!(free.take(), None);
                for slot in &out {
                    free.put(*slot);
                }
                out.sort_unstable();
                assert!(out.into_iter().eq(0..n as u32));
            }
        }
    }

    #[test]
    fn none_is_free_before_it_is_given_back() {
        let links: Vec<_> = (0..2).map(|_| AtomicU32::new(0)).collect();
        let free = FreeSlots::none(AtomicU64::new(1), links);
        assert_eq!(free.take(), None);
        free.put(1);
        assert_eq!((free.take(), free.take()), (Some(1), None));
    }

    #[test]
    fn foreign_numbers_are_ignored() {
        let free = slots(1);
        assert_eq!(free.take(), Some(0));
        free.put(1);
        free.put(END);
        assert_eq!(free.take(), None);
        free.put(0);
        assert_eq!(free.take(), Some(0));
    }

    #[test]
    fn threads_never_hold_the_same_slot() {
        let free = slots(3);
        let held: Vec<_> = (0..3).map(|_| AtomicBool::new(false)).collect();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(slot) = free.take() {
                            let flag = &held[slot as usize];
                            assert!(!flag.swap(true, Ordering::SeqCst));
                            flag.store(false, Ordering::SeqCst);
                            free.put(slot);
                        }
                    }
                });
            }
        });
        assert_eq!(core::iter::from_fn(|| free.take()).count(), 3);
    }
}
