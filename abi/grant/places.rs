// SPDX-License-Identifier: GPL-2.0

//! The references of one pool, each in a place of its own.
//!
//! A reference whose peer does not let go leaves the pool, and its place gets another one. If none is free then, the place
//! stays *bare* and is filled when the pool has nothing else to give: it is never lost.

use super::slots::{
    FreeSlots,
    Head,
    Link, //
};
use crate::types::GrantRef;
use core::ops::Deref;

/// Marks a bare place.
const NONE: u32 = u32::MAX;

/// Places `0..n` and their references, for any number of concurrent takers and givers.
///
/// # Invariants
///
/// Each place is free, bare or with a taker. Only a bare place, and one whose taker is about to make it bare, has no
/// reference.
#[derive(Debug)]
pub struct Places<H, L> {
    free: FreeSlots<H, L>,
    bare: FreeSlots<H, L>,
    refs: L,
}

impl<H, L, A> Places<H, L>
where
    H: Head,
    L: Deref<Target = [A]>,
    A: Link + 'static,
{
    /// No place is taken. `refs` are their references, [`u32::MAX`] for a place that is bare; `links` and `bare_links` are
    /// as long and of any content.
    pub fn new(refs: L, heads: [H; 2], links: L, bare_links: L) -> Self {
        let [head, bare_head] = heads;
        let this = Self {
            free: FreeSlots::none(head, links),
            bare: FreeSlots::none(bare_head, bare_links),
            refs,
        };
        for place in (0..this.len()).rev() {
            let Ok(place) = u32::try_from(place) else {
                continue;
            };
            match this.get(place) {
                Some(_) => this.free.put(place),
                None => this.bare.put(place),
            }
        }
        this
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.refs.len()
    }

    /// Tells whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.refs.is_empty()
    }

    /// The reference in `place`; `None` if it is bare, or no place.
    #[inline]
    pub fn get(&self, place: u32) -> Option<GrantRef> {
        let gref = self.refs.get(place as usize)?.load();
        (gref != NONE).then_some(GrantRef(gref))
    }

    /// The references that are in places, free or not.
    pub fn refs(&self) -> impl Iterator<Item = GrantRef> + '_ {
        self.refs
            .iter()
            .map(Link::load)
            .filter(|gref| *gref != NONE)
            .map(GrantRef)
    }

    /// Takes a place and its reference. `find` brings one for a bare place, when no other is left.
    #[inline]
    pub fn take(&self, find: impl FnOnce() -> Option<GrantRef>) -> Option<(u32, GrantRef)> {
        match self.free.take() {
            Some(place) => self.get(place).map(|gref| (place, gref)),
            None => self.take_bare(find),
        }
    }

    #[cold]
    fn take_bare(&self, find: impl FnOnce() -> Option<GrantRef>) -> Option<(u32, GrantRef)> {
        let place = self.bare.take()?;
        match find() {
            Some(gref) => {
                self.fill(place, gref.0);
                Some((place, gref))
            }
            None => {
                self.bare.put(place);
                None
            }
        }
    }

    /// Gives back a place that [`take`](Self::take) returned, once.
    #[inline]
    pub fn put(&self, place: u32) {
        self.free.put(place);
    }

    /// Gives back a place whose reference leaves the pool; `other` takes its place if there is one.
    pub fn replace(&self, place: u32, other: Option<GrantRef>) {
        match other {
            Some(gref) => {
                self.fill(place, gref.0);
                self.free.put(place);
            }
            None => {
                self.fill(place, NONE);
                self.bare.put(place);
            }
        }
    }

    /// The place has one user, who made it or took it: nobody else writes it.
    fn fill(&self, place: u32, gref: u32) {
        if let Some(slot) = self.refs.get(place as usize) {
            slot.store(gref);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::atomic::{AtomicU32, AtomicU64},
        vec::Vec,
    };

    fn places(refs: &[u32]) -> Places<AtomicU64, Vec<AtomicU32>> {
        let links = || refs.iter().map(|_| AtomicU32::new(7)).collect();
        Places::new(
            refs.iter().map(|gref| AtomicU32::new(*gref)).collect(),
            [AtomicU64::new(0), AtomicU64::new(0)],
            links(),
            links(),
        )
    }

    fn none() -> Option<GrantRef> {
        None
    }

    #[test]
    fn bare_places_are_filled_when_the_others_are_taken() {
        let refs = [8, NONE, 9, NONE];
        let links = || refs.iter().map(|_| AtomicU32::new(7)).collect();
        let places: Places<AtomicU64, Vec<AtomicU32>> = Places::new(
            refs.iter().map(|gref| AtomicU32::new(*gref)).collect(),
            [AtomicU64::new(0), AtomicU64::new(0)],
            links(),
            links(),
        );
        assert_eq!(places.refs().count(), 2);
        let first = places.take(none).unwrap();
        let second = places.take(none).unwrap();
        assert_eq!((first.1, second.1), (GrantRef(8), GrantRef(9)));
        assert_eq!(places.take(none), None);
        let third = places.take(|| Some(GrantRef(20))).unwrap();
        let fourth = places.take(|| Some(GrantRef(21))).unwrap();
        assert_eq!((third.1, fourth.1), (GrantRef(20), GrantRef(21)));
        // There is no place for another.
        assert_eq!(places.take(|| Some(GrantRef(22))), None);
        places.put(third.0);
        assert_eq!(places.take(none), Some(third));
    }

    #[test]
    fn each_place_has_its_reference() {
        let places = places(&[8, 9, 10]);
        assert_eq!((places.len(), places.is_empty()), (3, false));
        let mut taken: Vec<_> = core::iter::from_fn(|| places.take(none)).collect();
        taken.sort_unstable_by_key(|(place, _)| *place);
        let all = [(0, GrantRef(8)), (1, GrantRef(9)), (2, GrantRef(10))];
        assert_eq!(taken, all);
        assert_eq!(places.get(1), Some(GrantRef(9)));
        assert_eq!(places.get(3), None);
        places.put(1);
        assert_eq!(places.take(|| panic!("one is free")), Some(all[1]));
    }

    #[test]
    fn a_reference_that_leaves_is_replaced() {
        let places = places(&[8]);
        let (place, _) = places.take(none).unwrap();
        places.replace(place, Some(GrantRef(20)));
        assert_eq!(places.take(none), Some((0, GrantRef(20))));
        assert!(places.refs().eq([GrantRef(20)]));
    }

    /// Whatever is free at the time, each place serves again.
    #[test]
    fn no_place_is_lost_when_no_other_reference_is_free() {
        let places = places(&[8, 9]);
        for _ in 0..2 {
            let (place, _) = places.take(none).unwrap();
            places.replace(place, None);
        }
        assert_eq!(places.refs().count(), 0);
        assert_eq!((places.get(0), places.get(1)), (None, None));
        // Still none is free.
        assert_eq!(places.take(none), None);
        let first = places.take(|| Some(GrantRef(30))).unwrap();
        let second = places.take(|| Some(GrantRef(31))).unwrap();
        assert_ne!(first.0, second.0);
        assert_eq!((first.1, second.1), (GrantRef(30), GrantRef(31)));
        assert_eq!(places.take(|| panic!("no place is left")), None);
        places.put(first.0);
        assert_eq!(places.take(none), Some(first));
        assert_eq!(places.refs().count(), 2);
    }

    #[test]
    fn a_free_place_comes_before_a_bare_one() {
        let places = places(&[8, 9]);
        let (place, _) = places.take(none).unwrap();
        places.replace(place, None);
        assert!(places.take(|| panic!("a place is free")).is_some());
    }
}
