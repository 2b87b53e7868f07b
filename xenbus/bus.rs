// SPDX-License-Identifier: GPL-2.0

//! The `oxen` bus: which driver is for which device, and what sysfs shows.

use abi::connection::State;
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

use crate::{
    device::{
        Device,
        Node, //
    },
    driver::{
        Bound,
        DriverOps, //
    },
    store::text, //
};

/// The bus.
pub(crate) struct Oxen;

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
            show: |device, out| write!(out, "{} {}", device.otherend_id, text(&device.otherend)),
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
        *device.bound.lock() = Some(Bound {
            instance,
            fresh: true,
        });
        device.slot.driver_bound();
        Ok(())
    }

    fn remove(device: &bus::Device<Self>, _driver: &DriverOps) {
        let device = Device::from(device);
        // The lock waits for a callback that runs, and keeps the next from beginning.
        let mut bound = device.node().bound.lock();
        let Some(Bound { instance, .. }) = bound.take() else {
            return;
        };
        instance.remove(&device);
        drop(instance);
        // A driver that leaves has closed its connection. If one has not, the backend learns it here.
        let open = !matches!(
            device.state(),
            State::Unknown | State::Initialising | State::Closed
        );
        if open && !device.node().slot.is_over() {
            let _ = device.switch_state(State::Closed);
        }
    }

    fn uevent(device: &bus::Device<Self>, event: &mut Uevent<'_>) -> Result {
        event.add(c"XENBUS_TYPE", &device.kind)?;
        event.add(c"XENBUS_PATH", &device.nodename)?;
        let alias = CString::try_from_fmt(fmt!("oxen:{}", text(&device.kind)))?;
        event.add(c"MODALIAS", &alias)
    }
}
