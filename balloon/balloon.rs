// SPDX-License-Identifier: GPL-2.0

//! The size of the guest: memory goes back to Xen and comes again as `xl mem-set` says.
//!
//! [`target`] follows the toolstack, [`size`] is the balloon and decides what it may do, [`counters`] shows it.
//!
//! Implements the paths `memory/target` and `memory/static-max` of Xen's document `xenstore-paths.pandoc`. How much has to be
//! away is decided in [`abi::balloon`]. `docs/life.md` is for the operator.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::{
    mm::oom::Notifier,
    module::or_idle,
    power::shutdown::UntilShutdown,
    until_shutdown, //
};
use xenbus::{
    Following,
    Offer, //
};

mod counters;
mod size;
mod target;

use size::Size;
use target::Target;

module! {
    type: Module,
    name: "oxen_balloon",
    authors: ["Oxen developers"],
    description: "Memory of a Xen guest that goes and comes",
    license: "GPL",
}

/// What tells the toolstack that `memory/target` is followed.
const FEATURE: &str = "control/feature-balloon";

/// What the module does on Xen. The fields are dropped in this order; with the last, all memory is taken back.
struct Service {
    _feature: Offer,
    _file: Option<counters::CountersFile>,
    _following: Following<Target>,
    _relief: Pin<KBox<Notifier<Size>>>,
    _size: Arc<Size>,
}

impl Service {
    fn new() -> Result<Self> {
        xen_core::require()?;
        xenbus::require()?;
        let store = xenbus::store()?;
        let size = Size::new()?;
        let relief = Notifier::new(size.clone())?;
        let target = Target::new(&store, size.clone());
        target.announce();
        let following = Following::new(&store, target)?;
        Ok(Self {
            _feature: Offer::new(&store, FEATURE)?,
            // A kernel without debugfs works as well.
            _file: counters::CountersFile::new(size.clone()).ok(),
            _following: following,
            _relief: relief,
            _size: size,
        })
    }
}

/// The module. What is away is taken back before another kernel runs in the same memory, too.
pub struct Module {
    _service: Option<UntilShutdown<Service>>,
}

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _service: or_idle(
                Service::new().and_then(|service| until_shutdown!(service, "oxen_balloon_service")),
            )?,
        })
    }
}
