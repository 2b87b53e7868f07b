// SPDX-License-Identifier: GPL-2.0

//! Time as Xen gives it: the clock that the kernel reads, the timers that wake its CPUs up, and the time of day.
//!
//! Implements the guest's side of `vcpu_time_info`, the wall clock of `shared_info`, and the timers and runstates of
//! `vcpu.h`. The arithmetic is in `abi::pvclock` and `abi::timer`.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use linux::{
    module::or_idle,
    power::shutdown::UntilShutdown,
    until_shutdown, //
};
use xen_core::{
    hypercall::version,
    resume::{
        self,
        Resume,
        Stage,
        Wake, //
    },
};

mod clock;
mod debug;
mod pause;
mod ptp;
mod records;
mod timer;
mod wall;

use abi::{
    hypercall::version::FEATURE_SAFE_PVCLOCK,
    pvclock::Ahead, //
};
use clock::Clock;
use records::Records;
use timer::{
    Timers,
    XenTimer, //
};

module! {
    type: Time,
    name: "oxen_time",
    authors: ["Oxen developers"],
    description: "Xen clock, timers and time of day",
    license: "GPL",
}

/// What the module does on Xen. The fields are dropped in this order: who is woken up, then who asks for the time.
struct Service {
    _resume: resume::Registration,
    _debug: Option<debug::Files>,
    _ptp: Option<ptp::Device>,
    _timers: Option<Timers>,
    _clock: Running,
}

/// The clock, until the kernel reads another.
struct Running(Arc<Clock>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Service {
    fn new() -> Result<Self> {
        xen_core::require()?;
        if version::features(0)? & (1 << FEATURE_SAFE_PVCLOCK) == 0 {
            pr_err!("This Xen has no clock for HVM guests: the kernel keeps the one it has.\n");
            return Err(ENODEV);
        }
        let records = Records::new()?;
        let running = Running(Clock::new(records.clone())?);
        let clock = running.0.clone();
        let timers = Timers::new(&records)
            .inspect_err(|error| pr_err!("Xen's timers do not work ({error:?}).\n"))?;
        wall::set(&records);
        // A program that compares clocks can be done without.
        let ptp = ptp::device(records.clone())
            .inspect_err(|error| pr_warn!("no PTP clock device ({error:?}).\n"))
            .ok();
        let timer = timers.as_ref().map(Timers::timer);
        let after = After::new(records.clone(), clock.clone(), timer)?;
        Ok(Self {
            _resume: resume::Registration::new(Stage::Ports, after)?,
            _debug: debug::Files::new(records, clock)?,
            _ptp: ptp,
            _timers: timers,
            _clock: running,
        })
    }
}

/// What has to be done after a migration.
#[pin_data]
struct After {
    records: Arc<Records>,
    clock: Arc<Clock>,
    timer: Option<Arc<XenTimer>>,
    /// How far the time of day was ahead of Xen's before.
    #[pin]
    ahead: Mutex<Option<Ahead>>,
}

impl After {
    fn new(
        records: Arc<Records>,
        clock: Arc<Clock>,
        timer: Option<Arc<XenTimer>>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                records,
                clock,
                timer,
                ahead <- new_mutex!(None, "oxen_time_ahead"),
            }),
            GFP_KERNEL,
        )
    }
}

impl Resume for After {
    fn prepare(&self) -> Result {
        *self.ahead.lock() = wall::ahead(&self.records);
        Ok(())
    }

    fn resume(&self, wake: Wake) {
        if wake == Wake::Resumed {
            self.records.forget();
            if let Some(timer) = &self.timer {
                timer.forget();
            }
        }
    }

    fn late(&self, wake: Wake) {
        if wake == Wake::Resumed {
            self.clock.check_later();
        }
        // The kernel has gone forward by its clock of whole seconds, however long the domain stood still.
        if let Some(ahead) = self.ahead.lock().take() {
            wall::keep(&self.records, ahead);
        }
    }
}

/// The module.
pub struct Time {
    _service: Option<UntilShutdown<Service>>,
}

impl kernel::Module for Time {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _service: or_idle(
                Service::new().and_then(|service| until_shutdown!(service, "oxen_time_service")),
            )?,
        })
    }
}
