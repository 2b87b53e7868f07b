// SPDX-License-Identifier: GPL-2.0

//! Drivers of a bus, as the driver core knows them.

use core::mem::offset_of;

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

use super::device::Bus;

/// A driver as the driver core knows it, with what the bus keeps about it.
///
/// # Invariants
///
/// `driver` is registered until `drop`.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(super) struct Inner<B: Bus> {
    #[pin]
    driver: Opaque<bindings::device_driver>,
    data: B::Driver,
}

impl<B: Bus> Inner<B> {
    /// Registers a driver.
    ///
    /// # Errors
    ///
    /// `EBUSY` when there is a driver of that name.
    ///
    /// # Safety
    ///
    /// `bus` is registered, and stays so until the value is dropped.
    pub(super) unsafe fn new(
        bus: *mut bindings::bus_type,
        name: &'static CStr,
        module: &'static ThisModule,
        data: B::Driver,
    ) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            try_pin_init!(Self {
                data,
                driver <- Opaque::try_ffi_init(move |slot: *mut bindings::device_driver| {
                    let driver = bindings::device_driver {
                        name: name.as_char_ptr(),
                        bus,
                        owner: module.as_ptr(),
                        ..bindings::device_driver::default()
                    };
                    // SAFETY: `slot` is valid for writes.
                    unsafe { slot.write(driver) };
                    // SAFETY: The structure is complete and pinned, `data` beside it is initialised already, and
                    // the driver is unregistered before they go away.
                    to_result(unsafe { bindings::driver_register(slot) })
                }),
            }? Error),
            GFP_KERNEL,
        )
    }
}

/// Returns what the bus keeps about a driver.
///
/// # Safety
///
/// `driver` is a registered driver of the bus `B`, and stays so during `'a`.
pub(super) unsafe fn driver_data<'a, B: Bus>(
    driver: *const bindings::device_driver,
) -> &'a B::Driver {
    // SAFETY: Every driver of the bus is the field of an `Inner<B>`.
    unsafe {
        &(*driver
            .byte_sub(offset_of!(Inner<B>, driver))
            .cast::<Inner<B>>())
        .data
    }
}

#[pinned_drop]
impl<B: Bus> PinnedDrop for Inner<B> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant. Every device that it is bound to is removed from it here.
        unsafe { bindings::driver_unregister(self.driver.get()) };
    }
}
