// SPDX-License-Identifier: GPL-2.0

//! Console of a Xen guest: the frontend of the console protocol, as terminals of the kernel's hvc layer.
//!
//! The primary console is `hvc0`: with `console=hvc0` the kernel prints its messages there (those of before the module
//! was loaded too), and a login on it is what `xl console` shows. The module can be unloaded while it is the console:
//! messages go nowhere then, whoever had the terminal open is hung up, and both come back when it is loaded again.
//!
//! Implements Xen's public header `io/console.h`; the rings are in [`abi::console`], the hvc layer in [`linux::hvc`].

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use kernel::prelude::*;
use linux::module::or_idle;

mod line;
mod primary;

module! {
    type: Console,
    name: "oxen_console",
    authors: ["Oxen developers"],
    description: "Xen console frontend",
    license: "GPL",
}

/// What the module does on Xen.
struct Service {
    _primary: Option<Pin<KBox<primary::Primary>>>,
}

impl Service {
    fn new() -> Result<Self> {
        xen_core::require()?;
        evtchn::require()?;
        xenbus::require()?;
        let primary = match primary::Primary::new() {
            Ok(primary) => Some(primary),
            Err(ENODEV) => {
                pr_info!("the toolstack made no primary console for this guest\n");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self { _primary: primary })
    }
}

/// The module.
pub struct Console {
    _service: Option<Service>,
}

impl kernel::Module for Console {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _service: or_idle(Service::new())?,
        })
    }
}
