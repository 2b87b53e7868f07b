// SPDX-License-Identifier: GPL-2.0

//! The counter of each CPU.
//!
//! C headers: `arch/x86/include/asm/tsc.h`, `arch/x86/include/asm/smp.h`

use crate::bindings;
use core::arch::asm;

/// Reads the TSC, not before what comes before it has been done.
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: Every CPU of 64 bits has a TSC.
    unsafe { bindings::rdtsc_ordered() }
}

/// Reads the TSC of the CPU that it runs on, and tells which that was.
///
/// # Invariants
///
/// `rdtscp` only where the CPUs have the instruction.
pub struct TscHere {
    rdtscp: bool,
}

impl TscHere {
    /// Finds the best way.
    pub fn find() -> Self {
        // INVARIANT: The function tells it.
        Self {
            // SAFETY: The function has no requirements.
            rdtscp: unsafe { bindings::has_rdtscp() },
        }
    }

    /// The TSC, not before what comes before it has been done, and its CPU; `None` where [`held`](Self::held) has to find
    /// that. For any context, and for what tracing itself calls.
    #[inline(always)]
    pub fn at_once(&self) -> Option<(u64, u32)> {
        if !self.rdtscp {
            return None;
        }
        let before = this_cpu();
        // SAFETY: By the type invariant.
        let (tsc, aux) = unsafe { rdtscp() };
        // KVM leaves its guest's number in TSC_AUX until it returns to user space: that alone does not tell.
        let cpu = aux & bindings::VDSO_CPUNODE_MASK;
        (cpu == before && cpu == this_cpu()).then_some((tsc, cpu))
    }

    /// The same with preemption off meanwhile.
    pub fn held(&self) -> (u64, u32) {
        let mut cpu = 0;
        // SAFETY: Every CPU of 64 bits has a TSC; the number is valid for writes.
        let tsc = unsafe { bindings::tsc_here(&mut cpu) };
        (tsc, cpu)
    }
}

/// The CPU that this runs on, in one load.
#[inline(always)]
fn this_cpu() -> u32 {
    let cpu;
    // SAFETY: This reads the current CPU's copy of the variable, which is there from early boot on.
    unsafe {
        asm!(
            "mov {cpu:e}, gs:[rip + {number}]",
            cpu = lateout(reg) cpu,
            number = sym bindings::cpu_number,
            options(nostack, preserves_flags, readonly)
        );
    }
    cpu
}

/// The TSC, not before what comes before it has been done, and TSC_AUX of the same CPU.
///
/// # Safety
///
/// The CPUs have the instruction.
#[inline(always)]
unsafe fn rdtscp() -> (u64, u32) {
    let (low, high, aux): (u32, u32, u32);
    // SAFETY: By the requirements of this function; it only writes these registers.
    unsafe {
        asm!(
            "rdtscp",
            lateout("eax") low,
            lateout("edx") high,
            lateout("ecx") aux,
            options(nostack, preserves_flags)
        );
    }
    (u64::from(high) << 32 | u64::from(low), aux)
}

/// Tells whether the kernel takes the TSC for a clock that never stops and agrees on all CPUs.
pub fn kernel_trusts_tsc() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::kernel_trusts_tsc() }
}

#[kernel::prelude::kunit_tests(oxen_tsc)]
mod tests {
    use super::*;
    use crate::cpu::{
        Hotplug,
        HotplugListener, //
    };
    use kernel::{
        prelude::*,
        sync::{
            atomic::{
                Atomic,
                Relaxed, //
            },
            Arc, //
        },
    };

    /// Counts the CPUs where each way named the CPU that it ran on.
    struct Named {
        here: TscHere,
        asked: Atomic<u32>,
        held: Atomic<u32>,
        at_once: Atomic<u32>,
        number: Atomic<u32>,
    }

    impl Hotplug for Named {
        fn online(&self, cpu: u32) -> Result {
            self.asked.add(1, Relaxed);
            self.held.add(u32::from(self.here.held().1 == cpu), Relaxed);
            self.number.add(u32::from(this_cpu() == cpu), Relaxed);
            let at_once = self.here.at_once().map(|(_, at)| at);
            let expected = self.here.rdtscp.then_some(cpu);
            self.at_once.add(u32::from(at_once == expected), Relaxed);
            Ok(())
        }

        fn offline(&self, _cpu: u32) {}
    }

    #[test]
    fn each_way_names_the_cpu() -> Result {
        let named = Named {
            here: TscHere::find(),
            asked: Atomic::new(0),
            held: Atomic::new(0),
            at_once: Atomic::new(0),
            number: Atomic::new(0),
        };
        let named = Arc::new(named, GFP_KERNEL)?;
        drop(HotplugListener::new(c"oxen/tsc:test", named.clone())?);
        let asked = named.asked.load(Relaxed);
        assert!(asked >= 2);
        assert_eq!(named.held.load(Relaxed), asked);
        assert_eq!(named.number.load(Relaxed), asked);
        assert_eq!(named.at_once.load(Relaxed), asked);
        Ok(())
    }

    #[test]
    fn no_way_goes_back() {
        let here = TscHere::find();
        let mut last = 0;
        for _ in 0..1000 {
            let at_once = here.at_once().map(|(tsc, _)| tsc);
            for tsc in [at_once.unwrap_or(last), here.held().0, tsc()] {
                assert!(tsc >= last);
                last = tsc;
            }
        }
    }
}
