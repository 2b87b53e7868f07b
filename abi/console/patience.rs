// SPDX-License-Identifier: GPL-2.0

//! How long the kernel's log waits for a console that does not take it.
//!
//! Kernel messages are printed with interrupts off, by the CPU that has one; if the ring is full the printer has to wait or
//! drop. Waiting is paid from a budget: every microsecond of waiting uses it up, every byte that found room
//! restores a little. So nothing is lost while the backend takes at least a byte per [`PER_BYTE`]; one that stopped
//! costs [`FULL`] once; and one that plays with its index never makes the guest wait longer than its bytes are worth.

/// The whole budget, in microseconds: also the longest wait without any byte taken.
pub const FULL: u64 = 2_000_000;

/// What one byte restores, in microseconds.
pub const PER_BYTE: u64 = 1_000;

/// The budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    left: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

impl Patience {
    /// All of it.
    pub const fn new() -> Self {
        Self { left: FULL }
    }

    /// Tells whether a writer may still wait.
    pub fn is_left(&self) -> bool {
        self.left > 0
    }

    /// Somebody waited for `micros`.
    pub fn waited(&mut self, micros: u64) {
        self.left = self.left.saturating_sub(micros);
    }

    /// `bytes` found room in the ring.
    pub fn written(&mut self, bytes: u32) {
        self.left = u64::from(bytes)
            .saturating_mul(PER_BYTE)
            .saturating_add(self.left)
            .min(FULL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_stopped_costs_the_budget_once() {
        let mut patience = Patience::new();
        let mut waited = 0;
        while patience.is_left() {
            patience.waited(300);
            waited += 300;
        }
        assert!((FULL..FULL + 300).contains(&waited));
        patience.waited(u64::MAX);
        patience.written(0);
        assert!(!patience.is_left());
    }

    #[test]
    fn bytes_restore_up_to_the_whole() {
        let mut patience = Patience::new();
        patience.waited(FULL);
        patience.written(1);
        assert!(patience.is_left());
        patience.waited(PER_BYTE);
        assert!(!patience.is_left());
        patience.written(u32::MAX);
        assert_eq!(patience, Patience::new());
    }
}
