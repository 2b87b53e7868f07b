// SPDX-License-Identifier: GPL-2.0

//! The kernel's watch over CPUs that do not go on, for those that were kept from it.
//!
//! C headers: `include/linux/nmi.h`, `kernel/rcu/rcu.h`

use crate::bindings;

/// The lockup detector takes it that the current CPU has just done something.
pub fn touch() {
    // SAFETY: It only notes the time for this CPU; any context will do.
    unsafe { bindings::watchdog_touch() }
}

/// RCU does not complain of CPUs, until this is dropped.
///
/// There is none when something else keeps RCU quiet already.
pub struct QuietRcu(());

impl QuietRcu {
    /// From any context.
    pub fn new() -> Option<Self> {
        // SAFETY: The helper changes one kernel variable, atomically.
        unsafe { bindings::rcu_stalls_quiet(true) }.then_some(Self(()))
    }
}

impl Drop for QuietRcu {
    fn drop(&mut self) {
        // SAFETY: As above.
        unsafe { bindings::rcu_stalls_quiet(false) };
    }
}
