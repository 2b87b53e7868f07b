// SPDX-License-Identifier: GPL-2.0

//! How often something that keeps failing is tried again, and how soon. Times are milliseconds of one clock that never
//! goes backwards.

/// Connections within a window of time.
///
/// A window begins with the first attempt after the end of the one before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempts {
    made: u32,
    since: u64,
}

impl Attempts {
    /// Most attempts within a window.
    pub const MOST: u32 = 5;

    /// Length of a window.
    pub const WINDOW_MS: u64 = 60_000;

    /// How long to rest after too many of them.
    pub const REST_MS: u64 = 60_000;

    /// None made so far.
    pub const fn new() -> Self {
        Self { made: 0, since: 0 }
    }

    /// Counts an attempt that is about to be made at `now`. False when there were too many of late: do not make it.
    pub fn another(&mut self, now: u64) -> bool {
        if self.made == 0 || now.saturating_sub(self.since) >= Self::WINDOW_MS {
            *self = Self {
                made: 0,
                since: now,
            };
        }
        self.made = self.made.saturating_add(1);
        self.made <= Self::MOST
    }
}

/// Pauses before a failed step is taken again: doubled from the first to the last.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: u64,
}

impl Backoff {
    /// The first pause.
    pub const FIRST_MS: u64 = 100;

    /// The longest pause.
    pub const LAST_MS: u64 = 10_000;

    /// Nothing has failed.
    pub const fn new() -> Self {
        Self {
            next: Self::FIRST_MS,
        }
    }

    /// Returns how long to wait after a failure.
    pub fn pause(&mut self) -> u64 {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(Self::LAST_MS);
        pause
    }

    /// A step has succeeded.
    pub fn succeeded(&mut self) {
        *self = Self::new();
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_so_many_attempts() {
        let mut attempts = Attempts::new();
        for at in 0..u64::from(Attempts::MOST) {
            assert!(attempts.another(1000 + at));
        }
        assert!(!attempts.another(1000 + Attempts::WINDOW_MS - 1));
        // The next window begins when this one is over, however often it was asked meanwhile.
        assert!(attempts.another(1000 + Attempts::WINDOW_MS));
    }

    #[test]
    fn after_a_rest_there_are_attempts_again() {
        let mut attempts = Attempts::new();
        let mut now = 5;
        while attempts.another(now) {
            now += 1;
        }
        assert!(attempts.another(now + Attempts::REST_MS));
    }

    #[test]
    fn pauses_grow_to_a_limit_and_begin_anew() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.pause(), Backoff::FIRST_MS);
        assert_eq!(backoff.pause(), 2 * Backoff::FIRST_MS);
        for _ in 0..20 {
            assert!(backoff.pause() <= Backoff::LAST_MS);
        }
        assert_eq!(backoff.pause(), Backoff::LAST_MS);
        backoff.succeeded();
        assert_eq!(backoff.pause(), Backoff::FIRST_MS);
    }
}
