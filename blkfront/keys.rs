// SPDX-License-Identifier: GPL-2.0

//! The xenstore keys of a block device: what the backend wrote, and what we write.
//!
//! Their meaning is in Xen's `io/blkif.h`; the numbers are judged in [`abi::block`].

use crate::link::Link;
use abi::block::{
    features::{
        Agreed,
        Offer, //
    },
    geometry::Described, //
};
use core::fmt;
use kernel::prelude::*;
use xenbus::{
    Device,
    Keys, //
};

/// What the backend offers.
pub(crate) fn offer(device: &Device) -> Offer {
    // A number that is malformed is as good as none; the bus has complained.
    Offer::read(|key| device.otherend_number(key).ok().flatten())
}

/// How the backend describes the disk.
pub(crate) fn described(device: &Device) -> Described {
    Described::read(|key| device.otherend_number(key).ok().flatten())
}

/// Whether the toolstack says that the device is a CD-ROM drive.
pub(crate) fn is_cdrom(device: &Device) -> bool {
    device
        .read("device-type")
        .is_ok_and(|kind| kind.as_bytes() == b"cdrom")
}

/// Tells the backend the rings and event channels of all queues, at once.
///
/// # Errors
///
/// Whatever the xenstore says.
pub(crate) fn publish(device: &Device, agreed: &Agreed, links: &[Link]) -> Result {
    device.transaction(|keys| {
        keys.write("protocol", "x86_64-abi")?;
        // Pages are granted for one request only.
        keys.write("feature-persistent", 0)?;
        if agreed.ring_order() > 0 {
            keys.write("ring-page-order", agreed.ring_order())?;
        }
        if let [link] = links {
            return queue(keys, format_args!(""), link);
        }
        keys.write("multi-queue-num-queues", links.len())?;
        for (at, link) in links.iter().enumerate() {
            queue(keys, format_args!("queue-{at}/"), link)?;
        }
        Ok(())
    })
}

/// The keys of one queue, which begin with `prefix`.
fn queue(keys: &Keys<'_>, prefix: fmt::Arguments<'_>, link: &Link) -> Result {
    if let [gref] = link.grefs() {
        keys.write(format_args!("{prefix}ring-ref"), gref)?;
    } else {
        for (at, gref) in link.grefs().iter().enumerate() {
            keys.write(format_args!("{prefix}ring-ref{at}"), gref)?;
        }
    }
    keys.write(
        format_args!("{prefix}event-channel"),
        link.listener().port(),
    )
}
