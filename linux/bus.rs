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
mod registered;

pub use self::{
    device::{
        Attribute,
        Bus,
        Device,
        Uevent, //
    },
    registered::{
        DeviceRegistration,
        DriverRegistration,
        Registered, //
    },
};

#[kernel::prelude::kunit_tests(oxen_bus)]
mod tests {
    use super::*;
    use crate::{
        module::this_module,
        Own, //
    };
    use kernel::{
        prelude::*,
        sync::atomic::{
            Atomic,
            Relaxed, //
        },
        sync::Arc, //
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
                bus: Registered::new(this_module::<Own>())?,
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
            let module = this_module::<Own>();
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
