// SPDX-License-Identifier: GPL-2.0

//! Numbers that only grow, for people to look at.

use core::fmt;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// Counts something, from any context and on any CPU, and orders nothing. It prints as its number.
pub struct Counter(Atomic<u64>);

impl Counter {
    /// Zero.
    pub const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Counts one.
    #[inline]
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts `n`.
    #[inline]
    pub fn add(&self, n: usize) {
        // CAST: `usize` has 64 bits.
        self.0.add(n as u64, Relaxed);
    }

    /// The number.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[kunit_tests(oxen_counter)]
mod tests {
    use super::*;
    use kernel::str::CString;

    #[test]
    fn it_prints_what_it_counted() -> Result {
        let counter = Counter::new();
        counter.count();
        counter.add(1499);
        counter.add(0);
        assert_eq!(counter.get(), 1500);
        let text = CString::try_from_fmt(format_args!("{counter}"))?;
        assert_eq!(&*text, c"1500");
        Ok(())
    }
}
