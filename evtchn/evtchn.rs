// SPDX-License-Identifier: GPL-2.0

//! Event channels as Linux interrupts.
//!
//! A [`Channel`] is a bound port, a [`Listener`] the interrupt that it fires, and an [`Event`] one firing that has not been
//! ended yet. Each is a value, and dropping it gives up what it stands for.
//!
//! Behind them are two layouts of pending bits ([`layout`]), upcalls that come by a vector per CPU or by the pin of the
//! platform device ([`upcall`]), and the way back to the state that the next load expects ([`reset`]). Implements the
//! guest's side of Xen's public header `event_channel.h`.

use kernel::{
    debugfs::File,
    prelude::*,
    sync::Arc, //
};
use linux::module::or_idle;

mod channel;
mod debug;
mod event;
mod events;
mod fifo;
mod layout;
mod listener;
mod map;
mod port;
mod reset;
mod upcall;

pub use channel::Channel;
pub use event::{
    Event,
    Handler, //
};
pub use listener::Listener;

use events::Events;
use upcall::{
    Path,
    Upcalls, //
};

linux::text_param!(
    UPCALL,
    "upcall",
    c"upcall",
    "How Xen interrupts us: vector (a vector per CPU) or intx (the platform device; not once vectors were used, which Xen keeps until the guest reboots); by default the best that works"
);

module! {
    type: Evtchn,
    name: "oxen_evtchn",
    authors: ["Oxen developers"],
    description: "Xen event channels",
    license: "GPL",
    params: {
        fifo: bool {
            default: true,
            description: "Use the FIFO layout, with 131072 ports in place of 4096, where Xen has it",
        },
    },
}

kernel::sync::global_lock! {
    // SAFETY: Initialised at the start of the module's `init`.
    unsafe(uninit) static EVENTS: Mutex<Option<Arc<Events>>> = None;
}

/// The state that ports belong to.
fn events() -> Result<Arc<Events>> {
    EVENTS.lock().clone().ok_or(ENODEV)
}

/// What the module does on Xen. The fields are dropped in this order: first nothing new is bound, then nothing is delivered.
struct Service {
    _global: Global,
    _debug: Option<Pin<KBox<File<debug::Report>>>>,
    _upcalls: Upcalls,
    _running: Running,
}

/// Makes the state reachable while it lives.
struct Global;

impl Global {
    fn new(events: Arc<Events>) -> Self {
        *EVENTS.lock() = Some(events);
        Self
    }
}

impl Drop for Global {
    fn drop(&mut self) {
        *EVENTS.lock() = None;
    }
}

/// The state, from the first mask to the reset.
struct Running(Arc<Events>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Service {
    fn new() -> Result<Self> {
        xen_core::require()?;
        let path = Path::wanted(UPCALL.get())?;
        let running = Running(Events::new(module_parameters::fifo.value())?);
        let upcalls = Upcalls::new(&running.0, path)?;
        pr_info!(
            "{} ports, upcalls by {}\n",
            running.0.layout().name(),
            upcalls.name()
        );
        let debug = debug::Report::file(running.0.clone(), upcalls.name())?;
        Ok(Self {
            _global: Global::new(running.0.clone()),
            _debug: debug,
            _upcalls: upcalls,
            _running: running,
        })
    }
}

/// The module.
pub struct Evtchn {
    _service: Option<Service>,
}

impl kernel::Module for Evtchn {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: `init` runs once, and before everything else here.
        unsafe { EVENTS.init() };
        Ok(Self {
            _service: or_idle(Service::new())?,
        })
    }
}

/// Ties a user to this module: modpost sees the dependency only in a call.
///
/// # Errors
///
/// `ENODEV` when this module is not in use.
#[inline(never)]
pub fn require() -> Result {
    events().map(|_| ())
}
