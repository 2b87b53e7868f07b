// SPDX-License-Identifier: GPL-2.0

//! Address and MTU of an interface, as the store has them.

use abi::net::{
    features::{
        keys,
        mtu,
        MTU_MAX, //
    },
    mac::Mac, //
};
use kernel::prelude::*;
use linux::fmt::Shown;

/// MTU if the toolstack says nothing of it.
const MTU: u32 = 1500;

/// What the toolstack says of the interface.
#[derive(Clone, Copy)]
pub(crate) struct Given {
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
}

impl Given {
    /// Reads it from the store.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an address that is none, and those of the store.
    pub(crate) fn read(dev: &xenbus::Device) -> Result<Self> {
        let mtu = match dev.read(keys::MTU) {
            Ok(value) => mtu(value.as_bytes()).unwrap_or_else(|| {
                dev_warn!(
                    dev.as_ref(),
                    "the mtu in the xenstore is not a number from 68 to {MTU_MAX}: {MTU} is used\n"
                );
                MTU
            }),
            Err(ENOENT) => MTU,
            Err(error) => return Err(error),
        };
        Ok(Self {
            mac: read_mac(dev)?,
            mtu,
        })
    }
}

/// Reads the hardware address, which some toolstacks leave to the backend's folder.
fn read_mac(dev: &xenbus::Device) -> Result<Mac> {
    let value = dev
        .read(keys::MAC)
        .or_else(|_| dev.otherend_read(keys::MAC))
        .inspect_err(|_| {
            dev_err!(dev.as_ref(), "there is no key mac in the xenstore\n");
        })?;
    Mac::parse(value.as_bytes()).map_err(|error| {
        dev_err!(
            dev.as_ref(),
            "the hardware address in the xenstore is {}\n",
            Shown(&error)
        );
        EINVAL
    })
}
