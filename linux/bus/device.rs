// SPDX-License-Identifier: GPL-2.0

//! Devices of a bus.

use core::{
    mem::offset_of,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    device,
    error::to_result,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        Arc,
    },
    types::Opaque, //
};

use super::{
    Bus,
    Registered, //
};

/// A device of the bus `B`, with what the bus keeps about it.
///
/// # Invariants
///
/// `dev` is initialised; it and `data` live until its last reference is gone.
#[pin_data]
#[repr(C)]
pub struct Device<B: Bus> {
    #[pin]
    dev: Opaque<bindings::device>,
    #[pin]
    data: B::Device,
}

// SAFETY: The driver core's functions may be called from any thread, and `B::Device` is `Send`.
unsafe impl<B: Bus> Send for Device<B> {}
// SAFETY: As above, and `B::Device` is `Sync`.
unsafe impl<B: Bus> Sync for Device<B> {}

impl<B: Bus> Device<B> {
    /// # Safety
    ///
    /// `dev` is a device of the bus `B` that was made by [`DeviceRegistration::new`], and stays referenced during `'a`.
    pub(super) unsafe fn from_raw<'a>(dev: *mut bindings::device) -> &'a Self {
        // SAFETY: Every device of the bus is the field of a `Device<B>`.
        unsafe { &*dev.byte_sub(offset_of!(Self, dev)).cast::<Self>() }
    }

    /// Returns what the bus keeps about the device.
    pub fn data(&self) -> &B::Device {
        &self.data
    }

    /// # Safety
    ///
    /// Called by the driver core once, when the last reference is gone.
    unsafe extern "C" fn release(dev: *mut bindings::device) {
        // SAFETY: The box was leaked when the device was initialised, and nobody refers to it any more.
        drop(unsafe { KBox::from_raw(dev.byte_sub(offset_of!(Self, dev)).cast::<Self>()) });
    }
}

impl<B: Bus> Deref for Device<B> {
    type Target = B::Device;

    fn deref(&self) -> &B::Device {
        &self.data
    }
}

impl<B: Bus> AsRef<device::Device> for Device<B> {
    fn as_ref(&self) -> &device::Device {
        // SAFETY: By the type invariant the device is valid as long as `self`.
        unsafe { device::Device::from_raw(self.dev.get()) }
    }
}

// SAFETY: The driver core counts the references and calls `release` after the last.
unsafe impl<B: Bus> AlwaysRefCounted for Device<B> {
    fn inc_ref(&self) {
        // SAFETY: `self` proves that the count is not zero.
        unsafe { bindings::get_device(self.dev.get()) };
    }

    unsafe fn dec_ref(object: NonNull<Self>) {
        // SAFETY: The caller gives a reference up, so the device is valid until then.
        unsafe { bindings::put_device((*object.as_ptr()).dev.get()) };
    }
}

/// A device that is on its bus. Dropping it takes it off: its driver is removed first.
pub struct DeviceRegistration<B: Bus> {
    device: ARef<Device<B>>,
    /// Keeps the bus registered while the device is on it.
    _bus: Arc<Registered<B>>,
}

impl<B: Bus> DeviceRegistration<B> {
    /// Puts a new device on the bus, and binds a driver if there is one.
    ///
    /// # Errors
    ///
    /// `EEXIST` when there is a device of that name, `ENOMEM`, or what `data` reports.
    pub fn new(
        bus: &Arc<Registered<B>>,
        name: &CStr,
        data: impl PinInit<B::Device, Error>,
    ) -> Result<Self> {
        let boxed = KBox::pin_init(
            try_pin_init!(Device::<B> {
                data <- data,
                dev <- Opaque::ffi_init(|slot: *mut bindings::device| {
                    // SAFETY: `slot` is valid for writes.
                    unsafe { slot.write(bindings::device::default()) };
                    // SAFETY: As above; all fields that are not zero are set here.
                    unsafe {
                        (*slot).parent = bus.root.0.as_ptr();
                        (*slot).bus = bus.as_raw();
                        (*slot).release = Some(Device::<B>::release);
                    }
                    // SAFETY: The structure is zero but for what `device_initialize` expects.
                    unsafe { bindings::device_initialize(slot) };
                }),
            }? Error),
            GFP_KERNEL,
        )?;
        // SAFETY: The device stays where it is; only references to it are given out.
        let device = NonNull::from(KBox::leak(unsafe { Pin::into_inner_unchecked(boxed) }));
        // SAFETY: `device_initialize` made the first reference, which this takes over; `release` frees the box.
        let device = unsafe { ARef::from_raw(device) };
        let raw = device.dev.get();
        // SAFETY: The device is initialised; the strings are NUL-terminated.
        to_result(unsafe { bindings::dev_set_name(raw, c"%s".as_char_ptr(), name.as_char_ptr()) })?;
        // SAFETY: The device is initialised and named.
        to_result(unsafe { bindings::device_add(raw) })?;
        Ok(Self {
            device,
            _bus: bus.clone(),
        })
    }

    /// Returns the device.
    pub fn device(&self) -> &ARef<Device<B>> {
        &self.device
    }
}

impl<B: Bus> Drop for DeviceRegistration<B> {
    fn drop(&mut self) {
        // SAFETY: The device was added by `new` and is taken off only here.
        unsafe { bindings::device_del(self.device.dev.get()) };
    }
}
