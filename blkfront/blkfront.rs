// SPDX-License-Identifier: GPL-2.0

//! Block device of a Xen guest: the frontend of the split block driver.
//!
//! Each `vbd` that the toolstack gives the guest becomes a disk `xvd*`. [`frontend`] connects it to its
//! backend and ends it; [`queue`] sends requests and judges the answers, over a [`link`]; the protocol itself
//! is in [`abi::block`]. A backend is not trusted: it can delay and fail requests and lie about the data,
//! and nothing else.
//!
//! Pages of requests are granted as they are, without a copy: writable for a read, read-only for a write,
//! each for one request. A request ends only when the backend has let go of all of them.
//!
//! Implements Xen's public header `io/blkif.h`.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod claims;
mod counters;
mod frontend;
mod keys;
mod link;
mod queue;
mod shared;
mod show;
mod transfer;

use abi::block::vbd;
use kernel::prelude::*;
use linux::{
    block::Major,
    module::or_idle, //
};

module! {
    type: BlkfrontModule,
    name: "oxen_blkfront",
    authors: ["Oxen developers"],
    description: "Xen block frontend",
    license: "GPL",
    alias: ["oxen:vbd"],
    params: {
        max_indirect_segments: u16 {
            default: 32,
            description: "Most 4 KiB segments of a request, 11 to 256 (default 32)",
        },
        max_ring_page_order: u8 {
            default: 0,
            description: "Largest ring, as a power of two of pages, 0 to 4 (default 0)",
        },
    },
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
