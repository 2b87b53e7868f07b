// SPDX-License-Identifier: GPL-2.0

//! The life of a block device: from the backend's offer to a disk, through lost connections, to its end.
//!
//! The bus calls one callback of a device at a time. What may wait for the backend's data, which is reading
//! the partition table, is done in a call of its own, so that the device can be removed meanwhile.

use crate::{
    claims::Claim,
    keys,
    link::Link,
    queue::{
        Blk,
        Handler, //
    },
    shared::Shared,
    show::Shown, //
};
use abi::{
    block::{
        features::{
            Agreed,
            Cache,
            Wanted, //
        },
        geometry::Geometry,
        ring_slots,
        vbd::{
            self,
            Vbd, //
        },
    },
    connection::{
        Frontend as Connection,
        State,
        Step, //
    },
};
use evtchn::{
    Channel,
    Listener, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use linux::{
    attempts::Attempts,
    block::{
        Disk,
        Limits,
        Name, //
    },
    delayed::DelayedCall,
    new_delayed_call, //
};
use xen_core::{
    emulated_twin_attached,
    Twin, //
};
use xenbus::Device;

/// How long the backend has for the last requests of a disk that is detached. The toolstack waits for 10 s.
const GRACE_MS: u32 = 5000;

/// Most changes of the size of a disk that are told.
const MAX_RESIZES_TOLD: u32 = 64;

/// A block device.
#[pin_data]
pub(crate) struct Frontend {
    device: Device,
    number: u32,
    #[pin]
    inner: Mutex<Inner>,
    /// Locked while the disk is being added, which may wait for the backend.
    #[pin]
    disk: Mutex<Option<Disk<Blk>>>,
    adder: Pin<KBox<DelayedCall<Frontend>>>,
}

/// What only the callbacks of the bus use.
struct Inner {
    connection: Connection,
    shared: Option<Arc<Shared>>,
    /// What the current connection has, and its links until it is attached.
    agreed: Option<Agreed>,
    links: KVec<Link>,
    geometry: Option<Geometry>,
    attempts: Attempts,
    resizes: u32,
}

impl xenbus::Driver for Frontend {
    const NAME: &'static CStr = c"oxen-blkfront";
    const DEVICE_TYPES: &'static [&'static CStr] = &[c"vbd"];

    fn probe(device: &Device) -> Result<Arc<Self>> {
        let number = device.id()?;
        if let Err(error) = Vbd::parse(number) {
            dev_err!(device.as_ref(), "{}: {}\n", number, Shown(error));
            return Err(EINVAL);
        }
        if keys::is_cdrom(device) {
            dev_info!(
                device.as_ref(),
                "it is a CD-ROM drive, which the emulated one serves\n"
            );
            return Err(ENODEV);
        }
        if emulated_twin_attached(Twin::Disk) {
            dev_err!(
                device.as_ref(),
                "an emulated disk with the same data is in use: unload its driver, or load oxen_xen_core before it\n"
            );
            return Err(ENODEV);
        }
        let frontend = Arc::pin_init(
            try_pin_init!(Self {
                device: device.clone(),
                number,
                inner <- new_mutex!(Inner {
                    connection: Connection::new(),
                    shared: None,
                    agreed: None,
                    links: KVec::new(),
                    geometry: None,
                    attempts: Attempts::new(),
                    resizes: 0,
                }),
                disk <- new_mutex!(None),
                adder: new_delayed_call!("oxen_blkfront_add", Self::add_disk)?,
            }? Error),
            GFP_KERNEL,
        )?;
        // `remove` stops it, which ends this circle.
        frontend.adder.start(frontend.clone());
        Ok(frontend)
    }

    fn otherend_changed(self: &Arc<Self>, _device: &Device, state: State) {
        let mut inner = self.inner.lock();
        let breach = inner
            .shared
            .as_ref()
            .and_then(|shared| shared.take_breach());
        if let Some(breach) = breach {
            self.recover(&mut inner, breach);
            return;
        }
        // A restart asks again with the same state.
        for _ in 0..2 {
            match inner.connection.otherend(state) {
                Step::Wait => {}
                Step::Publish => self.attempt(&mut inner, Self::publish),
                Step::Attach => self.attempt(&mut inner, Self::attach),
                Step::Refresh => self.refresh(&mut inner),
                Step::Detach => self.detach(&mut inner, state == State::Closing),
                Step::Abandon => self.detach(&mut inner, false),
                Step::Restart => {
                    self.disconnect(&mut inner);
                    if self.device.switch_state(State::Initialising).is_ok() {
                        continue;
                    }
                }
            }
            return;
        }
    }

    fn remove(self: &Arc<Self>, _device: &Device) {
        let mut inner = self.inner.lock();
        let alive = self.device.otherend_state() == State::Connected;
        self.detach(&mut inner, alive);
        drop(inner);
        self.adder.stop();
    }
}

impl Frontend {
    /// Takes one step towards a connection; when that fails, the connection is given up.
    fn attempt(&self, inner: &mut Inner, step: fn(&Self, &mut Inner) -> Result) {
        let Err(error) = step(self, inner) else {
            return;
        };
        inner.connection.failed();
        self.device.fatal(
            error,
            format_args!("the connection to the backend could not be made"),
        );
        self.detach(inner, false);
    }

    /// Makes rings and event channels and tells the backend.
    fn publish(&self, inner: &mut Inner) -> Result {
        let agreed = Agreed::settle(&keys::offer(&self.device), &wanted());
        if inner.shared.is_none() && !inner.attempts.another() {
            return Err(ECONNREFUSED);
        }
        let shared = self.shared(inner, &agreed)?;
        let backend = self.device.otherend_id();
        let mut links = KVec::with_capacity(agreed.queues().into(), GFP_KERNEL)?;
        for index in 0..u32::from(agreed.queues()) {
            let channel = Channel::alloc_unbound(backend)?;
            let handler = Arc::new(Handler::new(shared.clone(), index), GFP_KERNEL)?;
            let listener = if agreed.queues() > 1 {
                Listener::new(channel, fmt!("{}-q{}", Shown(shared.vbd()), index), handler)?
            } else {
                Listener::new(channel, fmt!("{}", Shown(shared.vbd())), handler)?
            };
            // The lower bits are what a backend that looks at it at all expects.
            let handle = (self.number & 0xffff) as u16;
            let link = Link::new(backend, handle, &agreed, listener)?;
            links.push(link, GFP_KERNEL)?;
        }
        keys::publish(&self.device, &agreed, &links)?;
        inner.agreed = Some(agreed);
        inner.links = links;
        self.device.switch_state(State::Initialised)
    }

    /// The part of the disk that outlives its connections; made with the first one.
    fn shared(&self, inner: &mut Inner, agreed: &Agreed) -> Result<Arc<Shared>> {
        if let Some(shared) = &inner.shared {
            return Ok(shared.clone());
        }
        let vbd = Vbd::parse(self.number).map_err(|_| EINVAL)?;
        let claim = Claim::new(self.number, vbd).inspect_err(|_| {
            dev_err!(
                self.device.as_ref(),
                "{} or its minor numbers belong to another disk\n",
                Shown(vbd)
            );
        })?;
        let shared = Shared::new(
            claim,
            agreed.queues(),
            ring_slots(agreed.ring_pages()),
            wanted().segments,
            self.device.clone(),
        )?;
        inner.shared = Some(shared.clone());
        Ok(shared)
    }

    /// The backend is connected: lets requests flow, and makes the disk if there is none.
    fn attach(&self, inner: &mut Inner) -> Result {
        let (Some(shared), Some(agreed)) = (inner.shared.clone(), inner.agreed) else {
            return Err(EINVAL);
        };
        let agreed = agreed.connected(&keys::offer(&self.device));
        inner.agreed = Some(agreed);
        for link in &mut inner.links {
            link.set_cache(agreed.cache());
        }
        let geometry = Geometry::check(&keys::described(&self.device)).map_err(|error| {
            dev_err!(self.device.as_ref(), "{}\n", Shown(error));
            EINVAL
        })?;
        let mut disk = self.disk.lock();
        if let (Some(_), Some(old)) = (disk.as_ref(), &inner.geometry) {
            // Requests that wait were made for the old sectors.
            if old.sector_size() != geometry.sector_size() {
                dev_err!(
                    self.device.as_ref(),
                    "the backend came back with another sector size\n"
                );
                return Err(EINVAL);
            }
        }
        if disk.is_none() {
            let made = make_disk(&shared, &agreed, &geometry)?;
            let queue = made.queue().ok_or(ENXIO)?;
            shared.set_restart(queue);
            *disk = Some(made);
        }
        if let Some(disk) = disk.as_ref() {
            disk.set_read_only(geometry.read_only());
            disk.set_capacity(geometry.sectors());
        }
        drop(disk);
        for (queue, link) in shared.queues().iter().zip(inner.links.drain_all()) {
            queue.connect(link).map_err(|_| EBUSY)?;
        }
        inner.geometry = Some(geometry);
        self.device.switch_state(State::Connected)?;
        shared.counters().connections.count();
        shared.start_queues();
        self.adder.schedule(0);
        Ok(())
    }

    /// Shows the disk to the world, once.
    fn add_disk(&self) -> Option<u32> {
        let mut guard = self.disk.lock();
        let disk = (*guard).as_mut()?;
        if disk.is_added() {
            return None;
        }
        if let Err(error) = disk.add(self.device.as_ref()) {
            dev_err!(
                self.device.as_ref(),
                "the disk could not be added: {:?}\n",
                error
            );
        }
        None
    }

    /// The backend announces itself again: the disk may have another size.
    fn refresh(&self, inner: &mut Inner) {
        let Ok(geometry) = Geometry::check(&keys::described(&self.device)) else {
            return;
        };
        let Some(old) = inner.geometry else {
            return;
        };
        if old.sectors() == geometry.sectors() {
            return;
        }
        if let Some(disk) = self.disk.lock().as_ref() {
            disk.set_capacity(geometry.sectors());
        }
        inner.geometry = Some(geometry);
        inner.resizes = inner.resizes.saturating_add(1);
        if inner.resizes <= MAX_RESIZES_TOLD {
            dev_info!(
                self.device.as_ref(),
                "the disk has {} sectors now\n",
                geometry.sectors()
            );
        }
    }

    /// A ring is broken: leaves the backend and comes back, or gives the disk up when that is of no use.
    fn recover(&self, inner: &mut Inner, breach: crate::queue::Breach) {
        let again = inner.attempts.another();
        dev_err!(
            self.device.as_ref(),
            "{}; {}\n",
            Shown(breach),
            if again {
                "connecting anew"
            } else {
                "too often to connect again, so the disk is given up"
            }
        );
        inner.connection.failed();
        if !again {
            self.detach(inner, false);
            return;
        }
        // The backend lets go of our pages first, so that requests can be offered again.
        self.device.close();
        self.disconnect(inner);
        inner.connection.restarted();
        if let Err(error) = self.device.switch_state(State::Initialising) {
            dev_err!(
                self.device.as_ref(),
                "the state could not be written: {:?}\n",
                error
            );
        }
        self.device.reevaluate();
    }

    /// Drops all that belongs to the connection; requests wait for the next one.
    fn disconnect(&self, inner: &mut Inner) {
        inner.links.clear();
        inner.agreed = None;
        if let Some(shared) = &inner.shared {
            shared.disconnect();
        }
    }

    /// Ends the disk and the connection. If the backend is `alive`, what is dirty is written first.
    fn detach(&self, inner: &mut Inner, alive: bool) {
        let shared = inner.shared.take();
        if let Some(shared) = &shared {
            if alive {
                shared.set_deadline(GRACE_MS);
            } else {
                shared.fail_all();
            }
        }
        // Whoever is adding the disk ends soon: its requests are answered, or fail.
        let mut disk = self.disk.lock().take();
        if let Some(disk) = &mut disk {
            if !alive && disk.is_added() {
                disk.mark_dead();
            }
            disk.remove();
        }
        // No request is left. The backend lets go of the rings before they are taken down.
        self.device.close();
        inner.links.clear();
        inner.agreed = None;
        inner.geometry = None;
        if let Some(shared) = &shared {
            shared.fail_all();
            shared.close();
        }
        drop(disk);
        inner.connection.closed();
    }
}

/// What we want of a backend.
fn wanted() -> Wanted {
    let segments = crate::module_parameters::max_indirect_segments.value();
    let order = crate::module_parameters::max_ring_page_order.value();
    Wanted {
        segments: segments.clamp(
            abi::block::DIRECT_SEGMENTS,
            abi::block::features::MAX_SEGMENTS,
        ),
        ring_order: order.min(abi::block::features::MAX_RING_ORDER),
        queues: 1,
    }
}

fn make_disk(shared: &Arc<Shared>, agreed: &Agreed, geometry: &Geometry) -> Result<Disk<Blk>> {
    let limits = Limits {
        logical_block_size: geometry.sector_size(),
        physical_block_size: geometry.physical_sector_size(),
        max_segments: agreed.segments(),
        // The block layer makes a write durable by a flush after it: no backend can do that by itself.
        write_cache: agreed.cache() != Cache::WriteThrough,
        ..Limits::default()
    };
    let vbd = shared.vbd();
    Disk::new(
        shared.clone(),
        agreed.queues().into(),
        ring_slots(agreed.ring_pages()),
        &limits,
        Name {
            name: fmt!("{}", Shown(vbd)),
            major: vbd::MAJOR,
            first_minor: vbd.first_minor(),
            minors: vbd.minors(),
            partitions: !vbd.is_partition(),
            removable: geometry.removable(),
        },
    )
}
