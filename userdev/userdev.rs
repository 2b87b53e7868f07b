// SPDX-License-Identifier: GPL-2.0

//! The devices under `/dev/xen` that Xen's libraries use, for programs with a protocol of their own with another domain.
//!
//! [`events`] gives programs ports, [`alloc`] pages that they share, [`map`] pages of others. The xenstore is in `xenbus`, since it
//! needs nothing else.
//! Only root may open any of them: `docs/userdev.md` tells what a program can reach.

use kernel::prelude::*;
use linux::{
    limit::Limit,
    miscdev::{
        Registration,
        Stream, //
    },
    module::or_idle, //
};
use xen_core::resume::{
    self,
    Stage, //
};

use common::Common;
use known::Known;

mod alloc;
mod common;
mod events;
mod inbox;
mod known;
mod map;
mod parting;

linux::own_module!();

linux::param!(
    LIMIT: u32 = 1024,
    "limit",
    c"limit",
    "Most pages that programs share through /dev/xen/gntalloc at once"
);

linux::param!(
    MAP_LIMIT: u32 = 4096,
    "map_limit",
    c"map_limit",
    "Most pages of other domains that programs map through /dev/xen/gntdev at once"
);

module! {
    type: Userdev,
    name: "oxen_userdev",
    authors: ["Oxen developers"],
    description: "Devices under /dev/xen for Xen's libraries",
    license: "GPL",
}

/// What the module does on Xen.
struct Service {
    _alloc: Pin<KBox<Registration<alloc::File>>>,
    _map: Pin<KBox<Registration<map::File>>>,
    _events: Pin<KBox<Registration<events::File>>>,
    _resume: resume::Registration,
}

impl Service {
    fn new() -> Result<Self> {
        xen_core::require()?;
        evtchn::require()?;
        grant_table::require()?;
        let known = Known::new()?;
        let common = |limit: u32| -> Result<Common> {
            Ok(Common {
                // CAST: `usize` has 64 bits.
                limit: Limit::new(limit as usize)?,
                known: known.clone(),
            })
        };
        Ok(Self {
            _alloc: device(common(LIMIT.get())?)?,
            _map: device(common(MAP_LIMIT.get())?)?,
            _resume: resume::Registration::new(Stage::Devices, known.clone())?,
            _events: device(known)?,
        })
    }
}

fn device<T: Stream>(context: T::Context) -> Result<Pin<KBox<Registration<T>>>> {
    KBox::pin_init(Registration::new(context), GFP_KERNEL)
}

/// The module.
pub struct Userdev {
    _service: Option<Service>,
}

impl kernel::Module for Userdev {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _service: or_idle(Service::new())?,
        })
    }
}
