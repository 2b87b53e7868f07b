// SPDX-License-Identifier: GPL-2.0

//! What the machine is: PCI devices, x86 port I/O, and the Xen support that the kernel itself has.
//!
//! C headers: `include/linux/pci.h`, `arch/x86/include/asm/io.h`, `include/xen/xen.h`

use crate::bindings;
use core::ptr;
use kernel::{
    device,
    pci, //
};

/// How the kernel's built-in Xen support sees this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// It is off, or not built in.
    Off,
    /// A PV guest.
    Pv,
    /// A PVH guest.
    Pvh,
    /// An HVM guest: it has taken the event channels.
    Hvm,
}

/// Asks the kernel's built-in Xen support.
pub fn built_in() -> BuiltIn {
    // SAFETY: The helper only reads kernel variables.
    match unsafe { bindings::xen_in_kernel() } {
        0 => BuiltIn::Off,
        1 => BuiltIn::Pv,
        2 => BuiltIn::Pvh,
        _ => BuiltIn::Hvm,
    }
}

/// Where a PCI device raises its pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intx {
    /// Linux's irq number.
    pub irq: u32,
    /// PCI domain.
    pub domain: u16,
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
    /// Pin, 0 is INTA.
    pub pin: u8,
}

/// Tells where `device` raises its pin, which is known once it was enabled; `None` if it has none.
pub fn intx(device: &pci::Device<device::Core<'_>>) -> Option<Intx> {
    // CAST: `pci::Device` is transparent over `struct pci_dev`.
    let raw = ptr::from_ref(device).cast::<bindings::pci_dev>().cast_mut();
    // SAFETY: The device is bound, so the structure is valid, and these fields no longer change.
    let (irq, devfn, pin, bus) = unsafe { ((*raw).irq, (*raw).devfn, (*raw).pin, (*raw).bus) };
    // SAFETY: As above.
    let domain = unsafe { bindings::pci_domain_nr(raw) };
    // SAFETY: A device keeps its bus.
    let bus = unsafe { (*bus).number };
    Some(Intx {
        irq: (irq != 0).then_some(irq)?,
        domain: u16::try_from(domain).ok()?,
        bus,
        devfn: u8::try_from(devfn).ok()?,
        pin: pin.checked_sub(1)?,
    })
}

/// What Linux makes of a PCI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// A disk, but not a CD.
    Disk,
    /// A network interface.
    Nic,
}

/// Tells whether a PCI device with one of these subsystem vendors serves as `function` now.
pub fn pci_function_in_use(function: Function, vendors: &[u16]) -> bool {
    let mut device = ptr::null_mut();
    loop {
        // SAFETY: The function drops the reference to the device it starts from, and returns the next with one.
        device = unsafe { bindings::pci_get_device(!0, !0, device) };
        if device.is_null() {
            return false;
        }
        // SAFETY: We hold a reference.
        let vendor = unsafe { (*device).subsystem_vendor };
        // SAFETY: As above.
        let found = vendors.contains(&vendor)
            && match function {
                // SAFETY: We hold a reference.
                Function::Disk => unsafe { bindings::pci_has_disk(device) },
                // SAFETY: As above.
                Function::Nic => unsafe { bindings::pci_has_nic(device) },
            };
        if found {
            // SAFETY: The reference is ours and given up here.
            unsafe { bindings::pci_dev_put(device) };
            return true;
        }
    }
}

/// Two x86 I/O ports, of 4 bytes each, of a device that emulates nothing else there.
pub struct IoPorts(u16);

impl IoPorts {
    /// Uses the 8 bytes from `base` on.
    ///
    /// # Safety
    ///
    /// What is written there must not break anything that Rust relies on, such as memory that a device may write.
    pub const unsafe fn new(base: u16) -> Self {
        Self(base)
    }

    /// Reads 2 bytes.
    pub fn read_u16(&self, offset: u16) -> u16 {
        // SAFETY: By the requirements of `new`.
        unsafe { bindings::inw(self.0.wrapping_add(offset & 7)) }
    }

    /// Reads a byte.
    pub fn read_u8(&self, offset: u16) -> u8 {
        // SAFETY: By the requirements of `new`.
        unsafe { bindings::inb(self.0.wrapping_add(offset & 7)) }
    }

    /// Writes 2 bytes.
    pub fn write_u16(&self, offset: u16, value: u16) {
        // SAFETY: By the requirements of `new`.
        unsafe { bindings::outw(value, self.0.wrapping_add(offset & 7)) }
    }

    /// Writes 4 bytes.
    pub fn write_u32(&self, offset: u16, value: u32) {
        // SAFETY: By the requirements of `new`.
        unsafe { bindings::outl(value, self.0.wrapping_add(offset & 7)) }
    }
}
