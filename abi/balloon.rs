// SPDX-License-Identifier: GPL-2.0

//! How much of its memory a guest gives back to Xen, by what the toolstack writes under `memory/`.
//!
//! A guest is built with `static-max` and is to live with `target`, so the difference has to be away: given back to Xen. What
//! the device model shows as video memory is part of the first but neither of the second nor the guest's to give.
//! Whatever is written there, the guest keeps what it needs to stay alive.
//!
//! Implements the paths `~/memory/static-max`, `~/memory/target` and `~/memory/videoram` of Xen's document
//! `xenstore-paths.pandoc`. Sizes there are in KiB, here in pages.

use crate::xenstore::value::{BadNumber, Number};

/// What the toolstack wants the guest to have.
pub const TARGET: &str = "memory/target";
/// What the guest was built with.
pub const STATIC_MAX: &str = "memory/static-max";
/// What of it is video memory. A toolstack need not write it.
pub const VIDEORAM: &str = "memory/videoram";

/// Most pages that are given or taken in one step: two MiB, for which a hypercall takes a page of frame numbers.
pub const BATCH: usize = 512;

/// Pages of a MiB.
const MIB: u64 = 256;

/// Reads a size as a number of pages.
///
/// # Errors
///
/// [`BadNumber`] when the value is no decimal number.
pub fn pages(value: &[u8]) -> Result<u64, BadNumber> {
    u64::parse(value.strip_suffix(b"\0").unwrap_or(value)).map(|kib| kib / 4)
}

/// MiB of so many pages, rounded down.
pub const fn mib(pages: u64) -> u64 {
    pages / MIB
}

/// How many pages have to be away.
pub fn wanted(static_max: u64, videoram: u64, target: u64) -> u64 {
    static_max.saturating_sub(videoram).saturating_sub(target)
}

/// The memory of the guest, in pages.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// What the kernel manages now.
    pub managed: u64,
    /// What of it can be had without swapping.
    pub available: u64,
    /// What is away.
    pub away: u64,
}

/// What the guest keeps, whatever is wanted: an eighth of what it has with nothing away, from 64 MiB to 1 GiB.
pub fn floor(full: u64) -> u64 {
    (full / 8).clamp(64 * MIB, 1024 * MIB)
}

/// What has to stay available: a 32nd of what the kernel manages now, from 8 MiB on.
fn reserve(managed: u64) -> u64 {
    (managed / 32).max(8 * MIB)
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: what is away is what is wanted.
    Done,
    /// Give so many pages to Xen.
    Give(usize),
    /// Take so many pages back.
    Take(usize),
    /// Nothing until something else is wanted: more would be below the [`floor`].
    AtFloor,
    /// Nothing until programs need less: what is left is in use.
    InUse,
}

/// Decides the next step towards `wanted` pages away.
pub fn step(wanted: u64, memory: Memory) -> Step {
    let batch = |pages: u64| usize::try_from(pages).map_or(BATCH, |pages| pages.min(BATCH));
    if let Some(back @ 1..) = memory.away.checked_sub(wanted) {
        return Step::Take(batch(back));
    }
    let more = wanted.saturating_sub(memory.away);
    if more == 0 {
        return Step::Done;
    }
    let full = memory.managed.saturating_add(memory.away);
    let above = memory.managed.saturating_sub(floor(full));
    if above == 0 {
        return Step::AtFloor;
    }
    let unused = memory.available.saturating_sub(reserve(memory.managed));
    if unused == 0 {
        return Step::InUse;
    }
    Step::Give(batch(more.min(above).min(unused)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_kib() {
        assert_eq!(pages(b"524288"), Ok(131_072));
        assert_eq!(pages(b"524288\0"), Ok(131_072));
        assert_eq!(pages(b"0"), Ok(0));
        assert_eq!(pages(b"7"), Ok(1));
        assert_eq!(pages(b"18446744073709551615"), Ok(u64::MAX / 4));
        let others: [&[u8]; 8] = [
            b"",
            b"\0",
            b"-4",
            b"4 ",
            b"0x10",
            b"18446744073709551616",
            b"4\0\0",
            &[0xff; 4096],
        ];
        for other in others {
            assert!(pages(other).is_err(), "{other:?}");
        }
        assert_eq!(mib(pages(b"524288").unwrap()), 512);
    }

    #[test]
    fn the_difference_has_to_be_away() {
        assert_eq!(wanted(512 * MIB, 0, 256 * MIB), 256 * MIB);
        assert_eq!(wanted(512 * MIB, 8 * MIB, 504 * MIB), 0);
        assert_eq!(wanted(512 * MIB, 0, 512 * MIB), 0);
        // Nobody can have more than was built.
        assert_eq!(wanted(512 * MIB, 0, u64::MAX), 0);
        assert_eq!(wanted(0, u64::MAX, 0), 0);
        assert_eq!(wanted(u64::MAX, 0, 0), u64::MAX);
    }

    /// A guest of which nothing is in use.
    fn idle(full: u64, away: u64) -> Memory {
        Memory {
            managed: full - away,
            available: full - away,
            away,
        }
    }

    #[test]
    fn steps_are_batches_and_end_where_it_is_wanted() {
        let full = 512 * MIB;
        assert_eq!(step(0, idle(full, 0)), Step::Done);
        assert_eq!(step(1000, idle(full, 0)), Step::Give(BATCH));
        assert_eq!(step(1000, idle(full, 512)), Step::Give(488));
        assert_eq!(step(1000, idle(full, 1000)), Step::Done);
        assert_eq!(step(1000, idle(full, 1001)), Step::Take(1));
        assert_eq!(step(0, idle(full, 1000)), Step::Take(BATCH));
    }

    /// Does what is decided until it is at rest.
    fn settle(wanted: u64, full: u64, in_use: u64) -> (u64, Step) {
        let mut away = 0;
        loop {
            let memory = Memory {
                available: (full - away).saturating_sub(in_use),
                ..idle(full, away)
            };
            match step(wanted, memory) {
                Step::Give(pages @ 1..=BATCH) => away += pages as u64,
                Step::Take(pages @ 1..=BATCH) => away -= pages as u64,
                rest => return (away, rest),
            }
        }
    }

    #[test]
    fn a_hostile_target_stops_at_the_floor() {
        for full in [256 * MIB, 512 * MIB, 4096 * MIB, 32_768 * MIB] {
            let (away, rest) = settle(u64::MAX, full, 0);
            assert_eq!(rest, Step::AtFloor);
            assert_eq!(full - away, floor(full));
        }
        assert_eq!(floor(0), 64 * MIB);
        assert_eq!(floor(4096 * MIB), 512 * MIB);
        assert_eq!(floor(u64::MAX), 1024 * MIB);
        // Smaller than the floor already.
        assert_eq!(settle(u64::MAX, 32 * MIB, 0), (0, Step::AtFloor));
    }

    #[test]
    fn what_programs_use_is_not_given() {
        let full = 512 * MIB;
        let (away, rest) = settle(256 * MIB, full, 400 * MIB);
        assert_eq!(rest, Step::InUse);
        let left = full - away;
        assert!(left - 400 * MIB >= 8 * MIB && left - 400 * MIB <= 16 * MIB + 1);
        assert_eq!(settle(256 * MIB, full, 200 * MIB), (256 * MIB, Step::Done));
    }

    #[test]
    fn no_number_is_too_large() {
        let numbers = [0, 1, 511, 513, 64 * MIB, u64::MAX - 1, u64::MAX];
        for wanted in numbers {
            for managed in numbers {
                for available in numbers {
                    for away in numbers {
                        let memory = Memory {
                            managed,
                            available,
                            away,
                        };
                        if let Step::Give(pages) | Step::Take(pages) = step(wanted, memory) {
                            assert!((1..=BATCH).contains(&pages));
                        }
                    }
                }
            }
        }
    }
}
