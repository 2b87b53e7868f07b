// SPDX-License-Identifier: GPL-2.0

//! Which multicast the backend passes on.
//!
//! Linux's xen-netback takes what it is told of groups without a lock, on the poll of the queue that it came over. So all
//! of it goes over the first queue.

use super::Queue;
use crate::outbox::no_groups;
use abi::net::features::keys;
use kernel::prelude::*;
use linux::net::{
    device::{
        Device,
        Driver, //
    },
    napi::Napi,
    rx_mode::RxMode, //
};

/// The queue over which the backend is told.
fn first<T: Driver<Queue = Queue>>(netdev: &Device<T>) -> Option<&Napi<Queue>> {
    netdev.queues().first().map(|napi| &**napi)
}

/// The backend has connected, and keeps a list of groups that can be asked for at any time: tells it which.
///
/// Without memory for it the backend passes on all that there is.
pub(crate) fn begin<T: Driver<Queue = Queue>>(netdev: &Device<T>) {
    let Ok(groups) = no_groups() else {
        return;
    };
    if let Some(napi) = first(netdev) {
        if let Some(ring) = &mut *napi.tx.lock() {
            ring.set_groups(groups);
        }
    }
    netdev.look_at_rx_mode();
}

/// The stack wants other groups. Does not sleep: the poll tells the backend.
pub(crate) fn want<T: Driver<Queue = Queue>>(netdev: &Device<T>, mode: &RxMode<'_>) {
    let Some(napi) = first(netdev) else {
        return;
    };
    let mut ring = napi.tx.lock();
    if let Some(groups) = Option::as_mut(&mut *ring).and_then(|ring| ring.groups()) {
        groups.want(mode.wants_all(), mode.groups());
        napi.schedule();
    }
}

/// Asks the backend to keep to the list that it has been told, or not to.
///
/// # Errors
///
/// As those of [`xenbus::Device::write_key`].
pub(crate) fn update<T: Driver<Queue = Queue>>(dev: &xenbus::Device, netdev: &Device<T>) -> Result {
    let Some(napi) = first(netdev) else {
        return Ok(());
    };
    // It may change while it is written; there is another call then.
    let to_write = {
        let mut ring = napi.tx.lock();
        let groups = Option::as_mut(&mut *ring).and_then(|ring| ring.groups());
        groups.and_then(|groups| groups.to_write())
    };
    let Some(filters) = to_write else {
        return Ok(());
    };
    dev.write_key(keys::REQUEST_MULTICAST, u8::from(filters))?;
    let mut ring = napi.tx.lock();
    if let Some(groups) = Option::as_mut(&mut *ring).and_then(|ring| ring.groups()) {
        groups.wrote(filters);
    }
    Ok(())
}
