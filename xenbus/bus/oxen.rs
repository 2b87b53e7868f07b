// SPDX-License-Identifier: GPL-2.0

//! The `oxen` bus: which driver is for which device, and what sysfs shows.

use kernel::{
    prelude::*,
    str::CString, //
};
use linux::bus::{
    self,
    Attribute,
    Bus,
    Uevent, //
};

use super::{
    device::Device,
    node::{
        Instance,
        Node,
        Oxen, //
    }, //
};
use crate::store::text;

/// What the bus keeps about a driver.
pub(crate) struct DriverOps {
    pub(crate) types: &'static [&'static CStr],
    pub(crate) probe: fn(&Device) -> Result<KBox<dyn Instance>>,
}

impl Bus for Oxen {
    const NAME: &'static CStr = c"oxen";

    type Device = Node;
    type Driver = DriverOps;

    const ATTRIBUTES: &'static [Attribute<Self>] = &[
        Attribute {
            name: c"nodename",
            show: |device, out| out.write_str(text(&device.nodename)),
        },
        Attribute {
            name: c"devtype",
            show: |device, out| out.write_str(text(&device.kind)),
        },
        Attribute {
            name: c"modalias",
            show: |device, out| write!(out, "oxen:{}", text(&device.kind)),
        },
        Attribute {
            name: c"otherend",
            show: |device, out| {
                let end = device.end.lock();
                write!(out, "{} {}", end.id, text(&end.path))
            },
        },
        Attribute {
            name: c"state",
            show: |device, out| out.write_str(Device::from(device).state().name()),
        },
        Attribute {
            name: c"otherend_state",
            show: |device, out| out.write_str(Device::from(device).otherend_state().name()),
        },
    ];

    fn matches(device: &bus::Device<Self>, driver: &DriverOps) -> bool {
        driver.types.iter().any(|kind| **kind == *device.kind)
    }

    fn probe(device: &bus::Device<Self>, driver: &DriverOps) -> Result {
        let instance = (driver.probe)(&Device::from(device))?;
        *device.bound.lock() = Some(instance);
        // It wants to know the backend's state.
        device.signal.otherend_changed();
        Ok(())
    }

    fn remove(device: &bus::Device<Self>, _driver: &DriverOps) {
        // The lock waits for a run of the driver, and keeps the next from beginning.
        let instance = device.bound.lock().take();
        if let Some(mut instance) = instance {
            instance.remove();
        }
    }

    fn uevent(device: &bus::Device<Self>, event: &mut Uevent<'_>) -> Result {
        event.add(c"XENBUS_TYPE", &device.kind)?;
        event.add(c"XENBUS_PATH", &device.nodename)?;
        let alias = CString::try_from_fmt(fmt!("oxen:{}", text(&device.kind)))?;
        event.add(c"MODALIAS", &alias)
    }
}
