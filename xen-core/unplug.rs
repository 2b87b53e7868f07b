// SPDX-License-Identifier: GPL-2.0

//! Taking away the emulated disks and network cards whose place our drivers take.
//!
//! An emulated disk and its twin of ours are the same data: both at once destroy it. So the emulated ones are unplugged
//! when this module is loaded, unless Linux already uses them; then a disk of ours must stay away.

use crate::resume::{
    Resume,
    Wake, //
};
use abi::unplug::{
    Kinds,
    BASE,
    MAGIC,
    PRESENT,
    PRODUCT,
    VERSION, //
};
use kernel::prelude::*;
use linux::platform::{
    pci_function_in_use,
    Function,
    IoPorts, //
};

/// Subsystem vendors that QEMU gives the devices that it emulates: its own, and Xen's.
const EMULATED: [u16; 2] = [0x1af4, 0x5853];

/// Something that the device model emulates and that one of our drivers serves too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// A disk.
    Disk,
    /// A network card.
    Nic,
}

/// Tells whether Linux uses an emulated device of this kind now.
///
/// Process context only.
pub fn emulated_twin_attached(twin: Twin) -> bool {
    let function = match twin {
        Twin::Disk => Function::Disk,
        Twin::Nic => Function::Nic,
    };
    pci_function_in_use(function, &EMULATED)
}

/// Unplugs the emulated devices of these kinds, but for those in use.
pub(crate) fn unplug(kinds: Kinds) {
    const DISKS: Kinds = Kinds::DISKS.and(Kinds::AUX_DISKS).and(Kinds::NVME);

    let mut kinds = kinds;
    for (twin, of_it, what) in [
        (Twin::Disk, DISKS, "disk"),
        (Twin::Nic, Kinds::NICS, "network card"),
    ] {
        if kinds.any_of(of_it) && emulated_twin_attached(twin) {
            pr_warn!(
                "An emulated {what} is in use and stays: load oxen_xen_core before its driver.\n"
            );
            kinds = kinds.without(of_it);
        }
    }
    if kinds == Kinds::NONE {
        return;
    }
    // SAFETY: On Xen these ports belong to the unplug protocol of the device model, which was detected before.
    let ports = unsafe { IoPorts::new(BASE) };
    if ports.read_u16(MAGIC) != PRESENT {
        pr_info!("The device model has no unplug protocol: emulated devices stay.\n");
        return;
    }
    if ports.read_u8(VERSION) >= 1 {
        ports.write_u16(VERSION, PRODUCT);
        ports.write_u32(MAGIC, 1);
        if ports.read_u16(MAGIC) != PRESENT {
            pr_warn!("The toolstack does not want these drivers to unplug emulated devices: they stay.\n");
            return;
        }
    }
    ports.write_u16(MAGIC, kinds.mask());
}

/// A domain that was restored has a new device model, which emulates all again.
pub(crate) struct Again(pub(crate) Kinds);

impl Resume for Again {
    fn late(&self, wake: Wake) {
        if wake == Wake::Resumed {
            unplug(self.0);
        }
    }
}
