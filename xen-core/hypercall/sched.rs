// SPDX-License-Identifier: GPL-2.0

//! Scheduling operations: `sched.h`.

use super::command;
use abi::hypercall::{
    sched::{
        self,
        Reason,
        Shutdown,
        Watchdog, //
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

/// Starts a watchdog of Xen, or sets one that runs anew: the domain is shut down with [`Reason::Watchdog`] unless this is
/// called again within `seconds`. `id` is 0 for a new one. Returns its number.
///
/// # Errors
///
/// `ENOSPC` when the domain has as many as Xen allows (two); `EINVAL` when no watchdog has that number, or for 0 seconds.
pub fn watchdog(id: u32, seconds: u32) -> Result<u32> {
    if seconds == 0 {
        return Err(EINVAL);
    }
    let new = set_watchdog(id, seconds)?;
    if id != 0 {
        return Ok(id);
    }
    u32::try_from(new).map_err(|_| EIO)
}

/// Ends a watchdog.
///
/// # Errors
///
/// `EINVAL` when no watchdog has that number.
pub fn stop_watchdog(id: u32) -> Result {
    if id == 0 {
        return Err(EINVAL);
    }
    set_watchdog(id, 0).map(drop)
}

fn set_watchdog(id: u32, timeout: u32) -> Result<usize> {
    let mut argument = Watchdog { id, timeout };
    // SAFETY: Number and structure belong together.
    unsafe { command(Hypercall::SchedOp, sched::WATCHDOG, &mut argument) }
}
