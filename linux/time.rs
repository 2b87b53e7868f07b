// SPDX-License-Identifier: GPL-2.0

//! Clocks and timers that a driver provides, and the time of day.
//!
//! [`clocksource`] is what the kernel reads the time from, [`clockevent`] what wakes a CPU up, [`ptp`] a clock that
//! programs compare theirs with, [`wall`] the time of day.
//!
//! C headers: `include/linux/clocksource.h`, `include/linux/clockchips.h`, `include/linux/timekeeping.h`

pub mod clockevent;
pub mod clocksource;
pub mod ptp;
pub mod wall;

use crate::bindings;

/// Reads the TSC, not before what comes before it has been done.
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: Every CPU of 64 bits has a TSC.
    unsafe { bindings::rdtsc_ordered() }
}

/// Reads the TSC of the CPU that this runs on, and tells which that was. For any context, and for what tracing itself calls.
#[inline]
pub fn tsc_here() -> (u64, u32) {
    let mut cpu = 0;
    // SAFETY: Every CPU of 64 bits has a TSC; the number is valid for writes.
    let tsc = unsafe { bindings::tsc_here(&mut cpu) };
    (tsc, cpu)
}

/// Tells whether the kernel takes the TSC for a clock that never stops and agrees on all CPUs.
pub fn kernel_trusts_tsc() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::kernel_trusts_tsc() }
}
