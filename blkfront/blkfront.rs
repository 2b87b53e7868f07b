// SPDX-License-Identifier: GPL-2.0

//! Block device of a Xen guest: the frontend of the split block driver.
//!
//! Each `vbd` that the toolstack gives the guest becomes a disk `xvd*`. [`frontend`] says what its connection is made
//! of; a [`queue`] sends requests and judges the answers, over a [`ring`]; the protocol itself is in [`abi::block`]. A
//! backend is not trusted: it can delay and fail requests and lie about the data, and nothing else.
//!
//! Data goes one of two ways ([`data`]). Pages of requests are granted as they are: writable for a read, read-only for a
//! write, each for one request, which ends only when the backend has let go of all of them. Or it is copied to and from
//! pages of ours ([`stock`]), for a backend that keeps them mapped, or that may not see others.
//!
//! Implements Xen's public header `io/blkif.h`.

mod batch;
mod breach;
mod claims;
mod counters;
mod data;
mod debug;
mod disk;
mod frontend;
mod gendisk;
mod keys;
mod nodes;
mod operations;
mod params;
mod parked;
mod queue;
mod ring;
mod shape;
mod stock;
mod transfer;

use abi::block::vbd;
use kernel::prelude::*;
use linux::{
    block::Major,
    module::or_idle, //
};

linux::own_module!();

module! {
    type: BlkfrontModule,
    name: "oxen_blkfront",
    authors: ["Oxen developers"],
    description: "Xen block frontend",
    license: "GPL",
    alias: ["oxen:vbd"],
}

/// What the module does on Xen.
struct Service {
    /// Declared first: the devices go before their major does.
    _driver: xenbus::Registration<frontend::Frontend>,
    _major: Major,
}

impl Service {
    fn new(module: &'static ThisModule) -> Result<Self> {
        xenbus::require()?;
        params::check_words()?;
        let major = Major::register(vbd::MAJOR, c"xvd").inspect_err(|_| {
            pr_err!(
                "block major {} belongs to another driver: unload it first\n",
                vbd::MAJOR
            );
        })?;
        Ok(Self {
            _driver: xenbus::Registration::new(module)?,
            _major: major,
        })
    }
}

/// The module.
pub struct BlkfrontModule {
    _service: Option<Service>,
}

impl kernel::Module for BlkfrontModule {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _service: or_idle(Service::new(module))?,
        })
    }
}
