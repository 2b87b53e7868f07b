// SPDX-License-Identifier: GPL-2.0

//! How often something that keeps failing may be tried again.

use kernel::time::{
    Delta,
    Instant,
    Monotonic, //
};

/// Attempts within one window of time.
///
/// A window begins with the first attempt after the end of the one before.
pub struct Attempts {
    made: u32,
    first: Instant<Monotonic>,
}

impl Attempts {
    /// Most attempts within [`WITHIN`](Self::WITHIN).
    pub const MOST: u32 = 5;

    /// Length of a window.
    pub const WITHIN: Delta = Delta::from_secs(60);

    /// None made so far.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            made: 0,
            first: Instant::now(),
        }
    }

    /// Counts an attempt that is about to be made. False when there were too many of late: do not make it.
    pub fn another(&mut self) -> bool {
        if self.made == 0 || self.first.elapsed() > Self::WITHIN {
            self.made = 0;
            self.first = Instant::now();
        }
        self.made = self.made.saturating_add(1);
        self.made <= Self::MOST
    }
}

#[kernel::prelude::kunit_tests(oxen_attempts)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_window_is_the_last() {
        let mut attempts = Attempts::new();
        for _ in 0..Attempts::MOST {
            assert!(attempts.another());
        }
        for _ in 0..3 {
            assert!(!attempts.another());
        }
    }
}
