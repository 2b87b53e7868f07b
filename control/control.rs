// SPDX-License-Identifier: GPL-2.0

//! The life of the guest as the toolstack sees it: `xl shutdown`, `xl reboot`, `xl sysrq`, a crash that is one, and Xen's
//! watchdog.
//!
//! [`requests`] is what the toolstack asks for, [`vcpus`] which CPUs it wants used. Xen is told why the guest ends, by
//! whatever way: power-off and restart end in a hypercall here, a panic in [`crash`].
//!
//! Implements the platform control paths of Xen's document `xenstore-paths.pandoc` and `SCHEDOP_shutdown` and
//! `SCHEDOP_watchdog` of its public header `sched.h`. What words mean is decided in [`abi::control`]. `docs/life.md` is for
//! the operator.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use abi::{
    control::{
        FEATURES,
        FEATURE_SUSPEND, //
    },
    hypercall::sched::Reason, //
};
use kernel::prelude::*;
use linux::{
    module::or_idle,
    power::{
        panic::Hook,
        Handler,
        Last, //
    },
};
use xen_core::hypercall::sched;
use xenbus::{
    Following,
    Offer,
    Store, //
};

mod crash;
mod requests;
mod vcpus;
#[cfg(CONFIG_WATCHDOG_CORE)]
mod watchdog;

use requests::Requests;
use vcpus::Vcpus;

linux::own_module!();

module! {
    type: Control,
    name: "oxen_control",
    authors: ["Oxen developers"],
    description: "Shutdown, reboot, crash and watchdog of a Xen guest",
    license: "GPL",
}

/// What the module does on Xen. The fields are dropped in this order: what is offered goes first.
struct Service {
    _features: KVec<Offer>,
    _requests: Following<Requests>,
    _vcpus: Following<Vcpus>,
    #[cfg(CONFIG_WATCHDOG_CORE)]
    _watchdog: Option<watchdog::Device>,
    _crash: Pin<KBox<Hook<crash::Crash>>>,
    _restart: Handler,
    _power_off: Handler,
}

/// These return only if Xen refuses; then the kernel goes on to its next way.
fn power_off() {
    let _ = sched::shutdown(Reason::Poweroff);
}

fn restart() {
    let _ = sched::shutdown(Reason::Reboot);
}

/// Tells the toolstack what it may ask for.
fn offers(store: &Store) -> Result<KVec<Offer>> {
    let mut offers = KVec::with_capacity(FEATURES.len(), GFP_KERNEL)?;
    for path in FEATURES {
        offers.push(Offer::new(store, path)?, GFP_KERNEL)?;
    }
    if xen_core::can_suspend() {
        offers.push(Offer::new(store, FEATURE_SUSPEND)?, GFP_KERNEL)?;
    }
    Ok(offers)
}

impl Service {
    fn new() -> Result<Self> {
        xen_core::require()?;
        xenbus::require()?;
        let store = xenbus::store()?;
        let power_off = Handler::new(Last::PowerOff, power_off)?;
        let restart = Handler::new(Last::Restart, restart)?;
        let crash = KBox::pin_init(Hook::new(crash::Crash::new()?), GFP_KERNEL)?;
        // A guest without a watchdog is as good otherwise.
        #[cfg(CONFIG_WATCHDOG_CORE)]
        let watchdog = watchdog::device()
            .inspect_err(|error| pr_warn!("no watchdog device ({error:?}).\n"))
            .ok();
        let requests = Following::new(&store, Requests::new(&store))?;
        let vcpus = Following::new(&store, Vcpus::new(&store))?;
        Ok(Self {
            _features: offers(&store)?,
            _requests: requests,
            _vcpus: vcpus,
            #[cfg(CONFIG_WATCHDOG_CORE)]
            _watchdog: watchdog,
            _crash: crash,
            _restart: restart,
            _power_off: power_off,
        })
    }
}

/// The module.
pub struct Control {
    _service: Option<Service>,
}

impl kernel::Module for Control {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _service: or_idle(Service::new())?,
        })
    }
}
