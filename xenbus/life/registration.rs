// SPDX-License-Identifier: GPL-2.0

//! Drivers on the bus.

use core::marker::PhantomData;

use kernel::prelude::*;
use linux::bus::DriverRegistration;

use super::{
    driver::Driver,
    engine::Engine, //
};
use crate::{
    bus::{
        node::Oxen,
        oxen::DriverOps, //
    },
    instance::instance, //
};

/// A registered driver. Dropping it removes it from all devices.
pub struct Registration<T: Driver> {
    _driver: DriverRegistration<Oxen>,
    _type: PhantomData<T>,
}

impl<T: Driver> Registration<T> {
    /// Registers the driver.
    ///
    /// # Errors
    ///
    /// `ENODEV` when there is no bus, `EBUSY` when there is a driver of that name.
    pub fn new(module: &'static ThisModule) -> Result<Self> {
        let ops = DriverOps {
            types: T::DEVICE_TYPES,
            probe: Engine::<T>::bind,
        };
        Ok(Self {
            _driver: register(T::NAME, module, ops)?,
            _type: PhantomData,
        })
    }
}

/// Not generic, so that a driver's module depends on this one.
#[inline(never)]
fn register(
    name: &'static CStr,
    module: &'static ThisModule,
    ops: DriverOps,
) -> Result<DriverRegistration<Oxen>> {
    let bus = instance()?.bus.clone();
    DriverRegistration::new(&bus, name, module, ops)
}

/// Declares a module that is one driver.
#[macro_export]
macro_rules! module_xenbus_driver {
    (type: $type:ty, $($f:tt)*) => {
        /// The module.
        pub struct DriverModule {
            _driver: Option<$crate::Registration<$type>>,
        }

        impl ::kernel::Module for DriverModule {
            fn init(
                module: &'static ::kernel::ThisModule,
            ) -> ::kernel::error::Result<Self> {
                Ok(Self {
                    _driver: ::linux::module::or_idle($crate::Registration::new(module))?,
                })
            }
        }

        ::kernel::prelude::module! {
            type: DriverModule,
            $($f)*
        }
    };
}
