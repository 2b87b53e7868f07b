// SPDX-License-Identifier: GPL-2.0

//! The time of day.
//!
//! C header: `include/linux/timekeeping.h`

use crate::bindings;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// The kernel's time of day: seconds since 1970, and nanoseconds.
pub fn now() -> (i64, u32) {
    let mut time: bindings::timespec64 = pin_init::zeroed();
    // SAFETY: The structure is valid for writes.
    unsafe { bindings::ktime_get_real_ts64(&mut time) };
    // CAST: Below 10^9.
    (time.tv_sec, time.tv_nsec as u32)
}

/// Sets the kernel's time of day. May sleep.
///
/// # Errors
///
/// `EINVAL` for a time that cannot be.
pub fn set(seconds: i64, nanoseconds: u32) -> Result {
    let time = bindings::timespec64 {
        tv_sec: seconds,
        tv_nsec: nanoseconds as isize,
    };
    // SAFETY: The structure is valid for reads.
    to_result(unsafe { bindings::do_settimeofday64(&time) })
}

#[kunit_tests(oxen_wall)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_set_is_told() -> Result {
        let (seconds, nanoseconds) = now();
        set(seconds + 100, nanoseconds)?;
        let (later, _) = now();
        assert!(later >= seconds + 100);
        set(seconds, nanoseconds)?;
        assert_eq!(set(-1, 0), Err(EINVAL));
        Ok(())
    }
}
