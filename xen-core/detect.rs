// SPDX-License-Identifier: GPL-2.0

//! Whether this is a guest that these drivers can serve, and what Xen's CPUID leaves say.

use abi::{
    cpuid::{
        self,
        Base,
        Gate,
        Leaf,
        Version, //
    },
    types::VcpuId,
};
use kernel::{
    prelude::*,
    sync::SetOnce, //
};
use linux::platform::{
    built_in,
    BuiltIn, //
};

/// What was found.
#[derive(Clone, Copy)]
pub(crate) struct Xen {
    base: Base,
    pub(crate) gate: Gate,
    pub(crate) version: Version,
}

static FOUND: SetOnce<Xen> = SetOnce::new();

#[allow(unused_unsafe, reason = "newer compilers have it as a safe function")]
fn leaf(number: u32) -> Leaf {
    // SAFETY: Every CPU of 64 bits has the instruction.
    let found = unsafe { core::arch::x86_64::__cpuid_count(number, 0) };
    Leaf {
        eax: found.eax,
        ebx: found.ebx,
        ecx: found.ecx,
        edx: found.edx,
    }
}

/// Looks for Xen, or says in one sentence why these drivers cannot serve here.
pub(crate) fn detect() -> Result<Xen> {
    let Some(base) = Base::find(leaf) else {
        pr_err!("This machine is not a Xen guest: nothing to do for these drivers.\n");
        return Err(ENODEV);
    };
    match built_in() {
        BuiltIn::Off => {}
        BuiltIn::Pv => {
            pr_err!("This is a PV guest, which only the kernel's own Xen support can run: use an HVM guest.\n");
            return Err(ENODEV);
        }
        BuiltIn::Pvh => {
            pr_err!("This is a PVH guest, which only the kernel's own Xen support can run: use an HVM guest.\n");
            return Err(ENODEV);
        }
        BuiltIn::Hvm => {
            pr_err!("The kernel's own Xen support is active: boot with `nopv` on the kernel's command line.\n");
            return Err(EBUSY);
        }
    }
    let version = Version::from_packed(leaf(base.leaf(1)).eax);
    if version < Version::OLDEST {
        pr_err!(
            "Xen {}.{} is too old: {}.{} or newer is needed.\n",
            version.major,
            version.minor,
            Version::OLDEST.major,
            Version::OLDEST.minor
        );
        return Err(ENODEV);
    }
    if cpuid::vcpu_id(leaf(base.leaf(cpuid::HVM_LEAF))).is_none() {
        pr_err!("This Xen does not tell vCPU ids in CPUID: an HVM guest of Xen 4.6 or newer is needed.\n");
        return Err(ENODEV);
    }
    let xen = Xen {
        base,
        gate: cpuid::gate(leaf(0)),
        version,
    };
    FOUND.populate(xen);
    Ok(xen)
}

/// What was found, once the module is loaded.
#[inline]
pub(crate) fn found() -> Option<&'static Xen> {
    FOUND.as_ref()
}

/// Tells whether the hardware virtualises the local APIC, so that its registers cause no exit.
pub fn is_apic_virtualised() -> bool {
    found().is_some_and(|xen| cpuid::is_apic_virtualised(leaf(xen.base.leaf(cpuid::HVM_LEAF))))
}

/// Tells whether reading the TSC never causes an exit, wherever the guest is moved to.
pub fn is_tsc_native() -> bool {
    found().is_some_and(|xen| cpuid::is_tsc_native(leaf(xen.base.leaf(cpuid::TIME_LEAF))))
}

/// Returns the id of the vCPU that this runs on.
///
/// Only a caller that stays on its CPU can make use of it. It differs from Linux's CPU number in general, and has to be
/// asked on each CPU.
pub fn vcpu_id() -> Option<VcpuId> {
    cpuid::vcpu_id(leaf(found()?.base.leaf(cpuid::HVM_LEAF)))
}
