// SPDX-License-Identifier: GPL-2.0

//! Time as the hypervisor gives it: a snapshot that it renews, and the TSC since then.
//!
//! Implements `struct vcpu_time_info` and the wall clock fields of `struct shared_info` of Xen's public header `xen.h`.
//! The hypervisor makes the version odd while it writes; a reader that saw an odd version, or another one afterwards,
//! has to read again.

use crate::shared::Memory;

/// Offset of `time` in a `vcpu_info`.
pub const VCPU_TIME: usize = 32;

/// Offset of `wc_version` in `shared_info`.
pub const WALL_CLOCK: usize = 3072;

/// Flag: the TSCs of all vCPUs agree (`XEN_PVCLOCK_TSC_STABLE_BIT`).
pub const TSC_STABLE: u8 = 1 << 0;

/// How often a snapshot is read before giving up: the writer is never that long about it.
const ATTEMPTS: usize = 64;

const NANOS_PER_SECOND: u32 = 1_000_000_000;

crate::wire! {
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
    pub fn read<M: Memory>(memory: &M, offset: usize) -> Option<Self> {
        consistent(memory, offset, |info: &Self| info.version)
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

    /// TSC ticks per millisecond, `None` if that cannot be.
    pub fn khz(&self) -> Option<u64> {
        let unshifted = (1_000_000u64 << 32).checked_div(u64::from(self.tsc_to_system_mul))?;
        let khz = shift(unshifted, self.tsc_shift.checked_neg()?);
        (khz != 0).then_some(khz)
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
            .filter(|clock| clock.version != 0 && clock.nsec < NANOS_PER_SECOND)
    }

    /// Seconds since 1970.
    pub fn seconds(&self) -> u64 {
        u64::from(self.sec_hi) << 32 | u64::from(self.sec)
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
    let ticks = shift(ticks, by);
    let mul = u64::from(mul);
    // Neither product can overflow: both factors are below 2^32.
    let low = (ticks & 0xffff_ffff).wrapping_mul(mul) >> 32;
    (ticks >> 32).wrapping_mul(mul).wrapping_add(low)
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
}
