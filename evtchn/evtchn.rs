// SPDX-License-Identifier: GPL-2.0

//! Event channels as Linux interrupts.
//!
//! A [`Channel`] is a bound port, a [`Listener`] the interrupt that it fires, and an [`Event`] one firing that has not been
//! ended yet. Each is a value, and dropping it gives up what it stands for.
//!
//! Behind them are two layouts of pending bits ([`layout`]), three ways in which upcalls come ([`upcall`]), interrupts
//! between CPUs ([`ipi`](mod@ipi)), and the way back to the state that the next load expects ([`reset`]). Implements the
//! guest's side of Xen's public header `event_channel.h`.

use kernel::{
    debugfs::File,
    prelude::*,
    sync::Arc, //
};
use linux::{
    module::or_idle,
    power::shutdown::UntilShutdown,
    until_shutdown, //
};
use xen_core::resume::{
    Registration,
    Stage, //
};

mod channel;
mod debug;
mod event;
mod events;
mod fifo;
mod ipi;
mod layout;
mod listener;
mod map;
mod port;
mod reset;
mod source;
mod upcall;

pub use channel::{
    Channel,
    Notifier, //
};
pub use event::{
    Event,
    Handler,
    LocalHandler, //
};
pub use listener::{
    Listener,
    LocalListener, //
};

use events::Events;
use ipi::Ipis;
use upcall::{
    Path,
    Upcalls, //
};

linux::text_param!(
    UPCALL,
    "upcall",
    c"upcall",
    "How Xen interrupts us: callback (one vector past the local APICs), vector (a vector of each CPU's APIC) or intx (the platform device); by default vector where the hardware virtualises the APIC, else callback. Once vector was used, intx does not work until the guest reboots"
);

linux::param!(
    FIFO: bool = true,
    "fifo",
    c"fifo",
    "Use the FIFO layout, with 131072 ports in place of 4096, where Xen has it"
);

linux::param!(
    IPI: bool = true,
    "ipi",
    c"ipi",
    "Have CPUs interrupt each other by events where upcalls come by the callback vector"
);

module! {
    type: Evtchn,
    name: "oxen_evtchn",
    authors: ["Oxen developers"],
    description: "Xen event channels",
    license: "GPL",
}

kernel::sync::global_lock! {
    // SAFETY: Initialised at the start of the module's `init`.
    unsafe(uninit) static EVENTS: Mutex<Option<Shared>> = None;
}

/// What the other crates reach.
struct Shared {
    events: Arc<Events>,
    all_cpus: bool,
}

/// The state that ports belong to.
fn events() -> Result<Arc<Events>> {
    let shared = EVENTS.lock();
    Ok(shared.as_ref().ok_or(ENODEV)?.events.clone())
}

/// Tells whether CPUs get their own events, so that [`LocalListener`]s work on all that have event channels.
pub fn reaches_all_cpus() -> bool {
    EVENTS.lock().as_ref().is_some_and(|shared| shared.all_cpus)
}

/// Tells whether `cpu`, which is or was online, has event channels: its vCPU is one of the first 32.
pub fn has_events(cpu: u32) -> bool {
    events().is_ok_and(|events| events.vcpu(cpu).is_some())
}

/// What the module does on Xen. The fields are dropped in this order: first nothing new is bound, then nothing is delivered.
struct Service {
    _again: Registration,
    _global: Global,
    _debug: Option<Pin<KBox<File<debug::Report>>>>,
    _ipis: Option<Ipis>,
    _ports: Ports,
    _upcalls: Upcalls,
    _running: Running,
}

/// Makes the state reachable while it lives.
struct Global;

impl Global {
    fn new(events: Arc<Events>, all_cpus: bool) -> Self {
        *EVENTS.lock() = Some(Shared { events, all_cpus });
        Self
    }
}

impl Drop for Global {
    fn drop(&mut self) {
        *EVENTS.lock() = None;
    }
}

/// The ports of drivers, until the machine is about to run another kernel.
struct Ports(Arc<Events>);

impl Drop for Ports {
    fn drop(&mut self) {
        self.0.abandon();
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
        let running = Running(Events::new(FIFO.get())?);
        let upcalls = Upcalls::new(&running.0, path)?;
        let again = Registration::new(Stage::Ports, running.0.clone())?;
        // Elsewhere the hardware sends and ends them without an exit.
        let ipis = (upcalls.name() == "callback" && IPI.get())
            .then(|| Ipis::new(&running.0))
            .transpose()?;
        pr_info!(
            "{} ports, upcalls by {}\n",
            running.0.layout().name(),
            upcalls.name()
        );
        let ways = debug::Ways {
            upcall: upcalls.name(),
            ipi: if ipis.is_some() { "event" } else { "apic" },
        };
        let debug = debug::Report::file(running.0.clone(), ways)?;
        Ok(Self {
            _again: again,
            _global: Global::new(running.0.clone(), upcalls.reach_all_cpus()),
            _debug: debug,
            _ipis: ipis,
            _ports: Ports(running.0.clone()),
            _upcalls: upcalls,
            _running: running,
        })
    }
}

/// The module.
pub struct Evtchn {
    _service: Option<UntilShutdown<Service>>,
}

impl kernel::Module for Evtchn {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: `init` runs once, and before everything else here.
        unsafe { EVENTS.init() };
        Ok(Self {
            _service: or_idle(
                Service::new().and_then(|service| until_shutdown!(service, "oxen_evtchn_service")),
            )?,
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
