// SPDX-License-Identifier: GPL-2.0

//! The kernel's time of day, set from Xen's once.

use crate::records::Records;
use abi::pvclock::Moment;
use kernel::prelude::*;
use linux::time::wall;

/// What the kernel has, if it is a time that Xen can have.
fn ours() -> Option<Moment> {
    let (seconds, nanoseconds) = wall::now();
    Some(Moment {
        seconds: u64::try_from(seconds).ok()?,
        nanoseconds,
    })
}

/// A difference in nanoseconds that is not worth a jump: programs are told of each.
const SMALL: u64 = 1_000_000;

/// How often the time of day is set and looked at again.
const ATTEMPTS: u32 = 10;

/// Sets the time of day, unless it would go back: somebody else has set it then, or will.
pub(crate) fn set(records: &Records) {
    let (Some(xens), Some(ours)) = (records.time_of_day(), ours()) else {
        pr_info!("Xen does not know the time of day.\n");
        return;
    };
    if ours > xens {
        pr_info!(
            "The time of day is {} us ahead of Xen's and stays as it is.\n",
            ours.since(xens) / 1000
        );
        return;
    }
    let behind = xens.since(ours);
    if behind < SMALL {
        return;
    }
    match (0..ATTEMPTS).try_for_each(|_| forward(records)) {
        Err(error) => pr_warn!("The time of day could not be set ({error:?}).\n"),
        Ok(()) => pr_info!("The time of day was set forward by {} us.\n", behind / 1000),
    }
}

/// Sets the time of day if it is behind. A CPU that was stopped on the way has set one that was past.
fn forward(records: &Records) -> Result {
    let ours = ours().ok_or(EINVAL)?;
    let xens = records.time_of_day().ok_or(EINVAL)?;
    if xens.since(ours) < SMALL {
        return Ok(());
    }
    let seconds = i64::try_from(xens.seconds).map_err(|_| EINVAL)?;
    wall::set(seconds, xens.nanoseconds)
}
