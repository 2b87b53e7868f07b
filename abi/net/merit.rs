// SPDX-License-Identifier: GPL-2.0

//! Which events of a backend brought nothing.
//!
//! What an event announces may be found by other means before the event comes: by a poll that still ran, or by a sender who
//! looks for answers. So an event is spurious only if nothing at all was found since the last one ended.

use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};

/// Whether anything was found since the last event ended.
#[derive(Debug, Default)]
pub struct Merit(AtomicBool);

impl Merit {
    /// Nothing was found yet.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Something was found.
    #[inline]
    pub fn found(&self) {
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// An event ends. Returns whether it was spurious.
    #[inline]
    pub fn ends(&self) -> bool {
        !self.0.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_comes_late_is_excused() {
        let merit = Merit::new();
        // A poll without an event takes what the next event announces.
        merit.found();
        assert!(!merit.ends());
        // Nothing since.
        assert!(merit.ends());
        assert!(merit.ends());
        merit.found();
        merit.found();
        assert!(!merit.ends());
        assert!(merit.ends());
    }
}
