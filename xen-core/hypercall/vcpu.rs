// SPDX-License-Identifier: GPL-2.0

//! Operations on virtual CPUs: `vcpu.h`.

use super::call;
use abi::{
    hypercall::{
        vcpu::{
            self,
            RunstateInfo,
            SetSingleshotTimer, //
        },
        Hypercall,
    },
    shared::zeroed,
    types::VcpuId,
};
use kernel::prelude::*;

/// Has the timer of `vcpu`, the current one, fire once when the system time is `timeout` nanoseconds, or at once if that
/// has passed.
///
/// # Errors
///
/// `EINVAL` for another vCPU, `ETIME` if Xen does not take a time that has passed.
#[inline]
pub fn set_timer(vcpu: VcpuId, timeout: u64) -> Result {
    let mut argument = SetSingleshotTimer {
        timeout,
        flags: 0,
        pad: 0,
    };
    let address = core::ptr::from_mut(&mut argument) as usize;
    // SAFETY: Number and structure belong together; a timer touches no memory.
    unsafe {
        call(
            Hypercall::VcpuOp,
            [vcpu::SET_SINGLESHOT_TIMER, vcpu.0 as usize, address],
        )
    }
    .map(|_| ())
}

/// Has the timer of `vcpu`, the current one, not fire any more.
///
/// # Errors
///
/// `EINVAL` for another vCPU.
pub fn stop_timer(vcpu: VcpuId) -> Result {
    // SAFETY: The command takes no structure and touches no memory.
    unsafe {
        call(
            Hypercall::VcpuOp,
            [vcpu::STOP_SINGLESHOT_TIMER, vcpu.0 as usize, 0],
        )
    }
    .map(|_| ())
}

/// Ends the tick that Xen gives a vCPU which never asked for it.
///
/// # Errors
///
/// `ENOENT` when there is no such vCPU.
pub fn stop_periodic_timer(vcpu: VcpuId) -> Result {
    // SAFETY: The command takes no structure and touches no memory.
    unsafe {
        call(
            Hypercall::VcpuOp,
            [vcpu::STOP_PERIODIC_TIMER, vcpu.0 as usize, 0],
        )
    }
    .map(|_| ())
}

/// Asks how `vcpu` has spent its time.
///
/// # Errors
///
/// `ENOENT` when there is no such vCPU.
pub fn runstate(vcpu: VcpuId) -> Result<RunstateInfo> {
    let mut argument: RunstateInfo = zeroed();
    let address = core::ptr::from_mut(&mut argument) as usize;
    // SAFETY: Number and structure belong together; Xen writes only the structure.
    unsafe {
        call(
            Hypercall::VcpuOp,
            [vcpu::GET_RUNSTATE_INFO, vcpu.0 as usize, address],
        )
    }?;
    Ok(argument)
}
