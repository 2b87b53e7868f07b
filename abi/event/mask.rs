// SPDX-License-Identifier: GPL-2.0

//! Why a port is masked, and when its bits may be touched at all.
//!
//! A port is masked for as long as there is a reason. One that its owner has left is [`GONE`](reason::GONE): its number may be another
//! port by then, so whatever still holds an event of it changes nothing.

/// Reasons for a port to be masked.
pub mod reason {
    /// The irq core wants it so.
    pub const IRQ: u32 = 1;
    /// An event has not been ended.
    pub const EVENT: u32 = 2;
    /// It is on the way to another CPU.
    pub const MOVE: u32 = 4;
    /// It is made to fire.
    pub const POKE: u32 = 8;
    /// It is listened to no more, for good.
    pub const GONE: u32 = 1 << 31;
}

/// The reasons of one port. The caller holds its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reasons(u32);

impl Reasons {
    /// A port that is masked for `why`.
    pub const fn new(why: u32) -> Self {
        Self(why)
    }

    /// Tells whether the port is not masked.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Tells whether `why` is among them.
    pub const fn has(self, why: u32) -> bool {
        self.0 & why != 0
    }

    /// Adds a reason; `mask` is called if it is the first. Returns false if the port is gone: nothing has changed then.
    pub fn add(&mut self, why: u32, mask: impl FnOnce()) -> bool {
        if self.has(reason::GONE) {
            return false;
        }
        if self.0 == 0 {
            mask();
        }
        self.0 |= why;
        true
    }

    /// Takes a reason away; `unmask` is called if it was the last.
    pub fn remove(&mut self, why: u32, unmask: impl FnOnce()) {
        if self.has(reason::GONE) || !self.has(why) {
            return;
        }
        self.0 &= !why;
        if self.0 == 0 {
            unmask();
        }
    }

    /// Takes an event: `ack` is called, which masks the port, unless the port is gone. Returns whether it was.
    pub fn take_event(&mut self, ack: impl FnOnce()) -> bool {
        if self.has(reason::GONE) {
            return false;
        }
        self.0 |= reason::EVENT;
        ack();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_by_the_first_reason_and_unmasked_by_the_last() {
        let mut reasons = Reasons::new(reason::IRQ);
        let mut bits = std::vec::Vec::new();
        assert!(reasons.add(reason::MOVE, || bits.push("mask")));
        reasons.remove(reason::IRQ, || bits.push("unmask"));
        assert_eq!(bits, [""; 0]);
        reasons.remove(reason::MOVE, || bits.push("unmask"));
        assert_eq!(bits, ["unmask"]);
        assert!(reasons.is_none());
        // It was not masked for this one.
        reasons.remove(reason::EVENT, || bits.push("unmask"));
        assert!(reasons.add(reason::POKE, || bits.push("mask")));
        assert_eq!(bits, ["unmask", "mask"]);
        assert!(reasons.has(reason::POKE) && !reasons.has(reason::MOVE));
    }

    #[test]
    fn an_event_is_taken_once_more_while_others_hold_the_port() {
        let mut reasons = Reasons::new(reason::MOVE);
        let mut acks = 0;
        assert!(reasons.take_event(|| acks += 1));
        assert!(reasons.take_event(|| acks += 1));
        assert_eq!(acks, 2);
        reasons.remove(reason::MOVE, || panic!("the event is not ended"));
        let mut unmasked = false;
        reasons.remove(reason::EVENT, || unmasked = true);
        assert!(unmasked);
    }

    /// The number may be a port of somebody else's by now.
    #[test]
    fn a_port_that_is_gone_is_never_touched_again() {
        for held in [reason::EVENT, reason::EVENT | reason::IRQ, 0] {
            let mut reasons = Reasons::new(held);
            reasons.add(reason::GONE, || {});
            for why in [reason::EVENT, reason::IRQ, reason::MOVE, reason::POKE] {
                assert!(!reasons.add(why, || panic!("masked")));
                reasons.remove(why, || panic!("unmasked"));
            }
            assert!(!reasons.take_event(|| panic!("acknowledged")));
            reasons.remove(reason::GONE, || panic!("unmasked"));
            assert!(reasons.has(reason::GONE));
        }
    }
}
