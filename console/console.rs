// SPDX-License-Identifier: GPL-2.0

//! Consoles of a Xen guest: the frontend of the console protocol, as terminals of the kernel's hvc layer.
//!
//! The primary console is `hvc0`: with `console=hvc0` the kernel prints its messages there (those of before the module
//! was loaded too), and a login on it is what `xl console` shows. The module can be unloaded while it is the console:
//! messages go nowhere then, the terminal is hung up, and both come back when it is loaded again. Console N of the
//! toolstack's further ones, its channels, is `hvcN`.
//!
//! [`line`] is what all consoles share, [`primary`] and [`secondary`] say where their pages and ports come from.
//! Implements Xen's public header `io/console.h`; the rings are in [`abi::console`], the hvc layer in [`linux::hvc`].
//! `docs/console.md` is for the operator.

use kernel::prelude::*;
use linux::module::or_idle;

mod counters;
mod line;
mod primary;
mod secondary;

module! {
    type: Console,
    name: "oxen_console",
    authors: ["Oxen developers"],
    description: "Xen console frontend",
    license: "GPL",
    alias: ["oxen:console"],
}

/// What the module does on Xen.
struct Service {
    _secondary: xenbus::Registration<secondary::Frontend>,
    _primary: Option<Pin<KBox<primary::Primary>>>,
}

impl Service {
    fn new(module: &'static ThisModule) -> Result<Self> {
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
        Ok(Self {
            _secondary: xenbus::Registration::new(module)?,
            _primary: primary,
        })
    }
}

/// The module.
pub struct Console {
    _service: Option<Service>,
}

impl kernel::Module for Console {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _service: or_idle(Service::new(module))?,
        })
    }
}
