// SPDX-License-Identifier: GPL-2.0

//! How long a backend may leave the packets of a new connection where they are.
//!
//! Linux's xen-netback can lose the end of a connection's first event: its receive thread ends it by the number of an
//! interrupt that is not known yet. The port stays masked then, and no packet is ever taken. Only another connection helps.
//! A backend may also have a reason, such as an interface that is down, so each one is waited for twice as long as the last.

use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    Ordering, //
};

/// Milliseconds that the first connection gets: a TCP client has sent its third SYN then.
const FIRST_MS: u64 = 3_000;

/// Doublings after which it does not get longer.
const DOUBLINGS: u32 = 4;

/// Connections in a row of which the backend took no packet.
#[derive(Debug, Default)]
pub struct Patience {
    connections: AtomicU32,
    /// The first of them is to be told of.
    news: AtomicBool,
}

impl Patience {
    /// None yet.
    pub const fn new() -> Self {
        Self {
            connections: AtomicU32::new(0),
            news: AtomicBool::new(false),
        }
    }

    /// Milliseconds after which a connection is given up, counted from its first packet.
    pub fn limit_ms(&self) -> u64 {
        FIRST_MS << self.connections.load(Ordering::Relaxed).min(DOUBLINGS)
    }

    /// A connection was given up.
    pub fn lost(&self) {
        let before = self.connections.load(Ordering::Relaxed);
        self.news.fetch_or(before == 0, Ordering::Relaxed);
        self.connections
            .store(before.saturating_add(1), Ordering::Relaxed);
    }

    /// The backend has taken something.
    pub fn kept(&self) {
        self.connections.store(0, Ordering::Relaxed);
    }

    /// Whether somebody should be told that connections are given up: once for all that follow each other.
    pub fn take_news(&self) -> bool {
        self.news.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_gets_twice_as_long_up_to_a_limit() {
        let patience = Patience::new();
        let mut limits = Vec::new();
        for _ in 0..40 {
            limits.push(patience.limit_ms());
            patience.lost();
        }
        assert_eq!(limits[..5], [3_000, 6_000, 12_000, 24_000, 48_000]);
        assert!(limits[5..].iter().all(|&limit| limit == 48_000));
        patience.kept();
        assert_eq!(patience.limit_ms(), 3_000);
    }

    #[test]
    fn the_first_of_a_row_is_told_once() {
        let patience = Patience::new();
        assert!(!patience.take_news());
        for _ in 0..2 {
            patience.lost();
            assert!(patience.take_news());
            assert!(!patience.take_news());
            patience.lost();
            assert!(!patience.take_news());
            patience.kept();
        }
    }
}
