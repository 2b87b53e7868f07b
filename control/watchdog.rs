// SPDX-License-Identifier: GPL-2.0

//! `/dev/watchdog`: a timer of Xen's that ends the domain unless a program in it sets it anew.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};
use linux::{
    hvc,
    watchdog::{
        Timer,
        Watchdog, //
    }, //
};
use xen_core::{
    hypercall::sched,
    resume::{
        Registration,
        Resume,
        Stage,
        Wake, //
    }, //
};

/// Seconds until the end, unless a program asks for more or less.
const TIMEOUT: u32 = 60;

const NANOSECONDS: u64 = 1_000_000_000;

/// One of the domain's two timers, once it was started.
struct Armed {
    /// The number that Xen gave it, 0 for none.
    id: u32,
    /// When it ends the domain, by [`hvc::clock`].
    end: u64,
}

impl Armed {
    fn set(&mut self, seconds: u32) -> Result {
        let end = u64::from(seconds)
            .saturating_mul(NANOSECONDS)
            .saturating_add(hvc::clock());
        self.id = sched::watchdog(self.id, seconds)?;
        self.end = end;
        Ok(())
    }

    fn left(&self) -> u32 {
        let left = self.end.saturating_sub(hvc::clock());
        u32::try_from(left / NANOSECONDS).unwrap_or(u32::MAX)
    }
}

/// The timer, as the watchdog core and the end of a suspend see it.
#[pin_data]
struct Shared {
    #[pin]
    armed: Mutex<Armed>,
}

impl Resume for Shared {
    fn late(&self, wake: Wake) {
        let mut armed = self.armed.lock();
        if wake == Wake::Resumed && armed.id != 0 {
            // A domain that was restored has none.
            armed.id = 0;
            let left = armed.left().max(1);
            if let Err(error) = armed.set(left) {
                pr_warn!("the watchdog is not running any more ({error:?}).\n");
            }
        }
    }
}

pub(crate) struct DomainTimer(Arc<Shared>);

impl Timer for DomainTimer {
    type Module = crate::Own;

    fn set(&self, seconds: u32) -> Result {
        self.0.armed.lock().set(seconds)
    }

    fn stop(&self) -> Result {
        let mut armed = self.0.armed.lock();
        if armed.id != 0 {
            sched::stop_watchdog(armed.id)?;
            armed.id = 0;
        }
        Ok(())
    }

    fn left(&self) -> u32 {
        self.0.armed.lock().left()
    }
}

/// The device, until it is dropped.
pub(crate) struct Device {
    _again: Registration,
    _watchdog: Pin<KBox<Watchdog<DomainTimer>>>,
}

/// Makes the device.
///
/// # Errors
///
/// As [`Watchdog::new`].
pub(crate) fn device() -> Result<Device> {
    let shared = Arc::pin_init(
        pin_init!(Shared {
            armed <- new_mutex!(Armed { id: 0, end: 0 }, "oxen_control_watchdog"),
        }),
        GFP_KERNEL,
    )?;
    Ok(Device {
        _again: Registration::new(Stage::Devices, shared.clone())?,
        _watchdog: Watchdog::new(c"oxen", TIMEOUT, DomainTimer(shared))?,
    })
}
