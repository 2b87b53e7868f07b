// SPDX-License-Identifier: GPL-2.0

//! Where in a file its pages are: in the order in which they were made, and no place is used twice.

use core::ops::Range;

/// The places of a file that have not been used.
#[derive(Debug, Default)]
pub struct Space {
    next: u64,
}

impl Space {
    /// The first of `count` places, which are used from now on; none when the file is full, or for no place.
    pub fn take(&mut self, count: u64) -> Option<u64> {
        // An offset counts bytes, and has a sign.
        const END: u64 = (i64::MAX as u64) >> 12;
        let first = self.next;
        let next = first.checked_add(count)?;
        if count == 0 || next > END {
            return None;
        }
        self.next = next;
        Some(first)
    }
}

/// Finds `count` items with places that follow each other, from `first` on, among items in the order of their places.
pub fn run<T>(
    items: &[T],
    place: impl Fn(&T) -> u64,
    first: u64,
    count: u64,
) -> Option<Range<usize>> {
    let start = items.binary_search_by_key(&first, &place).ok()?;
    let steps = count.checked_sub(1)?;
    let last = start.checked_add(usize::try_from(steps).ok()?)?;
    // No place is there twice, so nothing is missing in between.
    (place(items.get(last)?) == first.checked_add(steps)?).then(|| start..last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_once_and_end() {
        let mut space = Space::default();
        assert_eq!(space.take(0), None);
        assert_eq!(space.take(3), Some(0));
        assert_eq!(space.take(1), Some(3));
        assert_eq!(space.take(u64::MAX), None);
        assert_eq!(space.take(1 << 51), None);
        assert_eq!(space.take((1 << 51) - 5), Some(4));
        assert_eq!(space.take(1), None);
    }

    #[test]
    fn a_run_has_no_gap() {
        let items = [3u64, 4, 5, 7, 8];
        let find = |first, count| run(&items, |place| *place, first, count);
        assert_eq!(find(3, 1), Some(0..1));
        assert_eq!(find(3, 3), Some(0..3));
        assert_eq!(find(4, 2), Some(1..3));
        assert_eq!(find(7, 2), Some(3..5));
        for (first, count) in [
            (3, 0),
            (3, 4),
            (3, 5),
            (6, 1),
            (8, 2),
            (9, 1),
            (3, u64::MAX),
            (u64::MAX, 2),
        ] {
            assert_eq!(find(first, count), None, "{count} from {first}");
        }
        assert_eq!(run(&[], |place: &u64| *place, 0, 1), None);
        assert_eq!(run(&[u64::MAX], |place| *place, u64::MAX, 1), Some(0..1));
    }
}
