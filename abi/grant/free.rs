// SPDX-License-Identifier: GPL-2.0

//! The references of the whole table that nobody holds.
//!
//! A stack in memory of the caller ([`Storage`]). It has room for every reference of the table from the start, so that
//! giving one back never allocates and never fails.

use super::{
    ENTRIES_PER_FRAME,
    RESERVED_ENTRIES, //
};
use crate::types::GrantRef;
use core::ops::DerefMut;

/// What the stack can lie in: a `KVec` in the kernel, a `Vec` in tests.
pub trait Storage: DerefMut<Target = [u32]> {}

impl<S: DerefMut<Target = [u32]>> Storage for S {}

/// The references of frame number `frame` that can be handed out.
pub fn of_frame(frame: u32) -> impl Iterator<Item = GrantRef> {
    let first = frame.saturating_mul(ENTRIES_PER_FRAME);
    let end = first.saturating_add(ENTRIES_PER_FRAME);
    (first.max(RESERVED_ENTRIES)..end).map(GrantRef)
}

/// Free references.
///
/// # Invariants
///
/// `len` is at most the length of `storage`; the first `len` elements are the free references, each once.
#[derive(Debug)]
pub struct FreeRefs<S> {
    storage: S,
    len: usize,
}

impl<S: Storage> FreeRefs<S> {
    /// No free reference, and room for as many as `storage` is long.
    pub fn new(storage: S) -> Self {
        // INVARIANT: Empty.
        Self { storage, len: 0 }
    }

    /// How many are free.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether none is free.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many fit.
    pub fn capacity(&self) -> usize {
        self.storage.len()
    }

    /// Takes one.
    pub fn take(&mut self) -> Option<GrantRef> {
        let len = self.len.checked_sub(1)?;
        let gref = *self.storage.get(len)?;
        self.len = len;
        Some(GrantRef(gref))
    }

    /// Gives one back. Returns `false`, and forgets it, only if there is no room: then one was given back twice.
    #[must_use = "a reference that did not fit is lost"]
    pub fn put(&mut self, gref: GrantRef) -> bool {
        match self.storage.get_mut(self.len) {
            Some(place) => {
                *place = gref.0;
                self.len = self.len.wrapping_add(1);
                true
            }
            None => false,
        }
    }

    /// Moves to a larger storage and returns the old one. Returns `larger` itself if it is not large enough.
    pub fn grow(&mut self, mut larger: S) -> S {
        let Some(free) = self.storage.get(..self.len) else {
            return larger;
        };
        match larger.get_mut(..self.len) {
            Some(place) => place.copy_from_slice(free),
            None => return larger,
        }
        core::mem::replace(&mut self.storage, larger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        vec,
        vec::Vec, //
    };

    #[test]
    fn first_frame_leaves_the_reserved_entries_out() {
        let refs: Vec<_> = of_frame(0).collect();
        assert_eq!(refs.len(), 504);
        assert_eq!(refs[0], GrantRef(8));
        assert_eq!(refs[503], GrantRef(511));
        let refs: Vec<_> = of_frame(2).collect();
        assert_eq!(refs.len(), 512);
        assert_eq!((refs[0], refs[511]), (GrantRef(1024), GrantRef(1535)));
    }

    #[test]
    fn every_reference_comes_out_once() {
        let mut free = FreeRefs::new(vec![0; 504]);
        assert!(free.is_empty());
        assert_eq!(free.take(), None);
        for gref in of_frame(0) {
            assert!(free.put(gref));
        }
        assert!(!free.put(GrantRef(9)), "there is no room for a duplicate");
        let mut out: Vec<_> = core::iter::from_fn(|| free.take()).collect();
        out.sort();
        assert!(out.into_iter().eq(of_frame(0)));
        assert_eq!(free.len(), 0);
    }

    #[test]
    fn growing_keeps_what_is_free() {
        let mut free = FreeRefs::new(vec![0; 2]);
        assert!(free.put(GrantRef(8)) && free.put(GrantRef(9)));
        assert_eq!(free.grow(vec![0; 1]).len(), 1, "too small: handed back");
        assert_eq!(free.capacity(), 2);
        assert_eq!(free.grow(vec![0; 4]).len(), 2);
        assert_eq!((free.capacity(), free.len()), (4, 2));
        assert!(free.put(GrantRef(10)));
        assert_eq!(free.take(), Some(GrantRef(10)));
        assert_eq!(free.take(), Some(GrantRef(9)));
        assert_eq!(free.take(), Some(GrantRef(8)));
        assert_eq!(free.take(), None);
    }
}
