// SPDX-License-Identifier: GPL-2.0

//! Time as the hypervisor gives it: a snapshot that it renews, and the TSC since then.
//!
//! Implements `struct vcpu_time_info` and the wall clock fields of `struct shared_info` of Xen's public header `xen.h`.
//! The hypervisor makes the version odd while it writes; a reader that saw an odd version, or another one afterwards,
//! has to read again.

use crate::shared::Memory;
use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};

/// Offset of `time` in a `vcpu_info`.
pub const VCPU_TIME: usize = 32;

/// Offset of `wc_version` in `shared_info`.
pub const WALL_CLOCK: usize = 3072;

/// Flag: the TSCs of all vCPUs agree (`XEN_PVCLOCK_TSC_STABLE_BIT`).
pub const TSC_STABLE: u8 = 1 << 0;

/// How often a snapshot is read before giving up: the writer is never that long about it.
const ATTEMPTS: usize = 64;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

crate::shared::wire! {
    /// `struct vcpu_time_info`.
    pub struct TimeInfo {
        /// Odd while the hypervisor writes.
        pub version: u32,
        /// Padding.
        pub pad0: u32,
        /// TSC when the snapshot was made.
        pub tsc_timestamp: u64,
        /// Nanoseconds since the guest's start, at that TSC.
        pub system_time: u64,
        /// Nanoseconds per shifted TSC tick, as a fraction of 2^32.
        pub tsc_to_system_mul: u32,
        /// How far to shift the ticks left, or right if negative.
        pub tsc_shift: i8,
        /// [`TSC_STABLE`] and others.
        pub flags: u8,
        /// Padding.
        pub pad1: [u8; 2],
    }

    /// The wall clock at system time 0.
    pub struct WallClock {
        /// Odd while the hypervisor writes, 0 before it has ever written.
        pub version: u32,
        /// Low half of the seconds since 1970.
        pub sec: u32,
        /// Nanoseconds.
        pub nsec: u32,
        /// High half of the seconds.
        pub sec_hi: u32,
    }
}

impl TimeInfo {
    /// Copies a consistent snapshot from `offset` on. `None` if the writer did not come to an end.
    #[inline]
    pub fn read<M: Memory>(memory: &M, offset: usize) -> Option<Self> {
        (0..ATTEMPTS).find_map(|_| Self::snapshot(memory, offset))
    }

    /// Copies a snapshot from `offset` on, unless the writer is at it.
    #[inline]
    pub fn snapshot<M: Memory>(memory: &M, offset: usize) -> Option<Self> {
        let [version, tsc_timestamp, system_time, rate, after] =
            memory.load_4_u64_and_first(offset);
        // CAST: Padding is above it.
        let version = version as u32;
        // CAST: As above.
        if version & 1 != 0 || after as u32 != version {
            return None;
        }
        let [m0, m1, m2, m3, tsc_shift, flags, pad @ ..] = rate.to_le_bytes();
        Some(Self {
            version,
            pad0: 0,
            tsc_timestamp,
            system_time,
            tsc_to_system_mul: u32::from_le_bytes([m0, m1, m2, m3]),
            // CAST: The same eight bits.
            tsc_shift: tsc_shift as i8,
            flags,
            pad1: pad,
        })
    }

    /// Nanoseconds since the guest's start when the TSC reads `tsc`.
    ///
    /// A TSC that is behind the snapshot, as another vCPU's may be by a little, counts as the snapshot's own.
    #[inline]
    pub fn nanoseconds(&self, tsc: u64) -> u64 {
        let ticks = tsc.wrapping_sub(self.tsc_timestamp);
        let ticks = if ticks >> 63 == 0 { ticks } else { 0 };
        self.system_time
            .wrapping_add(scale(ticks, self.tsc_to_system_mul, self.tsc_shift))
    }

    /// TSC ticks per second, `None` if that cannot be.
    pub fn hz(&self) -> Option<u64> {
        const ONE: u64 = 1_000_000_000 << 32;
        let mul = u64::from(self.tsc_to_system_mul);
        let by = self.tsc_shift.checked_neg()?;
        let whole = shift(ONE.checked_div(mul)?, by);
        // A shift to the left would leave low bits empty that the remainder knows.
        let rest = match by {
            1..=31 => shift(ONE.checked_rem(mul)?, by).checked_div(mul)?,
            _ => 0,
        };
        let hz = whole.wrapping_add(rest);
        (hz != 0).then_some(hz)
    }

    /// TSC ticks per millisecond, `None` if that cannot be.
    pub fn khz(&self) -> Option<u64> {
        self.hz().map(|hz| hz / 1000).filter(|khz| *khz != 0)
    }

    /// Tells whether both have the TSC tick at the same rate.
    pub fn has_rate_of(&self, other: &Self) -> bool {
        (self.tsc_to_system_mul, self.tsc_shift) == (other.tsc_to_system_mul, other.tsc_shift)
    }

    /// Tells whether the TSCs of all vCPUs agree.
    pub fn is_tsc_stable(&self) -> bool {
        self.flags & TSC_STABLE != 0
    }
}

impl WallClock {
    /// Copies a consistent value from `offset` on. `None` if there is none yet, or if it cannot be a time.
    pub fn read<M: Memory>(memory: &M, offset: usize) -> Option<Self> {
        consistent(memory, offset, |clock: &Self| clock.version)
            .filter(|clock| clock.version != 0 && u64::from(clock.nsec) < NANOS_PER_SECOND)
    }

    /// Seconds since 1970.
    pub fn seconds(&self) -> u64 {
        u64::from(self.sec_hi) << 32 | u64::from(self.sec)
    }

    /// The time of day at a system time, which is in nanoseconds.
    pub fn at(&self, system_time: u64) -> Moment {
        // Both terms are below 10^9.
        let nanoseconds = (system_time % NANOS_PER_SECOND).wrapping_add(u64::from(self.nsec));
        Moment {
            seconds: self
                .seconds()
                .wrapping_add(system_time / NANOS_PER_SECOND)
                .wrapping_add(nanoseconds / NANOS_PER_SECOND),
            // CAST: Below 10^9.
            nanoseconds: (nanoseconds % NANOS_PER_SECOND) as u32,
        }
    }
}

/// A time of day; the later one is the greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Seconds since 1970.
    pub seconds: u64,
    /// Nanoseconds, below 10^9.
    pub nanoseconds: u32,
}

impl Moment {
    /// Nanoseconds from `earlier` to this; 0 if that is later, the most there is if they do not fit.
    pub fn since(self, earlier: Self) -> u64 {
        let seconds = self.seconds.saturating_sub(earlier.seconds);
        if self < earlier {
            return 0;
        }
        seconds
            .saturating_mul(NANOS_PER_SECOND)
            .saturating_add(u64::from(self.nanoseconds))
            .saturating_sub(u64::from(earlier.nanoseconds))
    }
}

/// How far one clock of the time of day is ahead of another, in nanoseconds; negative if it is behind. At most 292 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead(i64);

impl Ahead {
    /// Nanoseconds between the two.
    pub fn differs(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }
}

impl Moment {
    /// How far this clock is ahead of one that shows `other` now.
    pub fn ahead_of(self, other: Self) -> Ahead {
        let clamped = |nanoseconds: u64| i64::try_from(nanoseconds).unwrap_or(i64::MAX);
        match clamped(self.since(other)) {
            0 => Ahead(clamped(other.since(self)).saturating_neg()),
            ahead => Ahead(ahead),
        }
    }

    /// What a clock shows that is so far ahead of this one. `None` before 1970.
    pub fn plus(self, ahead: Ahead) -> Option<Self> {
        const SECOND: i64 = NANOS_PER_SECOND as i64;

        let nanoseconds = i64::from(self.nanoseconds).checked_add(ahead.0.rem_euclid(SECOND))?;
        let carry = nanoseconds.div_euclid(SECOND);
        let seconds = ahead.0.div_euclid(SECOND).checked_add(carry)?;
        Some(Self {
            seconds: self.seconds.checked_add_signed(seconds)?,
            // CAST: Below 10^9.
            nanoseconds: nanoseconds.rem_euclid(SECOND) as u32,
        })
    }
}

/// The last time that anybody was told, so that nobody is told an earlier one.
///
/// Records of different vCPUs disagree by a little, unless the hypervisor says that all TSCs agree.
#[derive(Debug, Default)]
pub struct Monotonic(AtomicU64);

impl Monotonic {
    /// Nobody was told anything yet.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Makes `now` what is told, unless a later time was told before: then that is.
    #[inline]
    pub fn tell(&self, now: u64) -> u64 {
        let mut last = self.0.load(Ordering::Relaxed);
        while last < now {
            match self
                .0
                .compare_exchange_weak(last, now, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return now,
                Err(later) => last = later,
            }
        }
        last
    }

    /// Begins anew: the system time of another host is another one.
    pub fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Copies a value whose first word is a version, until the version is even and the same before and after.
fn consistent<M: Memory, T: crate::shared::Pod>(
    memory: &M,
    offset: usize,
    version: impl Fn(&T) -> u32,
) -> Option<T> {
    for _ in 0..ATTEMPTS {
        // Acquire: what belongs to a version is read after it,
        let before = memory.load_acquire_u32(offset);
        let value: T = memory.read_value(offset);
        // and the version once more after that.
        memory.fence();
        let after = memory.load_u32(offset);
        if before & 1 == 0 && before == version(&value) && before == after {
            return Some(value);
        }
    }
    None
}

/// Shifts left by `by`, or right if it is negative; what does not fit is lost.
#[inline]
fn shift(value: u64, by: i8) -> u64 {
    let distance = u32::from(by.unsigned_abs());
    let shifted = if by < 0 {
        value.checked_shr(distance)
    } else {
        value.checked_shl(distance)
    };
    shifted.unwrap_or(0)
}

/// `(ticks << by) * mul >> 32`, in 64 bits.
#[inline]
fn scale(ticks: u64, mul: u32, by: i8) -> u64 {
    let product = u128::from(shift(ticks, by)).wrapping_mul(u128::from(mul));
    // CAST: The product is below 2^96.
    (product >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: TimeInfo = TimeInfo {
        version: 2,
        pad0: 0,
        tsc_timestamp: 1000,
        system_time: 5_000_000,
        tsc_to_system_mul: 0x8000_0000,
        tsc_shift: 1,
        flags: TSC_STABLE,
        pad1: [0; 2],
    };

    #[test]
    fn a_tick_a_nanosecond() {
        assert_eq!(INFO.nanoseconds(1000), 5_000_000);
        assert_eq!(INFO.nanoseconds(1700), 5_000_700);
        assert_eq!(INFO.nanoseconds(999), 5_000_000, "behind the snapshot");
        assert_eq!(INFO.khz(), Some(1_000_000));
        assert!(INFO.is_tsc_stable());
    }

    #[test]
    fn a_slow_tsc_shifts_left_and_a_fast_one_right() {
        let slow = TimeInfo {
            tsc_shift: 3,
            ..INFO
        };
        assert_eq!(slow.nanoseconds(1001), 5_000_004);
        assert_eq!(slow.khz(), Some(250_000));
        let fast = TimeInfo {
            tsc_shift: -1,
            ..INFO
        };
        assert_eq!(fast.nanoseconds(1008), 5_000_002);
        assert_eq!(fast.khz(), Some(4_000_000));
    }

    #[test]
    fn nonsense_gives_no_frequency_and_no_panic() {
        for tsc_shift in [i8::MIN, -64, 63, 64, i8::MAX] {
            let info = TimeInfo { tsc_shift, ..INFO };
            let _ = (info.nanoseconds(u64::MAX), info.khz());
        }
        assert_eq!(
            TimeInfo {
                tsc_shift: -1,
                tsc_to_system_mul: 0xcccc_cccd,
                ..INFO
            }
            .hz(),
            Some(2_499_999_999)
        );
        assert_eq!(
            TimeInfo {
                tsc_to_system_mul: 0,
                ..INFO
            }
            .khz(),
            None
        );
        assert_eq!(
            TimeInfo {
                tsc_shift: i8::MIN,
                ..INFO
            }
            .khz(),
            None
        );
        assert_eq!(
            TimeInfo {
                tsc_shift: 63,
                ..INFO
            }
            .khz(),
            None
        );
    }

    #[test]
    fn a_moment_is_the_wall_clock_and_the_system_time() {
        let clock = WallClock {
            version: 2,
            sec: 0xffff_ffff,
            nsec: 999_999_999,
            sec_hi: 1,
        };
        let moment = clock.at(2_000_000_001);
        assert_eq!(moment.seconds, (2 << 32) + 2);
        assert_eq!(moment.nanoseconds, 0);
        assert!(moment > clock.at(2_000_000_000));
        assert_eq!(moment.since(clock.at(0)), 2_000_000_001);
        assert_eq!(clock.at(0).since(moment), 0);
        assert_eq!(clock.at(0).since(clock.at(0)), 0);
        let epoch = Moment {
            seconds: 0,
            nanoseconds: 0,
        };
        let far = Moment {
            seconds: u64::MAX,
            nanoseconds: 5,
        };
        assert_eq!(far.since(epoch), u64::MAX);
    }

    #[test]
    fn nobody_is_told_an_earlier_time() {
        let clock = Monotonic::new();
        assert_eq!(clock.tell(5), 5);
        assert_eq!(clock.tell(3), 5);
        assert_eq!(clock.tell(6), 6);
        assert_eq!(clock.tell(6), 6);
        clock.forget();
        assert_eq!(clock.tell(1), 1);
    }

    #[test]
    fn records_of_one_host_have_one_rate() {
        let other = TimeInfo {
            tsc_timestamp: 7,
            system_time: 9,
            flags: 0,
            ..INFO
        };
        assert!(INFO.has_rate_of(&other));
        assert!(!INFO.has_rate_of(&TimeInfo {
            tsc_shift: 2,
            ..INFO
        }));
        assert!(!INFO.has_rate_of(&TimeInfo {
            tsc_to_system_mul: 1,
            ..INFO
        }));
    }

    #[test]
    fn a_clock_stays_as_far_from_another_as_it_was() {
        let at = |seconds, nanoseconds| Moment {
            seconds,
            nanoseconds,
        };
        let before = at(1_000, 400_000_000);
        let later = at(5_000, 900_000_000);
        for (ours, expected) in [
            (at(1_000, 400_000_000), later),
            (at(1_000, 400_000_001), at(5_000, 900_000_001)),
            (at(1_001, 300_000_000), at(5_001, 800_000_000)),
            (at(1_000, 999_000_000), at(5_001, 499_000_000)),
            (at(999, 999_999_999), at(5_000, 499_999_999)),
            (at(0, 0), at(4_000, 500_000_000)),
        ] {
            let ahead = ours.ahead_of(before);
            assert_eq!(later.plus(ahead), Some(expected));
            assert_eq!(expected.ahead_of(later), ahead);
        }
        let behind = before.ahead_of(later);
        assert_eq!(at(10, 0).plus(behind), None, "before 1970");
        assert_eq!(behind.differs(later.ahead_of(before)), 8_001_000_000_000);
    }
}
