// SPDX-License-Identifier: GPL-2.0

//! The Xen platform device: a PCI device (5853:0001) whose pin is the fallback for upcalls.
//!
//! The kernel's own driver of that name lets go of it under `nopv`.

use abi::hypercall::hvm;
use kernel::{
    device::Core,
    pci,
    prelude::*, //
};
use linux::{
    pci::Info,
    platform, //
};

/// How upcalls come through the platform device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intx {
    /// Linux's irq number of the pin. The line is shared and level triggered.
    pub irq: u32,
    /// The value of [`hvm::Param::CallbackIrq`] that makes Xen raise it, for events of vCPU 0.
    pub callback: u64,
}

kernel::sync::global_lock! {
    // SAFETY: Initialised at the start of the module's `init`.
    pub(crate) unsafe(uninit) static PIN: Mutex<Option<Intx>> = None;
}

/// Tells where the platform device raises its pin; `None` when this guest has no such device.
pub fn intx() -> Option<Intx> {
    *PIN.lock()
}

/// The driver; its data is the bound device.
pub(crate) struct PlatformDevice;

linux::pci_device_table!(
    PCI_TABLE,
    <PlatformDevice as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_id(pci::Vendor::XEN, 0x0001), ())]
);

impl pci::Driver for PlatformDevice {
    type IdInfo = ();
    type Data<'bound> = Self;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        device: &'bound pci::Device<Core<'_>>,
        _info: Info<'bound, Self::IdInfo>,
    ) -> impl PinInit<Self, Error> + 'bound {
        // Routes the pin, too.
        device.enable_device_mem()?;
        *PIN.lock() = platform::intx(device).map(|pin| Intx {
            irq: pin.irq,
            callback: hvm::callback_via_intx(pin.domain, pin.bus, pin.devfn, pin.pin),
        });
        Ok(Self)
    }

    fn unbind<'bound>(_device: &'bound pci::Device<Core<'_>>, _this: Pin<&Self>) {
        *PIN.lock() = None;
    }
}
