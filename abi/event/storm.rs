// SPDX-License-Identifier: GPL-2.0

//! When an event may be ended, so that a storm of them does not starve the guest.
//!
//! A port stays masked while its event is handled. Ending the event unmasks it, and a peer that floods the port gets the
//! next one in at once. Two rules slow it down, never the first events of a burst: events that brought nothing wait
//! longer each time, and a port that fires again and again within one upcall has to let others run.

/// Times are in ticks of whatever clock the caller has; `per_second` says how fast it is.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Ticks in a second.
    pub per_second: u64,
}

/// Spurious events in a row that cost nothing.
const FREE: u32 = 1;
/// Events of one port within one upcall before it has to wait.
pub const PER_UPCALL: u32 = 8;

/// The upcall in which a port fired: the CPU, and the upcall's number there.
pub type Upcall = (u32, u64);

/// How often a port fired within one upcall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Burst {
    upcall: Upcall,
    count: u32,
}

impl Burst {
    /// The port fired in `upcall`.
    pub fn fired(&mut self, upcall: Upcall) {
        self.count = if self.upcall == upcall {
            self.count.saturating_add(1)
        } else {
            1
        };
        self.upcall = upcall;
    }

    /// How often it fired within the upcall in which it fired last.
    pub fn count(&self) -> u32 {
        self.count
    }
}

/// When the next look at the events that are held back is due, in ticks. The caller holds a lock from the question until
/// the timer is set, so that no later time replaces an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextLook(u64);

impl Default for NextLook {
    fn default() -> Self {
        Self::new()
    }
}

impl NextLook {
    /// None is due.
    pub const fn new() -> Self {
        Self(u64::MAX)
    }

    /// An event has to be looked at when `due` comes. Returns whether the timer has to be set to that.
    pub fn want(&mut self, due: u64) -> bool {
        let earlier = due < self.0;
        if earlier {
            self.0 = due;
        }
        earlier
    }

    /// The timer has fired: what is wanted from here on sets it again.
    pub fn begin(&mut self) {
        *self = Self::new();
    }
}

/// What is remembered about one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Spurious events in a row.
    pub spurious: u32,
}

impl Rules {
    /// Takes in an event that brought work. Clears the history.
    pub fn useful(self, history: &mut History) {
        history.spurious = 0;
    }

    /// Takes in an event that brought nothing. Returns how many ticks it has to wait before it is ended: none for the first,
    /// then one tick, doubling up to a second.
    pub fn spurious(self, history: &mut History) -> u64 {
        history.spurious = history.spurious.saturating_add(1);
        match history.spurious.checked_sub(FREE) {
            None | Some(0) => 0,
            Some(over) => {
                let shift = over.wrapping_sub(1).min(31);
                (1u64 << shift).min(self.per_second)
            }
        }
    }

    /// How many ticks an event waits that is the `count`th of its port within one upcall.
    pub fn repeated(self, count: u32) -> u64 {
        u64::from(count > PER_UPCALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_a_second_and_forgets() {
        let rules = Rules { per_second: 250 };
        let mut history = History::default();
        let waits: std::vec::Vec<u64> = (0..12).map(|_| rules.spurious(&mut history)).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 64, 128, 250, 250, 250]);
        rules.useful(&mut history);
        assert_eq!(rules.spurious(&mut history), 0);
        history.spurious = u32::MAX;
        assert_eq!(rules.spurious(&mut history), 250);
    }

    #[test]
    fn a_burst_is_counted_within_one_upcall_of_one_cpu() {
        let mut burst = Burst::default();
        for count in 1..=9 {
            burst.fired((0, 7));
            assert_eq!(burst.count(), count);
        }
        // The same number on another CPU is another upcall.
        burst.fired((1, 7));
        assert_eq!(burst.count(), 1);
        burst.fired((1, 8));
        assert_eq!(burst.count(), 1);
        burst.count = u32::MAX;
        burst.fired((1, 8));
        assert_eq!(burst.count(), u32::MAX);
    }

    #[test]
    fn no_later_time_replaces_an_earlier_one() {
        let mut next = NextLook::default();
        assert!(next.want(100));
        assert!(!next.want(350), "it would be looked at too late");
        assert!(!next.want(100));
        assert!(next.want(99));
        // While the look goes on, each port says when it has to be looked at again.
        next.begin();
        assert!(next.want(350));
        assert!(next.want(120));
        assert!(!next.want(200));
    }

    #[test]
    fn only_a_flood_waits_within_an_upcall() {
        let rules = Rules { per_second: 250 };
        assert_eq!(rules.repeated(1), 0);
        assert_eq!(rules.repeated(PER_UPCALL), 0);
        assert_eq!(rules.repeated(PER_UPCALL + 1), 1);
    }
}
