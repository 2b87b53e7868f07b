// SPDX-License-Identifier: GPL-2.0

//! Which devices there are: the folder `device` of the xenstore, brought to the bus.
//!
//! Every change of the folder asks for one scan; however many changes there are, one scan that begins after the last of
//! them sees them all.

use core::fmt;

use abi::{
    connection::{
        self,
        Backoff,
        State, //
    },
    types::DomainId,
    xenstore::path::{
        self,
        DevicePath, //
    },
};
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
    },
};
use linux::{
    bus::Registered,
    fmt::Shown,
    new_delayed_call, //
    workqueue::{
        delayed::DelayedCall,
        OwnedQueue, //
    },
};

use super::{
    device::Device,
    gate::Gate,
    node::{
        End,
        Found,
        Oxen, //
    },
    slot::{
        Queues,
        Slot, //
    },
    task::{
        Body,
        Task, //
    },
};
use crate::store::{
    keys::Keys,
    text,
    watch::WatchHandler,
    Store, //
};

/// Types of devices, at most.
const TYPES_MAX: usize = 64;

/// Devices, at most.
const DEVICES_MAX: usize = 1024;

/// Complaints that are remembered, so that they are made once.
const COMPLAINTS_MAX: usize = 64;

/// Finds devices.
#[pin_data]
pub(crate) struct Scan {
    task: Arc<Task>,
    queues: Queues,
    store: Store,
    bus: Arc<Registered<Oxen>>,
    #[pin]
    slots: Mutex<KVec<Arc<Slot>>>,
    #[pin]
    complaints: Mutex<KVec<CString>>,
    #[pin]
    backoff: Mutex<Backoff>,
    /// Scans once more after one that could not read everything.
    retry: Pin<KBox<DelayedCall<Scan>>>,
    stopping: Atomic<bool>,
    scans: Atomic<u32>,
}

impl Scan {
    pub(crate) fn new(store: Store, bus: Arc<Registered<Oxen>>) -> Result<Arc<Self>> {
        let queues = Queues {
            gate: Gate::new()?,
            bus: Arc::new(OwnedQueue::unbound(c"oxen_xenbus")?, GFP_KERNEL)?,
            life: Arc::new(OwnedQueue::reclaim(c"oxen_xenbus_life")?, GFP_KERNEL)?,
        };
        let this = Arc::pin_init(
            try_pin_init!(Self {
                task: Task::new(queues.bus.clone(), queues.gate.clone())?,
                queues,
                store,
                bus,
                slots <- new_mutex!(KVec::new()),
                complaints <- new_mutex!(KVec::new()),
                backoff <- new_mutex!(Backoff::new()),
                retry: new_delayed_call!("oxen_xenbus_scan", |scan: &Scan| {
                    scan.request();
                    None
                })?,
                stopping: Atomic::new(false),
                scans: Atomic::new(0),
            }),
            GFP_KERNEL,
        )?;
        // `stop` ends these circles.
        this.task.start(this.clone());
        this.retry.start(this.clone());
        Ok(this)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    pub(crate) fn scans(&self) -> u32 {
        self.scans.load(Relaxed)
    }

    /// Asks for a scan.
    pub(crate) fn request(&self) {
        self.task.kick();
    }

    /// Calls `with` for every device.
    pub(crate) fn for_each(&self, mut with: impl FnMut(&Arc<Slot>)) {
        self.slots.lock().iter().for_each(&mut with);
    }

    /// Takes all devices off the bus. The watch that asks for scans has ended.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.retry.stop();
        self.task.stop();
        // Afterwards no scan makes a device any more.
        self.queues.bus.flush();
        let mut slots = core::mem::take(&mut *self.slots.lock());
        for slot in slots.drain_all() {
            slot.unregister();
        }
        // No watch asks for work any more.
        self.queues.life.flush();
        self.queues.bus.flush();
    }

    /// Leaves all devices as they are, but nobody's callbacks run any more. Returns those that drivers have.
    pub(crate) fn part(&self) -> KVec<Device> {
        self.stopping.store(true, Relaxed);
        self.retry.stop();
        self.task.stop();
        self.for_each(|slot| slot.part());
        self.queues.life.flush();
        self.queues.bus.flush();
        let mut devices = KVec::new();
        self.for_each(|slot| {
            if let Some(device) = slot.device().filter(Device::is_bound) {
                // Without memory for the list the next load closes the connection.
                let _ = devices.push(device, GFP_KERNEL);
            }
        });
        devices
    }

    /// Returns what all work of the bus goes through.
    pub(crate) fn gate(&self) -> &Gate {
        &self.queues.gate
    }

    /// The domain was restored: all devices have to be found again. Nothing of the bus runs.
    pub(crate) fn resumed(&self) {
        self.for_each(|slot| slot.resumed());
        self.request();
    }

    /// Looks at every device. A device that cannot be read keeps no other from being found.
    fn scan(&self) -> Result {
        self.slots.lock().retain(|slot| !slot.is_gone());
        let names = self.names()?;
        let mut result = Ok(());
        for (kind, name) in &names {
            if self.is_stopping() {
                return Ok(());
            }
            let nodename = CString::try_from_fmt(fmt!("device/{}/{}", text(kind), text(name)))?;
            let looked = match self.find(&nodename) {
                Some(slot) => self.look_again(&slot),
                None => self.look(&nodename, kind, name),
            };
            if let Err(error) = looked {
                self.complain(&nodename, format_args!("cannot be used: {}", Code(error)));
                result = Err(error);
            }
        }
        self.for_each(|slot| {
            let known = names.iter().any(|(kind, name)| {
                DevicePath::parse(slot.nodename().to_bytes()).is_some_and(|path| {
                    path.kind == kind.to_bytes() && path.name == Some(name.to_bytes())
                })
            });
            if !known {
                slot.vanish();
            }
        });
        result
    }

    /// Lists the types and names of all devices.
    fn names(&self) -> Result<KVec<(CString, CString)>> {
        let mut names = KVec::new();
        let kinds = match self.store.directory("device") {
            Err(ENOENT) => return Ok(names),
            kinds => kinds?,
        };
        for kind in kinds.names().filter(usable).take(TYPES_MAX) {
            let kind = string(kind)?;
            let devices = match self.store.directory(format_args!("device/{}", text(&kind))) {
                Err(ENOENT) => continue,
                devices => devices?,
            };
            for name in devices.names().filter(usable) {
                if names.len() >= DEVICES_MAX {
                    self.complain(
                        c"device",
                        format_args!("has more than {DEVICES_MAX} devices; the rest is left alone"),
                    );
                    return Ok(names);
                }
                names.push((string(kind.to_bytes())?, string(name)?), GFP_KERNEL)?;
            }
        }
        Ok(names)
    }

    fn find(&self, nodename: &CStr) -> Option<Arc<Slot>> {
        self.slots
            .lock()
            .iter()
            .find(|slot| slot.nodename() == nodename)
            .cloned()
    }

    /// Brings a device that is not known to the bus, if it is whole.
    fn look(&self, nodename: &CStr, kind: &CStr, name: &CStr) -> Result {
        let Some(found) = self.read(nodename, kind, name)? else {
            return Ok(());
        };
        let nodename = string(nodename.to_bytes())?;
        let slot = Slot::new(&self.queues, self.task.clone(), nodename)?;
        self.slots.lock().push(slot.clone(), GFP_KERNEL)?;
        let result = slot.register(&self.bus, &self.store, found);
        if result.is_err() {
            slot.unregister();
            self.slots.lock().retain(|other| !Arc::ptr_eq(other, &slot));
        } else {
            self.forgive(slot.nodename());
        }
        result
    }

    /// Looks whether a known device is still the one that it was.
    fn look_again(&self, slot: &Slot) -> Result {
        let Some(device) = slot.device() else {
            return Ok(());
        };
        let node = device.node();
        // The lock keeps our own writes of the state away from the comparison.
        let mut own = node.own.lock();
        let Some(found) = self.read(&node.nodename, &node.kind, &node.name)? else {
            return Ok(());
        };
        if node.signal.is_lost() {
            drop(own);
            return device.found_again(found.end);
        }
        let end = node.end.lock();
        let replaced = connection::replaced(
            end.as_otherend(),
            found.end.as_otherend(),
            &mut own,
            found.state,
        );
        drop(end);
        drop(own);
        if let Some(why) = replaced {
            dev_info!(
                device.as_ref(),
                "the toolstack has {}; the device is replaced\n",
                Shown(&why)
            );
            slot.vanish();
        }
        Ok(())
    }

    /// Reads what the xenstore says about a device; `None` when it is not whole, or not usable.
    fn read(&self, nodename: &CStr, kind: &CStr, name: &CStr) -> Result<Option<Found>> {
        let keys = Keys::new(&self.store, nodename);
        let (backend, id) = match (keys.read("backend"), keys.read("backend-id")) {
            // The toolstack is still writing, or removing.
            (Err(ENOENT), _) | (_, Err(ENOENT)) => return Ok(None),
            (backend, id) => (backend?, id?),
        };
        let id = match id.number::<u64>() {
            Ok(id) => id,
            Err(error) => {
                self.complain(
                    nodename,
                    format_args!("is left alone, its backend-id is not usable: {error}"),
                );
                return Ok(None);
            }
        };
        let Some(backend_id) = DomainId::from_untrusted(id) else {
            self.complain(
                nodename,
                format_args!("is left alone, its backend-id {id} is no domain"),
            );
            return Ok(None);
        };
        let backend = backend.as_bytes();
        if !path::is_valid(backend) || !backend.starts_with(b"/") {
            self.complain(
                nodename,
                format_args!("is left alone, its backend is no path"),
            );
            return Ok(None);
        }
        let state = match keys.read("state") {
            Err(ENOENT) => State::Unknown,
            Err(error) => return Err(error),
            Ok(value) => match State::parse(value.as_bytes()) {
                Ok(state) => state,
                Err(error) => {
                    self.complain(
                        nodename,
                        format_args!("is left alone, its state is not usable: {error}"),
                    );
                    return Ok(None);
                }
            },
        };
        Ok(Some(Found {
            nodename: string(nodename.to_bytes())?,
            kind: string(kind.to_bytes())?,
            name: string(name.to_bytes())?,
            end: End {
                path: Arc::new(string(backend)?, GFP_KERNEL)?,
                id: backend_id,
            },
            state,
        }))
    }

    /// Says what is wrong with a device, once.
    fn complain(&self, nodename: &CStr, what: fmt::Arguments<'_>) {
        let Ok(complaint) = CString::try_from_fmt(fmt!("{} {}", text(nodename), what)) else {
            return;
        };
        let mut complaints = self.complaints.lock();
        if complaints.len() >= COMPLAINTS_MAX || complaints.iter().any(|old| **old == *complaint) {
            return;
        }
        pr_warn!("{}\n", text(&complaint));
        let _ = complaints.push(complaint, GFP_KERNEL);
    }

    /// Forgets what was wrong with a device.
    fn forgive(&self, nodename: &CStr) {
        self.complaints
            .lock()
            .retain(|old| !old.to_bytes().starts_with(nodename.to_bytes()));
    }
}

impl Body for Scan {
    fn run(&self) {
        self.scans.add(1u32, Relaxed);
        match self.scan() {
            Ok(()) => self.backoff.lock().succeeded(),
            Err(error) => {
                self.complain(
                    c"device",
                    format_args!("could not be read: {}", Code(error)),
                );
                let pause = self.backoff.lock().pause();
                self.retry.schedule(pause.try_into().unwrap_or(u32::MAX));
            }
        }
    }
}

/// The watch on the folder of all devices.
pub(crate) struct Folder(pub(crate) Arc<Scan>);

impl WatchHandler for Folder {
    fn changed(&self, path: &[u8]) {
        let matters = match DevicePath::parse(path) {
            None => path == b"device",
            // Of a device's keys only these say which device it is; the rest is the driver's business.
            Some(path) => matches!(path.key, None | Some(b"backend" | b"backend-id")),
        };
        if matters {
            self.0.request();
        }
    }
}

fn usable(name: &&[u8]) -> bool {
    path::is_device_name(name)
}

fn string(bytes: &[u8]) -> Result<CString> {
    let text = core::str::from_utf8(bytes).map_err(|_| EINVAL)?;
    CString::try_from_fmt(fmt!("{text}"))
}

/// Shows an error code.
struct Code(Error);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
