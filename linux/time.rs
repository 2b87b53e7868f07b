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
mod tsc;
pub mod wall;

pub use tsc::{
    kernel_trusts_tsc,
    tsc,
    TscHere, //
};
