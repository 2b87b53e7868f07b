// SPDX-License-Identifier: GPL-2.0

//! One device's place on the bus, from the moment that its node is found until it is gone.

use kernel::{
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc,
        Mutex, //
    }, //
};
use linux::{
    bus::{
        DeviceRegistration,
        Registered, //
    },
    workqueue::OwnedQueue, //
};

use super::{
    device::{
        watch_otherend,
        Device, //
    },
    gate::Gate,
    node::{
        Found,
        Node,
        Oxen, //
    },
    signal::Signal,
    task::{
        Body,
        Task, //
    },
};
use crate::store::{
    text,
    Store, //
};

/// Where the work of the bus is done.
pub(crate) struct Queues {
    /// What the work goes through.
    pub(crate) gate: Arc<Gate>,
    /// The scan, and the end of devices.
    pub(crate) bus: Arc<OwnedQueue>,
    /// The life of devices, which writeback may wait for.
    pub(crate) life: Arc<OwnedQueue>,
}

/// The place of one device.
#[pin_data]
pub(crate) struct Slot {
    /// `device/vif/0`.
    nodename: CString,
    signal: Arc<Signal>,
    /// Lets the driver work.
    task: Arc<Task>,
    /// Takes the device off the bus, on a queue of another kind: that waits for work of the network stack.
    exit: Arc<Task>,
    /// Finds the devices; asked when this one has made room for another of its name.
    scan: Arc<Task>,
    /// The device is off the bus.
    gone: Atomic<bool>,
    #[pin]
    registration: Mutex<Option<DeviceRegistration<Oxen>>>,
}

impl Slot {
    pub(crate) fn new(queues: &Queues, scan: Arc<Task>, nodename: CString) -> Result<Arc<Self>> {
        let task = Task::new(queues.life.clone(), queues.gate.clone())?;
        let this = Arc::pin_init(
            try_pin_init!(Self {
                nodename,
                signal: Signal::new(task.clone())?,
                task,
                exit: Task::new(queues.bus.clone(), queues.gate.clone())?,
                scan,
                gone: Atomic::new(false),
                registration <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )?;
        // `unregister` ends these circles.
        this.task.start(this.clone());
        this.exit.start(Arc::new(Exit(this.clone()), GFP_KERNEL)?);
        Ok(this)
    }

    /// Puts the device on the bus.
    pub(crate) fn register(
        &self,
        bus: &Arc<Registered<Oxen>>,
        store: &Store,
        found: Found,
    ) -> Result {
        let name = CString::try_from_fmt(fmt!("{}-{}", text(&found.kind), text(&found.name)))?;
        let watch = watch_otherend(store, &found.end, &self.signal)?;
        // The lock keeps the task back until the registration is in its place.
        let mut place = self.registration.lock();
        let node = Node::new(store.clone(), found, watch, self.signal.clone());
        *place = Some(DeviceRegistration::new(bus, &name, node)?);
        Ok(())
    }

    pub(crate) fn nodename(&self) -> &CStr {
        &self.nodename
    }

    /// Returns the device while it is on the bus.
    pub(crate) fn device(&self) -> Option<Device> {
        self.registration
            .lock()
            .as_ref()
            .map(|registration| Device::from(&**registration.device()))
    }

    /// The device is gone, or another has its name.
    pub(crate) fn vanish(&self) {
        self.signal.vanish();
    }

    /// The domain was restored: the driver finds the other end again. Without one, the device is found again.
    pub(crate) fn resumed(&self) {
        match self.device().filter(Device::is_bound) {
            Some(device) => device.resumed(),
            None => self.vanish(),
        }
    }

    /// Nothing is done for the device any more; what runs goes on to its end.
    pub(crate) fn part(&self) {
        self.task.stop();
        self.exit.stop();
    }

    /// The device is off the bus.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// Takes the device off the bus; its driver is removed first.
    pub(crate) fn unregister(&self) {
        self.part();
        // Nothing that its driver does is for this node any more.
        self.signal.vanish();
        if let Some(device) = self.device() {
            device.unwatch();
        }
        let registration = self.registration.lock().take();
        drop(registration);
        self.gone.store(true, Relaxed);
    }
}

impl Body for Slot {
    fn run(&self) {
        if self.signal.has_vanished() {
            self.exit.kick();
            return;
        }
        let Some(device) = self.device() else {
            return;
        };
        let mut bound = device.node().bound.lock();
        if let Some(instance) = &mut *bound {
            instance.run();
        }
    }
}

/// The end of a slot.
struct Exit(Arc<Slot>);

impl Body for Exit {
    fn run(&self) {
        self.0.unregister();
        // The device that has the name now can come.
        self.0.scan.kick();
    }
}
