// SPDX-License-Identifier: GPL-2.0

//! The stop of the domain by which the toolstack saves it, and everything that comes up again afterwards.
//!
//! Programs are not frozen: nothing of them can be half-way in what a driver shares with Xen, since all CPUs stand still
//! with preemption on. What members of the chain have to finish first, they finish in [`Resume::prepare`].
//!
//! [`Resume::prepare`]: crate::resume::Resume::prepare

use crate::{
    detect::vcpu_id,
    hypercall::sched,
    resume::{
        self,
        Wake, //
    }, //
};
use abi::{
    hypercall::sched::Reason,
    types::VcpuId, //
};
use kernel::prelude::*;
use linux::{
    error::EOPNOTSUPP,
    suspend::{
        at_standstill,
        Awake, //
    },
};

/// The CPU that boots, which is never taken offline.
const FIRST_CPU: u32 = 0;

/// Tells whether the domain can be stopped. The chain's locks would sleep on a realtime kernel, and the layers of one that
/// never suspends would not.
pub const fn can_suspend() -> bool {
    cfg!(CONFIG_PM_SLEEP) && !cfg!(CONFIG_PREEMPT_RT)
}

/// Stops the domain. Returns when it runs again: here, or where it was restored. May sleep.
///
/// # Errors
///
/// `EOPNOTSUPP` unless [`can_suspend`], what the member of the chain says that cannot stop now, what the kernel says of its own layers, or what Xen says. The
/// domain was not stopped then, and everything is as before.
#[inline(never)]
pub fn suspend() -> Result<Wake> {
    if !can_suspend() {
        return Err(EOPNOTSUPP);
    }
    let _awake = Awake::new();
    resume::with_chain(|chain| {
        chain.prepare()?;
        let stopped = at_standstill(FIRST_CPU, || chain.around(stop)).and_then(|stopped| stopped);
        chain.late(stopped.unwrap_or(Wake::Cancelled));
        stopped
    })
}

/// Stops the domain, on the CPU on which Xen tells how it went.
fn stop() -> Result<Wake> {
    if vcpu_id() != Some(VcpuId(0)) {
        return Err(EXDEV);
    }
    sched::shutdown(Reason::Suspend).map(Wake::from_answer)
}
