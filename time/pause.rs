// SPDX-License-Identifier: GPL-2.0

//! Domains that were paused, or got no CPU for long: the kernel is told, or it takes its CPUs for locked up.

use abi::{
    timer::Kept,
    types::VcpuId, //
};
use kernel::prelude::*;
use linux::{
    cpu::{
        self,
        stall::{
            self,
            QuietRcu, //
        },
    },
    new_raw_spinlock,
    sync::raw_lock::RawSpinLock, //
};
use xen_core::hypercall::vcpu;

/// For how long RCU is kept quiet, in nanoseconds. What it waited for when the domain was paused comes long before.
const QUIET: u64 = 10_000_000_000;

/// Looks now and then for how long each vCPU was kept from running.
pub(crate) struct Watch {
    cpus: KVec<Pin<KBox<RawSpinLock<Kept>>>>,
    quiet: Pin<KBox<RawSpinLock<Option<Quiet>>>>,
}

/// RCU, and until when it is quiet.
struct Quiet {
    _rcu: QuietRcu,
    until: u64,
}

impl Watch {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let mut cpus = KVec::new();
        for _ in 0..cpu::count() {
            let one = new_raw_spinlock!(Kept::default(), "oxen_time_kept");
            cpus.push(KBox::pin_init(one, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let quiet = new_raw_spinlock!(None, "oxen_time_quiet");
        Ok(Self {
            cpus,
            quiet: KBox::pin_init(quiet, GFP_KERNEL)?,
        })
    }

    /// A timer of the current CPU has fired. To be called before the kernel hears of it.
    #[inline]
    pub(crate) fn timer_fired(&self, cpu: u32, vcpu: VcpuId, now: u64) {
        let Some(kept) = self.cpus.get(cpu as usize) else {
            return;
        };
        if kept.lock().is_due(now) {
            self.look(kept, vcpu, now);
        }
    }

    fn look(&self, kept: &RawSpinLock<Kept>, vcpu: VcpuId, now: u64) {
        let Ok(info) = vcpu::runstate(vcpu) else {
            return;
        };
        let [_, runnable, _, offline] = info.time;
        let was_kept = kept.lock().look(now, runnable.saturating_add(offline));
        let mut quiet = self.quiet.lock();
        if was_kept {
            stall::touch();
            if quiet.is_none() {
                *quiet = QuietRcu::new().map(|_rcu| Quiet {
                    _rcu,
                    until: now.saturating_add(QUIET),
                });
            }
        } else if quiet.as_ref().is_some_and(|quiet| quiet.until <= now) {
            *quiet = None;
        }
    }
}
