// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/oxen/time`: `clock` tells what the time is read from, `runstate` how each vCPU has spent its time.

use crate::{
    clock::Clock,
    records::Records, //
};
use kernel::{
    debugfs::{
        File,
        Writer, //
    },
    fmt,
    prelude::*,
    sync::Arc, //
};
use linux::cpu;
use xen_core::hypercall::vcpu;

/// What `clock` tells.
struct ClockReport {
    records: Arc<Records>,
    clock: Arc<Clock>,
}

impl Writer for ClockReport {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "source {}", self.clock.name())?;
        if let Some(record) = self.records.record() {
            writeln!(f, "tsc {} hz", record.hz().unwrap_or(0))?;
            writeln!(f, "tsc stable {}", u8::from(record.is_tsc_stable()))?;
        }
        writeln!(f, "system time {} ns", self.records.now())?;
        match self.records.time_of_day() {
            Some(now) => writeln!(f, "time of day {}.{:09}", now.seconds, now.nanoseconds),
            None => writeln!(f, "time of day unknown"),
        }
    }
}

/// What `runstate` tells.
struct Runstates(Arc<Records>);

impl Writer for Runstates {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for cpu in cpu::online() {
            let Some(info) = self.0.vcpu(cpu).and_then(|vcpu| vcpu::runstate(vcpu).ok()) else {
                continue;
            };
            let [running, runnable, blocked, offline] = info.time;
            writeln!(
                f,
                "cpu {cpu} running {running} ns stolen {runnable} ns idle {blocked} ns offline {offline} ns"
            )?;
        }
        Ok(())
    }
}

/// The files, until they are dropped.
pub(crate) struct Files {
    _clock: Pin<KBox<File<ClockReport>>>,
    _runstates: Pin<KBox<File<Runstates>>>,
}

impl Files {
    /// Makes the files; none if there is no debugfs.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(records: Arc<Records>, clock: Arc<Clock>) -> Result<Option<Self>> {
        let Some(dir) = xen_core::debugfs_dir(c"time") else {
            return Ok(None);
        };
        let report = ClockReport {
            records: records.clone(),
            clock,
        };
        Ok(Some(Self {
            _clock: KBox::pin_init(dir.read_only_file(c"clock", report), GFP_KERNEL)?,
            _runstates: KBox::pin_init(
                dir.read_only_file(c"runstate", Runstates(records)),
                GFP_KERNEL,
            )?,
        }))
    }
}
