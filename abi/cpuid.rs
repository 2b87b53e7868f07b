// SPDX-License-Identifier: GPL-2.0

//! What Xen tells in its CPUID leaves.
//!
//! Implements the leaves of Xen's public header `arch-x86/cpuid.h`. The instruction itself is a parameter, so that the
//! scan runs on any host.

use crate::types::VcpuId;

/// The registers that one CPUID leaf returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// Register EAX.
    pub eax: u32,
    /// Register EBX.
    pub ebx: u32,
    /// Register ECX.
    pub ecx: u32,
    /// Register EDX.
    pub edx: u32,
}

/// `XenVMMXenVMM`, as EBX, ECX and EDX hold it.
const SIGNATURE: (u32, u32, u32) = (0x566e_6558, 0x6558_4d4d, 0x4d4d_566e);

/// First leaf that a hypervisor may answer, and the distance to the next one: with Viridian on, Xen moves up by one.
const FIRST: u32 = 0x4000_0000;
const STEP: u32 = 0x100;
const CANDIDATES: u32 = 0x100;

/// Leaf (from the base) with the facts of an HVM guest.
pub const HVM_LEAF: u32 = 4;

/// `XEN_HVM_CPUID_VCPU_ID_PRESENT`: EBX of [`HVM_LEAF`] is the id of the vCPU.
const VCPU_ID_PRESENT: u32 = 1 << 3;

/// `XEN_HVM_CPUID_APIC_ACCESS_VIRT` and `XEN_HVM_CPUID_X2APIC_VIRT`: the hardware virtualises accesses to the APIC.
pub const APIC_VIRTUALISED: u32 = 1 << 0 | 1 << 1;

/// Leaf (from the base) with the facts about the TSC.
pub const TIME_LEAF: u32 = 3;

/// `XEN_CPUID_TSC_MODE_NEVER_EMULATE`: the TSC is the machine's own, whatever happens.
pub const TSC_NEVER_EMULATED: u32 = 2;

/// The first leaf of Xen, after which all others are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base(u32);

impl Base {
    /// Finds Xen's leaves; `None` when this is no Xen.
    pub fn find(mut cpuid: impl FnMut(u32) -> Leaf) -> Option<Self> {
        (0..CANDIDATES)
            .map(|n| FIRST.wrapping_add(n.wrapping_mul(STEP)))
            .find(|base| {
                let leaf = cpuid(*base);
                (leaf.ebx, leaf.ecx, leaf.edx) == SIGNATURE
                    && leaf.eax >= base.wrapping_add(HVM_LEAF)
            })
            .map(Self)
    }

    /// Number of the leaf `offset` after the base.
    pub fn leaf(self, offset: u32) -> u32 {
        self.0.wrapping_add(offset)
    }
}

/// Version of the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The 4 of 4.20.
    pub major: u16,
    /// The 20 of 4.20.
    pub minor: u16,
}

impl Version {
    /// The oldest Xen with per-vCPU upcall vectors, FIFO events and vCPU ids in CPUID.
    pub const OLDEST: Self = Self { major: 4, minor: 6 };

    /// Takes apart the version as CPUID (base + 1, EAX) and `XENVER_version` give it.
    pub fn from_packed(packed: u32) -> Self {
        let [low, high] = [packed & 0xffff, packed >> 16].map(|half| half as u16);
        Self {
            major: high,
            minor: low,
        }
    }
}

/// Takes the vCPU's id out of [`HVM_LEAF`], which differs from CPU to CPU; `None` on a Xen that does not tell.
pub fn vcpu_id(leaf: Leaf) -> Option<VcpuId> {
    (leaf.eax & VCPU_ID_PRESENT != 0).then_some(VcpuId(leaf.ebx))
}

/// Tells from [`HVM_LEAF`] whether an access to the local APIC causes no exit, at least an end of interrupt.
pub fn is_apic_virtualised(leaf: Leaf) -> bool {
    leaf.eax & APIC_VIRTUALISED != 0
}

/// Tells from [`TIME_LEAF`] whether reading the TSC never causes an exit.
pub fn is_tsc_native(leaf: Leaf) -> bool {
    leaf.ebx == TSC_NEVER_EMULATED
}

/// The instruction that enters the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// `vmcall`: Intel and all that follow it.
    Vmcall,
    /// `vmmcall`: AMD and Hygon.
    Vmmcall,
}

/// Chooses the instruction by the CPU's vendor, out of leaf 0.
pub fn gate(leaf: Leaf) -> Gate {
    let name = |text: &[u8; 12]| {
        let word = |at: usize| {
            let mut bytes = [0; 4];
            for (to, from) in bytes.iter_mut().zip(text.iter().skip(at)) {
                *to = *from;
            }
            u32::from_le_bytes(bytes)
        };
        (word(0), word(4), word(8))
    };
    let vendor = (leaf.ebx, leaf.edx, leaf.ecx);
    if vendor == name(b"AuthenticAMD") || vendor == name(b"HygonGenuine") {
        Gate::Vmmcall
    } else {
        Gate::Vmcall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xen_at(base: u32) -> impl FnMut(u32) -> Leaf {
        move |leaf| {
            if leaf == base {
                Leaf {
                    eax: base + 5,
                    ebx: SIGNATURE.0,
                    ecx: SIGNATURE.1,
                    edx: SIGNATURE.2,
                }
            } else {
                Leaf::default()
            }
        }
    }

    #[test]
    fn xen_is_found_at_any_base() {
        assert_eq!(Base::find(xen_at(0x4000_0000)), Some(Base(0x4000_0000)));
        assert_eq!(Base::find(xen_at(0x4000_0100)), Some(Base(0x4000_0100)));
        assert_eq!(Base::find(xen_at(0x4000_ff00)), Some(Base(0x4000_ff00)));
        assert_eq!(Base::find(xen_at(0x4001_0000)), None);
        assert_eq!(Base(0x4000_0100).leaf(HVM_LEAF), 0x4000_0104);
    }

    #[test]
    fn other_hypervisors_are_not_xen() {
        let mut asked = 0;
        let kvm = |_| {
            asked += 1;
            Leaf {
                eax: 0x4000_0001,
                ebx: 0x4b4d_564b,
                ecx: 0x564b_4d56,
                edx: 0x4d,
            }
        };
        assert_eq!(Base::find(kvm), None);
        assert_eq!(asked, CANDIDATES);
    }

    #[test]
    fn too_few_leaves_are_not_enough() {
        let old = |leaf| Leaf {
            eax: leaf + 2,
            ebx: SIGNATURE.0,
            ecx: SIGNATURE.1,
            edx: SIGNATURE.2,
        };
        assert_eq!(Base::find(old), None);
    }

    #[test]
    fn signature_spells_the_name() {
        let mut text = Vec::new();
        for word in [SIGNATURE.0, SIGNATURE.1, SIGNATURE.2] {
            text.extend(word.to_le_bytes());
        }
        assert_eq!(text, b"XenVMMXenVMM");
    }

    #[test]
    fn versions_are_ordered() {
        let v = Version::from_packed(0x0004_0014);
        assert_eq!((v.major, v.minor), (4, 20));
        assert!(v >= Version::OLDEST);
        assert!(Version::from_packed(0x0004_0005) < Version::OLDEST);
        assert!(Version::from_packed(0x0003_0014) < Version::OLDEST);
        assert!(Version::from_packed(0x0005_0000) > Version::OLDEST);
    }

    #[test]
    fn vcpu_id_counts_only_when_flagged() {
        let leaf = |eax| Leaf {
            eax,
            ebx: 3,
            ..Leaf::default()
        };
        assert_eq!(vcpu_id(leaf(1 << 3)), Some(VcpuId(3)));
        assert_eq!(vcpu_id(leaf(0xff & !(1 << 3))), None);
    }

    #[test]
    fn gate_follows_the_vendor() {
        let leaf = |text: &[u8; 12]| Leaf {
            eax: 0,
            ebx: u32::from_le_bytes(text[0..4].try_into().unwrap()),
            edx: u32::from_le_bytes(text[4..8].try_into().unwrap()),
            ecx: u32::from_le_bytes(text[8..12].try_into().unwrap()),
        };
        assert_eq!(gate(leaf(b"AuthenticAMD")), Gate::Vmmcall);
        assert_eq!(gate(leaf(b"HygonGenuine")), Gate::Vmmcall);
        assert_eq!(gate(leaf(b"GenuineIntel")), Gate::Vmcall);
        assert_eq!(gate(leaf(b"  Shanghai  ")), Gate::Vmcall);
    }
}
