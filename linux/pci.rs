// SPDX-License-Identifier: GPL-2.0

//! Where the `kernel` crate's PCI drivers differ from one kernel to the next; `Kbuild` looks which it is.

/// What a driver's `probe` is told of the entry of its table.
#[cfg(oxen_pci_info_may_lack)]
pub type Info<'bound, T> = Option<&'bound T>;

/// What a driver's `probe` is told of the entry of its table.
#[cfg(not(oxen_pci_info_may_lack))]
pub type Info<'bound, T> = &'bound T;

/// Makes a driver's table: `pci_device_table!(TABLE, IdInfo, [(id, info)])`.
#[cfg(oxen_pci_info_may_lack)]
#[macro_export]
macro_rules! pci_device_table {
    ($table:ident, $info:ty, $entries:tt) => {
        ::kernel::pci_device_table!($table, $info, $entries);
    };
}

/// Makes a driver's table: `pci_device_table!(TABLE, IdInfo, [(id, info)])`.
#[cfg(not(oxen_pci_info_may_lack))]
#[macro_export]
macro_rules! pci_device_table {
    ($table:ident, $info:ty, $entries:tt) => {
        ::kernel::pci_device_table!($table, OXEN_PCI_MODULE_TABLE, $info, $entries);
    };
}
