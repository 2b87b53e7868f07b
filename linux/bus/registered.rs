// SPDX-License-Identifier: GPL-2.0

//! A bus, devices and drivers that the driver core knows.

use super::{
    attribute::Attributes,
    device::{
        Bus,
        Device,
        Uevent, //
    },
    driver::{
        driver_data,
        Inner, //
    },
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::to_result,
    ffi::c_int,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    types::Opaque, //
};

/// A bus that is registered with the driver core.
///
/// # Invariants
///
/// `bus` is registered and `root` is a registered root device until `drop`. `attributes` is what `bus` points to.
#[pin_data(PinnedDrop)]
pub struct Registered<B: Bus> {
    #[pin]
    bus: Opaque<bindings::bus_type>,
    attributes: Attributes<B>,
    root: Root,
}

// SAFETY: The driver core may be called from any thread.
unsafe impl<B: Bus> Send for Registered<B> {}
// SAFETY: As above.
unsafe impl<B: Bus> Sync for Registered<B> {}

impl<B: Bus> Registered<B> {
    /// Registers the bus, and the device that is the parent of all on it.
    ///
    /// # Errors
    ///
    /// `EEXIST` when there is a bus of that name.
    pub fn new(module: &'static ThisModule) -> Result<Arc<Self>> {
        let attributes = Attributes::new()?;
        let groups = attributes.groups();
        let root = Root::new(B::NAME, module)?;
        Arc::pin_init(
            try_pin_init!(Self {
                attributes,
                root,
                bus <- Opaque::try_ffi_init(move |slot: *mut bindings::bus_type| {
                    let bus = bindings::bus_type {
                        name: B::NAME.as_char_ptr(),
                        dev_groups: groups,
                        match_: Some(match_callback::<B>),
                        uevent: Some(uevent_callback::<B>),
                        probe: Some(probe_callback::<B>),
                        remove: Some(remove_callback::<B>),
                        ..bindings::bus_type::default()
                    };
                    // SAFETY: `slot` is valid for writes.
                    unsafe { slot.write(bus) };
                    // SAFETY: The structure is complete, pinned, and unregistered before it goes away.
                    to_result(unsafe { bindings::bus_register(slot) })
                }),
            }? Error),
            GFP_KERNEL,
        )
    }

    fn as_raw(&self) -> *mut bindings::bus_type {
        self.bus.get()
    }
}

#[pinned_drop]
impl<B: Bus> PinnedDrop for Registered<B> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant. Devices and drivers hold a reference to this, so there are none any more.
        unsafe { bindings::bus_unregister(self.bus.get()) };
    }
}

/// The parent of all devices.
///
/// # Invariants
///
/// The pointer is a registered root device until `drop`.
struct Root(NonNull<bindings::device>);

impl Root {
    fn new(name: &CStr, module: &'static ThisModule) -> Result<Self> {
        // SAFETY: The name is copied; the module outlives what it registers.
        let root = kernel::error::from_err_ptr(unsafe {
            bindings::__root_device_register(name.as_char_ptr(), module.as_ptr())
        })?;
        // INVARIANT: It was just registered.
        NonNull::new(root).map(Self).ok_or(ENOMEM)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::root_device_unregister(self.0.as_ptr()) };
    }
}

/// # Safety
///
/// Called by the driver core with a device and a driver of the bus `B`.
unsafe extern "C" fn match_callback<B: Bus>(
    dev: *mut bindings::device,
    drv: *const bindings::device_driver,
) -> c_int {
    // SAFETY: By the safety requirements.
    let (device, driver) = unsafe { (Device::<B>::from_raw(dev), driver_data::<B>(drv)) };
    c_int::from(B::matches(device, driver))
}

/// # Safety
///
/// Called by the driver core with a device of the bus `B` and a valid environment.
unsafe extern "C" fn uevent_callback<B: Bus>(
    dev: *const bindings::device,
    env: *mut bindings::kobj_uevent_env,
) -> c_int {
    // SAFETY: By the safety requirements.
    let device = unsafe { Device::<B>::from_raw(dev.cast_mut()) };
    let Some(env) = NonNull::new(env) else {
        return 0;
    };
    match B::uevent(device, &mut Uevent(env, PhantomData)) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// Called by the driver core with a device of the bus `B` whose driver is set.
unsafe extern "C" fn probe_callback<B: Bus>(dev: *mut bindings::device) -> c_int {
    // SAFETY: By the safety requirements.
    let (device, driver) = unsafe { (Device::<B>::from_raw(dev), driver_data::<B>((*dev).driver)) };
    match B::probe(device, driver) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// Called by the driver core with a device of the bus `B` that is bound to its driver.
unsafe extern "C" fn remove_callback<B: Bus>(dev: *mut bindings::device) {
    // SAFETY: By the safety requirements.
    let (device, driver) = unsafe { (Device::<B>::from_raw(dev), driver_data::<B>((*dev).driver)) };
    B::remove(device, driver);
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

/// A driver that is registered with its bus. Dropping it removes it from every device.
pub struct DriverRegistration<B: Bus> {
    // The order matters: the driver goes before the bus.
    _inner: Pin<KBox<Inner<B>>>,
    _bus: Arc<Registered<B>>,
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
        Ok(Self {
            // SAFETY: The bus is held until the driver is dropped, which comes first.
            _inner: unsafe { Inner::new(bus.as_raw(), name, module, data) }?,
            _bus: bus.clone(),
        })
    }
}
