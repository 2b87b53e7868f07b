// SPDX-License-Identifier: GPL-2.0

//! The xenstore keys of a block device: what the backend wrote, and what we write.
//!
//! Their meaning is in Xen's `io/blkif.h`; the numbers are judged in [`abi::block`].

use crate::{
    params,
    ring::QueueRing, //
};
use abi::{
    block::{
        features::{
            Agreed,
            Offer,
            Wanted, //
        },
        geometry::Described, //
    },
    xenstore::value::Number, //
};
use core::fmt;
use kernel::prelude::*;
use xenbus::{
    Device,
    Publication, //
};

/// What we want of a backend.
///
/// # Errors
///
/// Whatever the xenstore says.
pub(crate) fn wanted(device: &Device) -> Result<Wanted> {
    Ok(Wanted {
        segments: params::segments(),
        ring_order: params::ring_order(),
        queues: params::queues(),
        persistent: params::persistent(),
        trusted: params::trusted() && is_trusted(device)?,
    })
}

/// Whether the toolstack trusts the backend with the guest's pages. Only the number 1, or no word, is trust.
fn is_trusted(device: &Device) -> Result<bool> {
    match device.read("trusted") {
        Ok(value) => Ok(value.as_bytes() == b"1"),
        Err(ENOENT) => Ok(true),
        Err(error) => Err(error),
    }
}

/// What the backend offers.
///
/// # Errors
///
/// Whatever the xenstore says; a number that is malformed is as good as none, and the bus has complained.
pub(crate) fn offer(device: &Device) -> Result<Offer> {
    let mut result = Ok(());
    let offer = Offer::read(|key| number(device, key, &mut result));
    result.map(|()| offer)
}

/// How the backend describes the disk.
///
/// # Errors
///
/// As [`offer`].
pub(crate) fn described(device: &Device) -> Result<Described> {
    let mut result = Ok(());
    let described = Described::read(|key| number(device, key, &mut result));
    result.map(|()| described)
}

fn number<T: Number>(device: &Device, key: &str, result: &mut Result) -> Option<T> {
    match device.otherend_number(key) {
        Ok(number) => number,
        Err(EINVAL) => None,
        Err(error) => {
            *result = Err(error);
            None
        }
    }
}

/// How many disks the guest has: this one, and those that may not have been looked at yet.
///
/// # Errors
///
/// Whatever the xenstore says.
pub(crate) fn disks(device: &Device) -> Result<u32> {
    let disks = device.store().directory("device/vbd")?;
    Ok(disks.names().count().try_into().unwrap_or(u32::MAX))
}

/// Whether the toolstack says that the device is a CD-ROM drive.
pub(crate) fn is_cdrom(device: &Device) -> bool {
    device
        .read("device-type")
        .is_ok_and(|kind| kind.as_bytes() == b"cdrom")
}

/// Adds the keys that tell the backend the rings and event channels of all queues.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn publish(keys: &mut Publication, agreed: &Agreed, rings: &[QueueRing]) -> Result {
    keys.add("protocol", "x86_64-abi")?;
    keys.add("feature-persistent", u8::from(agreed.offers_persistent()))?;
    if agreed.ring_order() > 0 {
        keys.add("ring-page-order", agreed.ring_order())?;
    }
    if agreed.old_rings() {
        keys.add("num-ring-pages", agreed.ring_pages())?;
    }
    if let [ring] = rings {
        return queue(keys, format_args!(""), ring);
    }
    keys.add("multi-queue-num-queues", rings.len())?;
    for (at, ring) in rings.iter().enumerate() {
        queue(keys, format_args!("queue-{at}/"), ring)?;
    }
    Ok(())
}

/// The keys of one queue, which begin with `prefix`.
fn queue(keys: &mut Publication, prefix: fmt::Arguments<'_>, ring: &QueueRing) -> Result {
    if let [gref] = ring.grefs() {
        keys.add(format_args!("{prefix}ring-ref"), gref)?;
    } else {
        for (at, gref) in ring.grefs().iter().enumerate() {
            keys.add(format_args!("{prefix}ring-ref{at}"), gref)?;
        }
    }
    keys.add(format_args!("{prefix}event-channel"), ring.port())
}
