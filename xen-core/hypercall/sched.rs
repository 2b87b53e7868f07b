// SPDX-License-Identifier: GPL-2.0

//! Scheduling operations: `sched.h`.

use super::command;
use abi::hypercall::{
    sched::{
        self,
        Reason,
        Shutdown, //
    },
    Hypercall,
};
use kernel::prelude::*;

/// Stops the domain. Returns only for [`Reason::Suspend`]: 0 after it was restored elsewhere, 1 when that was cancelled.
///
/// # Errors
///
/// As Xen says.
pub fn shutdown(reason: Reason) -> Result<usize> {
    let mut argument = Shutdown {
        reason: reason as u32,
    };
    // SAFETY: Number and structure belong together. A domain that was restored has its memory as it was.
    unsafe { command(Hypercall::SchedOp, sched::SHUTDOWN, &mut argument) }
}

/// Lets another vCPU run first. For any context.
pub fn yield_cpu() {
    // SAFETY: The command takes no argument and touches no memory.
    let _ = unsafe { super::call(Hypercall::SchedOp, [sched::YIELD, 0, 0]) };
}
