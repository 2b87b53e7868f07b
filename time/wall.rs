// SPDX-License-Identifier: GPL-2.0

//! The kernel's time of day: set from Xen's once, and kept as far from it as it is when the domain is restored.

use crate::records::Records;
use abi::pvclock::{
    Ahead,
    Moment, //
};
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

/// How far the time of day is ahead of Xen's, if both are known.
pub(crate) fn ahead(records: &Records) -> Option<Ahead> {
    let mut best: Option<(u64, Ahead)> = None;
    for _ in 0..ATTEMPTS {
        let before = ours()?;
        let xens = records.time_of_day()?;
        // A CPU that was stopped on the way has read one of them later.
        let took = ours()?.since(before);
        if best.is_none_or(|(least, _)| took < least) {
            best = Some((took, before.ahead_of(xens)));
        }
        if took < SMALL {
            break;
        }
    }
    best.map(|(_, ahead)| ahead)
}

/// Sets the time of day as far ahead of Xen's as it was, forward or back.
pub(crate) fn keep(records: &Records, ahead: Ahead) {
    let set = || {
        let xens = records.time_of_day()?;
        if ours()?.ahead_of(xens).differs(ahead) < SMALL {
            return Some(Ok(()));
        }
        let moment = xens.plus(ahead)?;
        Some(wall::set(
            moment.seconds.try_into().ok()?,
            moment.nanoseconds,
        ))
    };
    // A CPU that was stopped on the way has set one that was past.
    match (0..ATTEMPTS).try_for_each(|_| set().unwrap_or(Err(EINVAL))) {
        Ok(()) => {}
        Err(error) => pr_warn!("The time of day could not be set ({error:?}).\n"),
    }
}
