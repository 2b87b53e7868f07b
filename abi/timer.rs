// SPDX-License-Identifier: GPL-2.0

//! The single-shot timer of a vCPU: when it fires, and how often it has to be set.
//!
//! Belongs to `VCPUOP_set_singleshot_timer` of Xen's public header `vcpu.h`. Times are system times, in nanoseconds.

/// System time `delta` nanoseconds after `now`, for a timer: never before `now`, whatever `delta` is.
#[inline]
pub fn deadline(now: u64, delta: u64) -> u64 {
    // The hypervisor keeps times as signed numbers.
    now.saturating_add(delta).min(i64::MAX as u64)
}

/// A single-shot timer that costs a hypercall to set, and so is set no oftener than it has to be.
///
/// A CPU that goes idle for a moment moves its timer away, and back to where it was when it wakes up. While that has been
/// so of late, a timer that is set already is left to fire too early; if it does, it is set to the time that is wanted
/// then. Whether to expect it is what the last time tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Armed {
    /// When the hypervisor will fire, 0 for never.
    set: u64,
    /// When it shall.
    wanted: u64,
    /// What `set` was before it was moved away.
    before: u64,
    /// Whether a timer that was moved away came back the last time.
    comes_back: bool,
}

/// What to do as the timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fired {
    /// It is time.
    Due,
    /// It is too early: set the timer to this time.
    Early(u64),
}

/// A timer that fires by so much too late is as good: the hypervisor itself is no better by default.
const SLOP: u64 = 50_000;

impl Armed {
    /// The timer is to fire at `deadline`. Returns whether the hypervisor has to be told.
    #[must_use = "the timer does not fire otherwise"]
    pub fn want(&mut self, now: u64, deadline: u64) -> bool {
        let slop = deadline.saturating_sub(now).min(SLOP.wrapping_mul(8)) / 8;
        let near = |time: u64| time > now && time.abs_diff(deadline) <= slop;
        self.wanted = deadline;
        if near(self.set) {
            return false;
        }
        if self.set > now && self.set < deadline {
            if self.comes_back {
                return false;
            }
            self.before = self.set;
        } else {
            self.comes_back |= near(self.before);
            self.before = 0;
        }
        self.set = deadline;
        true
    }

    /// The timer has fired.
    pub fn fired(&mut self, now: u64) -> Fired {
        self.set = 0;
        self.before = 0;
        if self.wanted > now.saturating_add(SLOP) {
            self.comes_back = false;
            self.set = self.wanted;
            return Fired::Early(self.wanted);
        }
        Fired::Due
    }

    /// The timer shall not fire.
    pub fn stop(&mut self) {
        *self = Self {
            comes_back: self.comes_back,
            ..Self::default()
        };
    }
}

/// Whether a vCPU was kept from running, as by `xl pause`, for so long that a kernel takes its CPU for locked up.
///
/// Belongs to `VCPUOP_get_runstate_info`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept {
    looked: u64,
    kept: u64,
}

/// Pause between two looks, in nanoseconds.
const LOOK: u64 = 1_000_000_000;

impl Kept {
    /// Whether it is time for a look.
    #[inline]
    pub fn is_due(&self, now: u64) -> bool {
        now.saturating_sub(self.looked) >= LOOK
    }

    /// Takes in for how long the vCPU has wanted to run and could not, since it was made. Returns whether it was kept from
    /// running for most of the time since the last look, which was long ago.
    pub fn look(&mut self, now: u64, kept: u64) -> bool {
        let before = core::mem::replace(self, Self { looked: now, kept });
        let time = now.saturating_sub(before.looked);
        before.looked != 0
            && time >= LOOK.saturating_mul(2)
            && kept.saturating_sub(before.kept) >= time / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_that_was_paused_was_kept_from_running() {
        const S: u64 = 1_000_000_000;
        let mut cpu = Kept::default();
        assert!(cpu.is_due(100 * S));
        assert!(!cpu.look(100 * S, 60 * S), "before the first look");
        assert!(!cpu.is_due(100 * S + S - 1) && cpu.is_due(101 * S));
        assert!(cpu.look(140 * S, 99 * S), "paused");
        assert!(!cpu.look(180 * S, 100 * S), "idle, or locked up");
        assert!(!cpu.look(182 * S - 1, 102 * S), "for a moment");
        assert!(cpu.look(184 * S, 103 * S));
        assert!(!cpu.look(190 * S, 0), "another domain, after a migration");
        assert!(!cpu.look(100 * S, 0), "a clock that goes back");
    }

    #[test]
    fn a_deadline_is_never_in_the_past() {
        assert_eq!(deadline(5, 7), 12);
        assert_eq!(deadline(5, 0), 5);
        assert_eq!(deadline(5, u64::MAX), i64::MAX as u64);
        assert_eq!(deadline(u64::MAX, 1), i64::MAX as u64);
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn a_timer_is_set_as_often_as_it_has_to_be() {
        let mut timer = Armed::default();
        assert!(timer.want(0, 4 * MS));
        assert!(!timer.want(MS, 4 * MS + 5), "as it is");
        // Moved away and back: told the first time, not the second.
        let mut timer = Armed::default();
        assert!(timer.want(0, 4 * MS));
        assert!(timer.want(MS, 90 * MS), "nothing is known yet");
        assert!(timer.want(2 * MS, 4 * MS), "earlier");
        for now in [2 * MS, 3 * MS] {
            assert!(!timer.want(now, 90 * MS));
            assert!(!timer.want(now + 5, 4 * MS));
        }
        assert!(!timer.want(3 * MS, 90 * MS));
        assert_eq!(timer.fired(4 * MS), Fired::Early(90 * MS));
        assert!(timer.want(5 * MS, 200 * MS), "it has not come back");
        assert_eq!(timer.fired(200 * MS), Fired::Due);
        assert!(timer.want(200 * MS, 201 * MS));
        timer.stop();
        assert!(timer.want(200 * MS, 201 * MS), "a stopped one");
    }

    /// Whatever is wanted: the hypervisor fires no later than that, but for the slop, and never too early for the kernel.
    #[test]
    fn a_timer_fires_in_time() {
        let mut random = 1u64;
        let mut next = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % below
        };
        let (mut timer, mut now, mut wanted, mut xen) = (Armed::default(), 1, 0, 0);
        for _ in 0..100_000 {
            now += next(3 * MS);
            while xen != 0 && xen <= now {
                match timer.fired(xen) {
                    Fired::Early(time) => xen = time,
                    Fired::Due => {
                        assert!(xen + SLOP >= wanted, "too early");
                        xen = 0;
                        wanted = 0;
                    }
                }
            }
            if wanted != 0 {
                assert!(xen != 0 && xen <= wanted + SLOP, "{xen} for {wanted}");
            }
            match next(8) {
                0 => {
                    timer.stop();
                    (wanted, xen) = (0, 0);
                }
                kind => {
                    wanted = now + next(if kind < 4 { 100 * MS } else { 4 * MS });
                    if timer.want(now, wanted) {
                        xen = wanted;
                    }
                }
            }
        }
    }
}
