// SPDX-License-Identifier: GPL-2.0

//! A bus, its devices, and what is said about them.

use core::{
    marker::PhantomData,
    mem::offset_of,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    device,
    error::to_result,
    fmt,
    prelude::*,
    sync::aref::AlwaysRefCounted,
    types::Opaque, //
};

/// A bus.
pub trait Bus: Sized + Send + Sync + 'static {
    /// Its name under `/sys/bus`.
    const NAME: &'static CStr;

    /// What each device carries.
    type Device: Send + Sync + 'static;

    /// What each driver carries.
    type Driver: Send + Sync + 'static;

    /// Files of each device in sysfs, read-only.
    const ATTRIBUTES: &'static [Attribute<Self>];

    /// Tells whether the driver is one for the device.
    fn matches(device: &Device<Self>, driver: &Self::Driver) -> bool;

    /// Binds the driver to the device. Must not wait for anything outside this kernel.
    ///
    /// # Errors
    ///
    /// Whatever keeps the driver from handling the device.
    fn probe(device: &Device<Self>, driver: &Self::Driver) -> Result;

    /// Takes the driver off the device. Nothing of the driver may run for this device afterwards.
    fn remove(device: &Device<Self>, driver: &Self::Driver);

    /// Adds variables to an event for user space.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when there are too many.
    fn uevent(device: &Device<Self>, event: &mut Uevent<'_>) -> Result;
}

/// A file: its name, and what writes its content.
pub struct Attribute<B: Bus> {
    /// Its name.
    pub name: &'static CStr,
    /// Writes its content; a newline is added.
    pub show: fn(&Device<B>, &mut dyn fmt::Write) -> fmt::Result,
}

/// An event for user space that is being written.
pub struct Uevent<'a>(
    pub(super) NonNull<bindings::kobj_uevent_env>,
    pub(super) PhantomData<&'a mut bindings::kobj_uevent_env>,
);

impl Uevent<'_> {
    /// Adds `KEY=value`.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when there are too many.
    pub fn add(&mut self, key: &CStr, value: &CStr) -> Result {
        // SAFETY: The environment is valid while the value lives; all strings are NUL-terminated.
        to_result(unsafe {
            bindings::add_uevent_var(
                self.0.as_ptr(),
                c"%s=%s".as_char_ptr(),
                key.as_char_ptr(),
                value.as_char_ptr(),
            )
        })
    }
}

/// A device of the bus `B`, with what the bus keeps about it.
///
/// # Invariants
///
/// `dev` is initialised; it and `data` live until its last reference is gone.
#[pin_data]
#[repr(C)]
pub struct Device<B: Bus> {
    #[pin]
    pub(super) dev: Opaque<bindings::device>,
    #[pin]
    pub(super) data: B::Device,
}

// SAFETY: The driver core's functions may be called from any thread, and `B::Device` is `Send`.
unsafe impl<B: Bus> Send for Device<B> {}
// SAFETY: As above, and `B::Device` is `Sync`.
unsafe impl<B: Bus> Sync for Device<B> {}

impl<B: Bus> Device<B> {
    /// # Safety
    ///
    /// `dev` is a device of the bus `B` that was made by [`DeviceRegistration::new`](super::DeviceRegistration::new), and stays referenced during `'a`.
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
    pub(super) unsafe extern "C" fn release(dev: *mut bindings::device) {
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
