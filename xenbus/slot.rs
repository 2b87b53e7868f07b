// SPDX-License-Identifier: GPL-2.0

//! One device's place: its own ordered work, and what asks for it.
//!
//! Watches only set a bit here and queue the work. The work does whatever waits: it resets a connection that was left
//! behind, calls the driver, takes the device off the bus. So a silent backend keeps nobody waiting but its own device.

use abi::connection::{
    reset_step,
    Reset,
    State, //
};
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            ordering::{
                Full,
                Relaxed, //
            },
            Atomic, //
        },
        Arc,
        Mutex, //
    },
    time::Delta,
    workqueue::{
        Work,
        WorkItem, //
    },
};
use linux::{
    bus::DeviceRegistration,
    new_wait_queue,
    wait::WaitQueue, //
};

use crate::{
    bus::Oxen,
    device::Device,
    scan::Scan,
    store::text,
    watch::{
        Watch,
        WatchHandler, //
    },
};

/// How long each step of a reset waits for the backend.
const RESET_LIMIT: Delta = Delta::from_secs(10);

/// Steps of a reset, at most; the protocol needs five.
const RESET_STEPS: u32 = 12;

/// The place of one device.
#[pin_data]
pub(crate) struct Slot {
    #[pin]
    work: Work<Slot>,
    scan: Arc<Scan>,
    /// `device/vif/0`.
    nodename: CString,
    /// The backend's state may have changed.
    changed: Atomic<bool>,
    /// The device is gone, or another has its name.
    vanished: Atomic<bool>,
    /// The device is off the bus.
    gone: Atomic<bool>,
    /// Counts changes, for those who wait for one.
    changes: Atomic<u32>,
    #[pin]
    wait: WaitQueue,
    #[pin]
    registration: Mutex<Option<DeviceRegistration<Oxen>>>,
    #[pin]
    watch: Mutex<Option<Watch>>,
}

impl_has_work! {
    impl HasWork<Self> for Slot { self.work }
}

impl Slot {
    pub(crate) fn new(scan: Arc<Scan>, nodename: CString) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                work <- new_work!("xenbus::Slot"),
                scan,
                nodename,
                changed: Atomic::new(false),
                vanished: Atomic::new(false),
                gone: Atomic::new(false),
                changes: Atomic::new(0),
                wait <- new_wait_queue!("xenbus::Slot"),
                registration <- new_mutex!(None),
                watch <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    /// Puts the device on the bus.
    pub(crate) fn register(
        self: &Arc<Self>,
        watched: &CStr,
        make: impl FnOnce() -> Result<DeviceRegistration<Oxen>>,
    ) -> Result {
        let watch = self.scan.store().watch(
            format_args!("{}/state", text(watched)),
            Arc::new(Otherend(self.clone()), GFP_KERNEL)?,
        )?;
        *self.watch.lock() = Some(watch);
        // The lock keeps the work back until the registration is in its place.
        let mut place = self.registration.lock();
        match make() {
            Ok(registration) => {
                *place = Some(registration);
                // The first event may have come before there was a device.
                self.enqueue();
            }
            Err(error) => {
                drop(place);
                // The watch refers to this slot.
                *self.watch.lock() = None;
                return Err(error);
            }
        }
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

    /// A driver was bound: its connection has to be at its beginning, and it wants to know the backend's state.
    pub(crate) fn driver_bound(self: &Arc<Self>) {
        self.enqueue();
    }

    /// The backend's state may have changed.
    pub(crate) fn otherend_changed(self: &Arc<Self>) {
        self.changed.store(true, Relaxed);
        self.changes.add(1u32, Relaxed);
        self.wait.wake_all();
        self.enqueue();
    }

    /// The device is gone, or another has its name.
    pub(crate) fn vanish(self: &Arc<Self>) {
        self.vanished.store(true, Relaxed);
        self.wait.wake_all();
        self.enqueue();
    }

    /// The module goes away: whoever waits stops to.
    pub(crate) fn wake(&self) {
        self.wait.wake_all();
    }

    /// The device is off the bus.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// There is nothing to wait for any more.
    pub(crate) fn is_over(&self) -> bool {
        self.vanished.load(Relaxed) || self.scan.is_stopping()
    }

    pub(crate) fn changes(&self) -> u32 {
        self.changes.load(Relaxed)
    }

    pub(crate) fn wait(&self) -> &WaitQueue {
        &self.wait
    }

    fn enqueue(self: &Arc<Self>) {
        // It is fine when it is queued already: the bits are looked at when it runs.
        let _ = self.scan.queue().enqueue(self.clone());
    }

    /// Takes the device off the bus; its driver is removed first. Runs on the slot's work, or when that is over.
    pub(crate) fn unregister(&self) {
        drop(self.watch.lock().take());
        let registration = self.registration.lock().take();
        drop(registration);
        self.gone.store(true, Relaxed);
    }

    /// Brings a connection that firmware or an earlier driver left behind back to its beginning.
    fn reset(&self, device: &Device) {
        for step in 0..RESET_STEPS {
            let own = device.state();
            let Ok(other) = device.read_otherend_state() else {
                return;
            };
            if self.is_over() || !device.is_bound() {
                return;
            }
            let written = match reset_step(own, other) {
                Reset::Done => return,
                Reset::Write(state) => {
                    if step == 0 && own != State::Unknown {
                        dev_info!(
                            device.as_ref(),
                            "the connection was left in state {}, the backend is in {}; it is reset\n",
                            own.name(),
                            other.name()
                        );
                    }
                    device.switch_state(state)
                }
                Reset::Await => {
                    let moved = device.await_otherend(RESET_LIMIT, |state| {
                        reset_step(own, state) != Reset::Await
                    });
                    if moved || self.is_over() {
                        continue;
                    }
                    dev_warn!(
                        device.as_ref(),
                        "the backend stays in state {} and does not follow; the device waits for it\n",
                        device.otherend_state().name()
                    );
                    let _ = device.switch_state(State::Initialising);
                    return;
                }
            };
            if let Err(error) = written {
                dev_warn!(
                    device.as_ref(),
                    "the state could not be written: {:?}\n",
                    error
                );
                return;
            }
        }
    }
}

impl WorkItem for Slot {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if this.vanished.load(Relaxed) {
            if !this.is_gone() {
                this.unregister();
                // Whoever has the name now can come.
                this.scan.request();
            }
            return;
        }
        if this.scan.is_stopping() {
            return;
        }
        let Some(device) = this.device() else {
            return;
        };
        if device.take_fresh() {
            this.reset(&device);
            this.changed.store(true, Relaxed);
        }
        if this.changed.xchg(false, Full) {
            device.deliver_otherend();
        }
    }
}

/// The watch on the backend's state.
struct Otherend(Arc<Slot>);

impl WatchHandler for Otherend {
    fn changed(&self, _path: &[u8]) {
        self.0.otherend_changed();
    }
}
