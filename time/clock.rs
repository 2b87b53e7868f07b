// SPDX-License-Identifier: GPL-2.0

//! The clocksource `oxen`.
//!
//! Where Xen says that the TSCs of all vCPUs agree, the clock is the TSC itself at the rate of Xen's records, and programs
//! read it in the vDSO. Elsewhere it is the system time of the records. After a migration to a host with another rate, or
//! whose TSCs do not agree, the first kind gives way to the second.

use crate::records::Records;
use abi::pvclock::TimeInfo;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use linux::{
    new_delayed_call,
    time::{
        clocksource::{
            Clocksource,
            Counter, //
        },
        kernel_trusts_tsc,
        tsc, //
    },
    workqueue::delayed::DelayedCall, //
};

/// The name in `current_clocksource`.
const NAME: &CStr = c"oxen";

/// Better than all that the kernel has of its own.
const BEST: i32 = 400;

/// Below the kernel's own TSC, which it has at 300.
const BELOW_TSC: i32 = 299;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The system time, in nanoseconds.
struct SystemTime(Arc<Records>);

impl Counter for SystemTime {
    #[inline]
    fn read(&self) -> u64 {
        self.0.now()
    }
}

/// The TSC.
struct Tsc;

impl Counter for Tsc {
    const IS_TSC: bool = true;

    #[inline]
    fn read(&self) -> u64 {
        tsc()
    }
}

/// What the kernel reads.
enum Source {
    SystemTime(#[expect(dead_code)] Pin<KBox<Clocksource<SystemTime>>>),
    Tsc(#[expect(dead_code)] Pin<KBox<Clocksource<Tsc>>>, TimeInfo),
}

/// The clock.
#[pin_data]
pub(crate) struct Clock {
    records: Arc<Records>,
    #[pin]
    source: Mutex<Option<Source>>,
    check: Pin<KBox<DelayedCall<Clock>>>,
}

/// The rating, as the kernel's own Xen support chooses it: a TSC that never stops and is never emulated needs no other
/// clock.
fn rating() -> i32 {
    if kernel_trusts_tsc() && xen_core::is_tsc_native() {
        BELOW_TSC
    } else {
        BEST
    }
}

impl Clock {
    /// Registers the clock.
    ///
    /// # Errors
    ///
    /// `EIO` when Xen has no record, `ENOMEM`, or what the core says.
    pub(crate) fn new(records: Arc<Records>) -> Result<Arc<Self>> {
        let source = Self::choose(&records)?;
        let clock = Arc::pin_init(
            try_pin_init!(Self {
                records,
                source <- new_mutex!(Some(source), "oxen_time_clock"),
                check: new_delayed_call!("oxen_time_check", Self::check)?,
            }? Error),
            GFP_KERNEL,
        )?;
        clock.check.start(clock.clone());
        Ok(clock)
    }

    fn choose(records: &Arc<Records>) -> Result<Source> {
        let record = records.record().ok_or(EIO)?;
        match record.hz().filter(|_| record.is_tsc_stable()) {
            Some(hz) => Ok(Source::Tsc(
                Clocksource::new(NAME, rating(), hz, Tsc)?,
                record,
            )),
            None => Self::system_time(records),
        }
    }

    fn system_time(records: &Arc<Records>) -> Result<Source> {
        let counter = SystemTime(records.clone());
        let source = Clocksource::new(NAME, rating(), NANOS_PER_SECOND, counter)?;
        Ok(Source::SystemTime(source))
    }

    /// What the clock reads, for people.
    pub(crate) fn name(&self) -> &'static str {
        match &*self.source.lock() {
            Some(Source::SystemTime(_)) => "time records",
            Some(Source::Tsc(..)) => "tsc",
            None => "none",
        }
    }

    /// Has the rate looked at, soon. From any context.
    pub(crate) fn check_later(&self) {
        self.check.schedule(0);
    }

    /// Stops. Without it the clock would keep itself alive.
    pub(crate) fn stop(&self) {
        self.check.stop();
        *self.source.lock() = None;
    }

    /// Goes over to the records if the TSC has another rate than when it was registered.
    fn check(&self) -> Option<u32> {
        let mut source = self.source.lock();
        let Some(Source::Tsc(_, before)) = &*source else {
            return None;
        };
        let record = self.records.record()?;
        if record.is_tsc_stable() && record.has_rate_of(before) {
            return None;
        }
        // The new one first, so that the kernel goes from the one to the other.
        match Self::system_time(&self.records) {
            Ok(other) => {
                *source = Some(other);
                pr_info!("The TSC has another rate now: reading the time from Xen's records.\n");
                None
            }
            Err(error) => {
                pr_err!(
                    "The TSC has another rate now, and no other clock can be made ({error:?}).\n"
                );
                Some(1000)
            }
        }
    }
}
