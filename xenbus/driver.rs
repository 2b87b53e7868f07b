// SPDX-License-Identifier: GPL-2.0

//! Drivers of the bus.

use core::marker::PhantomData;

use abi::connection::State;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::bus::DriverRegistration;

use crate::{
    bus::Oxen,
    device::Device, //
};

/// A frontend driver.
///
/// The callbacks of one device run one at a time, on that device's own work. They may wait, within bounds: nobody but
/// the device itself waits for them.
///
/// The states that [`otherend_changed`](Driver::otherend_changed) brings are whatever the backend writes, in whatever
/// order; [`abi::connection::Frontend`] tells for each what to do.
///
/// # Examples
///
/// ```ignore
/// struct Frontend { machine: Mutex<connection::Frontend> }
///
/// impl xenbus::Driver for Frontend {
///     const NAME: &'static CStr = c"oxen-example";
///     const DEVICE_TYPES: &'static [&'static CStr] = &[c"example"];
///
///     fn probe(dev: &xenbus::Device) -> Result<Arc<Self>> { … }
///     fn otherend_changed(self: &Arc<Self>, dev: &xenbus::Device, state: State) { … }
///     fn remove(self: &Arc<Self>, dev: &xenbus::Device) { … }
/// }
///
/// xenbus::module_xenbus_driver! {
///     type: Frontend,
///     name: "oxen_example",
///     authors: ["Oxen developers"],
///     description: "Xen example frontend",
///     license: "GPL",
///     alias: ["oxen:example"],
/// }
/// ```
pub trait Driver: Sized + Send + Sync + 'static {
    /// The driver's name under `/sys/bus/oxen/drivers`.
    const NAME: &'static CStr;

    /// The types of devices that it drives, as `vif`.
    const DEVICE_TYPES: &'static [&'static CStr];

    /// Sets a device up, without waiting for its backend: that comes with
    /// [`otherend_changed`](Driver::otherend_changed). Our state is [`State::Initialising`] by the time of that.
    ///
    /// # Errors
    ///
    /// Whatever keeps the driver from handling the device; it stays unbound then.
    fn probe(dev: &Device) -> Result<Arc<Self>>;

    /// The backend wrote its state, maybe the same as before. [`State::Unknown`] when its node is gone.
    fn otherend_changed(self: &Arc<Self>, dev: &Device, state: State);

    /// Gives everything of the device back; the backend may be in any state, or gone. [`Device::close`] waits for it
    /// within bounds. No callback comes after this one.
    fn remove(self: &Arc<Self>, dev: &Device);
}

/// A driver's hold on one device, its type forgotten.
pub(crate) trait Instance: Send + Sync {
    fn otherend_changed(&self, dev: &Device, state: State);
    fn remove(&self, dev: &Device);
}

/// The driver of a device.
pub(crate) struct Bound {
    pub(crate) instance: KBox<dyn Instance>,
    /// It has heard nothing yet: its connection is first brought to its beginning.
    pub(crate) fresh: bool,
}

struct Typed<T>(Arc<T>);

impl<T: Driver> Instance for Typed<T> {
    fn otherend_changed(&self, dev: &Device, state: State) {
        self.0.otherend_changed(dev, state);
    }

    fn remove(&self, dev: &Device) {
        self.0.remove(dev);
    }
}

fn probe<T: Driver>(dev: &Device) -> Result<KBox<dyn Instance>> {
    let instance = T::probe(dev)?;
    let boxed: KBox<dyn Instance> = KBox::new(Typed(instance), GFP_KERNEL)?;
    Ok(boxed)
}

/// What the bus keeps about a driver.
pub(crate) struct DriverOps {
    pub(crate) types: &'static [&'static CStr],
    pub(crate) probe: fn(&Device) -> Result<KBox<dyn Instance>>,
}

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
            probe: probe::<T>,
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
    let bus = crate::instance()?.bus().clone();
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
