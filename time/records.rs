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
    time::TscHere,
    vec::filled, //
};
use xen_core::SharedInfo;

/// Where the record of vCPU 0 is.
// CAST: In a page.
const RECORD: u32 = VCPU_TIME as u32;

/// No vCPU.
const NONE: u32 = u32::MAX;

/// So many CPUs have records of their own that are looked at; the others read the time from the first's.
const NEAR: usize = 32;

/// The records of all vCPUs.
// In one piece and without pointers to follow: a clock is read more often than anything else here.
pub(crate) struct Records {
    shared_info: SharedInfo,
    tsc: TscHere,
    last: Monotonic,
    /// Where the record of each CPU is in the shared info page, that of vCPU 0 before it was first online.
    offsets: [AtomicU32; NEAR],
    /// The vCPU of each CPU, [`NONE`] before it was first online.
    vcpus: KVec<AtomicU32>,
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
            tsc: TscHere::find(),
            last: Monotonic::new(),
            offsets: [const { AtomicU32::new(RECORD) }; NEAR],
            vcpus: filled(cpu::count() as usize, || AtomicU32::new(NONE))?,
        };
        Ok(Arc::new(records, GFP_KERNEL)?)
    }

    /// The vCPU of `cpu`, if that is known.
    #[inline]
    pub(crate) fn vcpu(&self, cpu: u32) -> Option<VcpuId> {
        let vcpu = self.vcpus.get(cpu as usize)?.load(Ordering::Relaxed);
        (vcpu != NONE).then_some(VcpuId(vcpu))
    }

    /// Learns which vCPU the current CPU is.
    pub(crate) fn learn(&self, cpu: u32) -> Option<VcpuId> {
        let vcpu = xen_core::vcpu_id()?;
        self.vcpus
            .get(cpu as usize)?
            .store(vcpu.0, Ordering::Relaxed);
        // The first 32 vCPUs have their records in the page.
        if let (Some(offset), Some(base)) =
            (self.offsets.get(cpu as usize), vcpu_info::offset(vcpu))
        {
            // CAST: It is in a page.
            offset.store(RECORD.wrapping_add(base as u32), Ordering::Relaxed);
        }
        Some(vcpu)
    }

    /// Where the record of a CPU is.
    #[inline(always)]
    fn offset(&self, cpu: u32) -> usize {
        let known = self.offsets.get(cpu as usize);
        known.map_or(RECORD, |offset| offset.load(Ordering::Relaxed)) as usize
    }

    /// The record of a CPU.
    fn of(&self, cpu: u32) -> Option<TimeInfo> {
        TimeInfo::read(&*self.shared_info, self.offset(cpu))
    }

    /// The record of the current CPU.
    pub(crate) fn record(&self) -> Option<TimeInfo> {
        cpu::held(|cpu| self.of(cpu))
    }

    /// The system time: nanoseconds since the guest was made. It never goes back, on whatever CPU. In any context.
    #[inline(always)]
    pub(crate) fn now(&self) -> u64 {
        // Every reading of the clock ends here: nothing is called on the usual way.
        self.at_once().unwrap_or_else(|| self.patiently())
    }

    /// The system time, unless Xen writes just now or the CPU is in doubt.
    #[inline(always)]
    fn at_once(&self) -> Option<u64> {
        let (tsc, cpu) = self.tsc.at_once()?;
        let record = TimeInfo::snapshot(&*self.shared_info, self.offset(cpu))?;
        Some(self.tell(&record, tsc))
    }

    #[cold]
    fn patiently(&self) -> u64 {
        let (tsc, cpu) = self.tsc.held();
        match self.of(cpu) {
            Some(record) => self.tell(&record, tsc),
            // Xen does not write for that long; if it did, time would stand still.
            None => self.last.tell(0),
        }
    }

    /// The record is that of the TSC's own CPU, though this may run on another one by now. If Xen has written in between,
    /// the TSC is behind the record, and the record's own time is the answer.
    #[inline(always)]
    fn tell(&self, record: &TimeInfo, tsc: u64) -> u64 {
        let now = record.nanoseconds(tsc);
        if record.is_tsc_stable() {
            now
        } else {
            self.last.tell(now)
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
