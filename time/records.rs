// SPDX-License-Identifier: GPL-2.0

//! The time records that Xen keeps for each vCPU, and the system time that they give.

use abi::{
    event::vcpu_info,
    pvclock::{
        Moment,
        Monotonic,
        TimeInfo,
        WallClock,
        VCPU_TIME,
        WALL_CLOCK, //
    },
    types::VcpuId,
};
use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::{
    cpu,
    time::tsc_here,
    vec::filled, //
};
use xen_core::SharedInfo;

/// Where the record of vCPU 0 is.
// CAST: In a page.
const RECORD: u32 = VCPU_TIME as u32;

/// No vCPU.
const NONE: u32 = u32::MAX;

/// What is known of a CPU.
struct Cpu {
    /// Its vCPU, [`NONE`] before it was first online.
    vcpu: AtomicU32,
    /// Where its record is in the shared info page, that of vCPU 0 before.
    record: AtomicU32,
}

/// The records of all vCPUs.
pub(crate) struct Records {
    shared_info: SharedInfo,
    cpus: KVec<Cpu>,
    last: Monotonic,
}

impl Records {
    /// Finds the records of the CPUs that are online.
    ///
    /// # Errors
    ///
    /// `ENODEV` without Xen, `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let records = Self {
            shared_info: xen_core::shared_info()?,
            cpus: filled(cpu::count() as usize, || Cpu {
                vcpu: AtomicU32::new(NONE),
                record: AtomicU32::new(RECORD),
            })?,
            last: Monotonic::new(),
        };
        Ok(Arc::new(records, GFP_KERNEL)?)
    }

    /// The vCPU of `cpu`, if that is known.
    #[inline]
    pub(crate) fn vcpu(&self, cpu: u32) -> Option<VcpuId> {
        let vcpu = self.cpus.get(cpu as usize)?.vcpu.load(Ordering::Relaxed);
        (vcpu != NONE).then_some(VcpuId(vcpu))
    }

    /// Learns which vCPU the current CPU is.
    pub(crate) fn learn(&self, cpu: u32) -> Option<VcpuId> {
        let vcpu = xen_core::vcpu_id()?;
        // The first 32 vCPUs have their records in the page; the others read the time from the first's.
        let (known, base) = vcpu_info::offset(vcpu).map_or((VcpuId(0), 0), |base| (vcpu, base));
        let cpu = self.cpus.get(cpu as usize)?;
        cpu.vcpu.store(known.0, Ordering::Relaxed);
        // CAST: It is in a page.
        let record = RECORD.wrapping_add(base as u32);
        cpu.record.store(record, Ordering::Relaxed);
        Some(vcpu)
    }

    /// The record of a CPU.
    #[inline]
    fn of(&self, cpu: u32) -> Option<TimeInfo> {
        let known = self.cpus.get(cpu as usize);
        let offset = known.map_or(RECORD, |cpu| cpu.record.load(Ordering::Relaxed));
        TimeInfo::read(&*self.shared_info, offset as usize)
    }

    /// The record of the current CPU.
    pub(crate) fn record(&self) -> Option<TimeInfo> {
        cpu::held(|cpu| self.of(cpu))
    }

    /// The system time: nanoseconds since the guest was made. It never goes back, on whatever CPU. In any context.
    // A program's reading of the clock ends here, so the call from the clocksource is spared.
    #[inline(always)]
    pub(crate) fn now(&self) -> u64 {
        // The record of the TSC's own CPU, though this may run on another one by then. If Xen has written meanwhile, the
        // TSC is behind the record, and the record's own time is the answer.
        let (tsc, cpu) = tsc_here();
        match self.of(cpu) {
            Some(record) if record.is_tsc_stable() => record.nanoseconds(tsc),
            Some(record) => self.last.tell(record.nanoseconds(tsc)),
            // Xen does not write for that long; if it did, time would stand still.
            None => self.last.tell(0),
        }
    }

    /// The time of day, if Xen knows it.
    pub(crate) fn time_of_day(&self) -> Option<Moment> {
        let clock = WallClock::read(&*self.shared_info, WALL_CLOCK)?;
        Some(clock.at(self.now()))
    }

    /// Forgets the times that were told: the domain has another system time now.
    pub(crate) fn forget(&self) {
        self.last.forget();
    }
}
