// SPDX-License-Identifier: GPL-2.0

//! Drivers of a bus.

use core::mem::offset_of;

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

use super::{
    Bus,
    Registered, //
};

/// A driver as the driver core knows it, with what the bus keeps about it.
///
/// # Invariants
///
/// `driver` is registered until `drop`.
#[pin_data(PinnedDrop)]
#[repr(C)]
struct Inner<B: Bus> {
    #[pin]
    driver: Opaque<bindings::device_driver>,
    data: B::Driver,
    /// Keeps the bus registered while the driver is on it.
    _bus: Arc<Registered<B>>,
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

/// A driver that is registered with its bus. Dropping it removes it from every device.
pub struct DriverRegistration<B: Bus> {
    _inner: Pin<KBox<Inner<B>>>,
}

// SAFETY: A driver may be unregistered from any thread, and `B::Driver` is `Send`.
unsafe impl<B: Bus> Send for DriverRegistration<B> {}
// SAFETY: `&DriverRegistration` gives no access.
unsafe impl<B: Bus> Sync for DriverRegistration<B> {}

impl<B: Bus> DriverRegistration<B> {
    /// Registers a driver, and binds it to the devices that it matches.
    ///
    /// # Errors
    ///
    /// `EBUSY` when there is a driver of that name.
    pub fn new(
        bus: &Arc<Registered<B>>,
        name: &'static CStr,
        module: &'static ThisModule,
        data: B::Driver,
    ) -> Result<Self> {
        let raw_bus = bus.as_raw();
        let inner = KBox::pin_init(
            try_pin_init!(Inner::<B> {
                data,
                _bus: bus.clone(),
                driver <- Opaque::try_ffi_init(move |slot: *mut bindings::device_driver| {
                    let driver = bindings::device_driver {
                        name: name.as_char_ptr(),
                        bus: raw_bus,
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
        )?;
        Ok(Self { _inner: inner })
    }
}
