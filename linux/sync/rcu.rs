// SPDX-License-Identifier: GPL-2.0

//! Waiting until no CPU has preemption off (C header: `include/linux/rcupdate.h`).

use crate::bindings;

/// Waits until each CPU has had preemption on. May sleep.
pub fn grace_period() {
    // SAFETY: The function has no requirements but that the caller may sleep.
    unsafe { bindings::synchronize_rcu() };
}
