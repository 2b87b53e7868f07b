// SPDX-License-Identifier: GPL-2.0

//! A bus of the driver model that is written in Rust: its devices, its drivers and what sysfs shows of them.
//!
//! A [`Bus`] names the data that each of its devices and drivers carries, and the callbacks. Devices are reference
//! counted by the driver core; [`ARef<Device<B>>`](kernel::sync::aref::ARef) is a counted reference.
//!
//! C headers: `include/linux/device/bus.h`, `include/linux/device/driver.h`, `include/linux/device.h`.

mod attribute;
mod device;
mod driver;

pub use self::{
    attribute::Attribute,
    device::{
        Device,
        DeviceRegistration, //
    },
    driver::DriverRegistration,
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
    sync::Arc,
    types::Opaque, //
};

use self::{
    attribute::Attributes,
    driver::driver_data, //
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

/// An event for user space that is being written.
pub struct Uevent<'a>(
    NonNull<bindings::kobj_uevent_env>,
    PhantomData<&'a mut bindings::kobj_uevent_env>,
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

#[kunit_tests(oxen_bus)]
mod tests {
    use super::*;
    use crate::LocalModule;
    use kernel::{
        module::this_module,
        sync::atomic::{
            Atomic,
            Relaxed, //
        }, //
    };

    /// A bus whose devices and drivers match by a number; number 9 fails to be probed.
    struct Test;

    struct Calls {
        probed: Atomic<u32>,
        removed: Atomic<u32>,
    }

    impl Bus for Test {
        const NAME: &'static CStr = c"oxen_test";
        type Device = u32;
        type Driver = (u32, Arc<Calls>);
        const ATTRIBUTES: &'static [Attribute<Self>] = &[Attribute {
            name: c"number",
            show: |device, text| write!(text, "{}", device.data()),
        }];

        fn matches(device: &Device<Self>, driver: &Self::Driver) -> bool {
            *device.data() == driver.0
        }

        fn probe(device: &Device<Self>, driver: &Self::Driver) -> Result {
            driver.1.probed.add(1, Relaxed);
            if *device.data() == 9 {
                Err(EIO)
            } else {
                Ok(())
            }
        }

        fn remove(_device: &Device<Self>, driver: &Self::Driver) {
            driver.1.removed.add(1, Relaxed);
        }

        fn uevent(_device: &Device<Self>, event: &mut Uevent<'_>) -> Result {
            event.add(c"OXEN", c"test")
        }
    }

    struct Stage {
        bus: Arc<Registered<Test>>,
        calls: Arc<Calls>,
    }

    impl Stage {
        fn new() -> Result<Self> {
            Ok(Self {
                bus: Registered::new(this_module::<LocalModule>())?,
                calls: Arc::new(
                    Calls {
                        probed: Atomic::new(0),
                        removed: Atomic::new(0),
                    },
                    GFP_KERNEL,
                )?,
            })
        }

        fn device(&self, name: &CStr, number: u32) -> Result<DeviceRegistration<Test>> {
            DeviceRegistration::new(&self.bus, name, Ok::<u32, Error>(number))
        }

        fn driver(&self, number: u32) -> Result<DriverRegistration<Test>> {
            let module = this_module::<LocalModule>();
            DriverRegistration::new(&self.bus, c"test", module, (number, self.calls.clone()))
        }

        fn counts(&self) -> (u32, u32) {
            (
                self.calls.probed.load(Relaxed),
                self.calls.removed.load(Relaxed),
            )
        }
    }

    #[test]
    fn a_driver_is_bound_to_what_it_matches() -> Result {
        let stage = Stage::new()?;
        let before = stage.device(c"one", 1)?;
        let _other = stage.device(c"two", 2)?;
        let driver = stage.driver(1)?;
        let _after = stage.device(c"three", 1)?;
        assert_eq!(stage.counts(), (2, 0));
        drop(before);
        assert_eq!(stage.counts(), (2, 1));
        drop(driver);
        assert_eq!(stage.counts(), (2, 2));
        Ok(())
    }

    #[test]
    fn a_device_that_fails_is_not_removed() -> Result {
        let stage = Stage::new()?;
        let device = stage.device(c"nine", 9)?;
        let driver = stage.driver(9)?;
        assert!(stage.counts().0 >= 1);
        drop((device, driver));
        assert_eq!(stage.counts().1, 0);
        Ok(())
    }

    #[test]
    fn two_drivers_have_two_names() -> Result {
        let stage = Stage::new()?;
        let _driver = stage.driver(1)?;
        assert_eq!(stage.driver(1).err(), Some(EBUSY));
        Ok(())
    }

    #[test]
    fn a_device_outlives_its_registration_while_it_is_used() -> Result {
        let stage = Stage::new()?;
        let registered = stage.device(c"one", 1)?;
        let device = registered.device().clone();
        drop(registered);
        assert_eq!(*device.data(), 1);
        assert_eq!(device.as_ref().name(), c"one");
        Ok(())
    }
}
