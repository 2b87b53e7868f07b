// SPDX-License-Identifier: GPL-2.0

//! Sets of CPUs.
//!
//! C header: `include/linux/cpumask.h`

use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::{
    cpu::CpuId,
    cpumask::CpumaskVar,
    prelude::*, //
};

pub use kernel::cpumask::Cpumask;

/// Tells whether `cpu` is one of `cpus`.
pub fn has(cpus: &Cpumask, cpu: u32) -> bool {
    CpuId::from_u32(cpu).is_some_and(|cpu| cpus.test(cpu))
}

/// Those of `cpus` that are online now.
pub fn online(cpus: &Cpumask) -> impl Iterator<Item = u32> + '_ {
    super::online().filter(|cpu| has(cpus, *cpu))
}

/// A set of our own. Boxed, as the kernel's must not move where it is no pointer.
pub struct CpuSet(KBox<CpumaskVar>);

// SAFETY: It owns its bits.
unsafe impl Send for CpuSet {}
// SAFETY: A shared reference only reads them.
unsafe impl Sync for CpuSet {}

impl CpuSet {
    /// The set of `cpus`; numbers that are none of a CPU are left out.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(cpus: impl IntoIterator<Item = u32>) -> Result<Self> {
        let mut set = CpumaskVar::new_zero(GFP_KERNEL)?;
        for cpu in cpus.into_iter().filter_map(CpuId::from_u32) {
            set.set(cpu);
        }
        Ok(Self(KBox::new(set, GFP_KERNEL)?))
    }
}

impl Deref for CpuSet {
    type Target = Cpumask;

    fn deref(&self) -> &Cpumask {
        &self.0
    }
}

impl DerefMut for CpuSet {
    fn deref_mut(&mut self) -> &mut Cpumask {
        &mut self.0
    }
}

#[kunit_tests(oxen_cpu_set)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_it_was_made_of() -> Result {
        let count = crate::cpu::count();
        let mut set = CpuSet::new([0, count, u32::MAX])?;
        assert!(has(&set, 0) && !has(&set, count) && !has(&set, u32::MAX));
        assert!(online(&set).eq([0]));
        CpuSet::new(crate::cpu::possible())?.copy(&mut set);
        assert!(crate::cpu::online().eq(online(&set)));
        Ok(())
    }
}
