// SPDX-License-Identifier: GPL-2.0

//! A disk as the block layer knows it, which outlives its connections.
//!
//! Showing it to the world reads its partition table, which waits for the backend. That is done in a call of its own, so
//! that the connection can be replaced and the device be removed meanwhile.

use crate::{
    disk::Vdisk,
    shape,
    transfer::Blk, //
};
use abi::block::{
    features::Agreed,
    geometry::Geometry,
    ring_slots,
    vbd, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};
use linux::{
    block::{
        Disk,
        Limits,
        Name, //
    },
    cpu,
    fmt::Shown,
    new_delayed_call,
    workqueue::delayed::DelayedCall, //
};
use xenbus::Device;

/// The disk, once a backend has said what it is.
#[pin_data]
pub(crate) struct Gendisk {
    device: Device,
    /// Locked for moments only.
    #[pin]
    made: Mutex<Option<Made>>,
    adder: Pin<KBox<DelayedCall<Gendisk>>>,
    resizer: Pin<KBox<DelayedCall<Gendisk>>>,
}

struct Made {
    disk: Arc<Disk<Blk>>,
    sector_size: u32,
    sectors: u64,
    /// A new size is going to be shown.
    pending: bool,
    /// When one was shown last.
    shown: Instant<Monotonic>,
}

/// Pause between two sizes that are shown: each costs an event for all of user space.
const RESIZE_MS: i64 = 1000;

impl Gendisk {
    /// Makes a place for the disk of `device`. [`stop`](Self::stop) has to be called before the value is let go.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(device: &Device) -> Result<Arc<Self>> {
        let this = Arc::pin_init(
            try_pin_init!(Self {
                device: device.clone(),
                made <- new_mutex!(None),
                adder: new_delayed_call!("oxen_blkfront_add", Self::add)?,
                resizer: new_delayed_call!("oxen_blkfront_resize", Self::show_size)?,
            }? Error),
            GFP_KERNEL,
        )?;
        this.adder.start(this.clone());
        this.resizer.start(this.clone());
        Ok(this)
    }

    /// No disk is added or changed any more.
    pub(crate) fn stop(&self) {
        self.adder.stop();
        self.resizer.stop();
    }

    /// Gives the disk the properties that its backend has told, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the backend came back with other sectors: requests that wait were made for the former.
    pub(crate) fn obey(&self, vdisk: &Arc<Vdisk>, agreed: &Agreed, geometry: &Geometry) -> Result {
        let limits = shape::limits(agreed, geometry);
        let mut place = self.made.lock();
        if place.is_none() {
            let disk = Arc::new(make(vdisk, agreed, geometry, &limits)?, GFP_KERNEL)?;
            vdisk.set_restart(disk.queue().ok_or(ENXIO)?);
            vdisk.shape().begin(disk.clone(), limits);
            *place = Some(Made {
                disk,
                sector_size: geometry.sector_size(),
                sectors: 0,
                pending: false,
                shown: Instant::now(),
            });
        }
        let made = (*place).as_mut().ok_or(ENXIO)?;
        if made.sector_size != geometry.sector_size() {
            dev_err!(
                self.device.as_ref(),
                "the backend came back with another sector size\n"
            );
            return Err(EINVAL);
        }
        made.sectors = geometry.sectors();
        let disk = made.disk.clone();
        drop(place);
        disk.set_read_only(geometry.read_only());
        disk.set_capacity(geometry.sectors());
        vdisk.shape().obey(limits);
        Ok(())
    }

    /// The disk may have another size.
    pub(crate) fn resize(&self, sectors: u64) {
        let mut place = self.made.lock();
        let Some(made) = (*place).as_mut().filter(|made| made.sectors != sectors) else {
            return;
        };
        made.sectors = sectors;
        if !core::mem::replace(&mut made.pending, true) {
            let left = RESIZE_MS.saturating_sub(made.shown.elapsed().as_millis());
            self.resizer.schedule(left.try_into().unwrap_or(0));
        }
    }

    fn show_size(&self) -> Option<u32> {
        let mut place = self.made.lock();
        let made = (*place).as_mut()?;
        made.pending = false;
        made.shown = Instant::now();
        let (disk, sectors) = (made.disk.clone(), made.sectors);
        drop(place);
        disk.set_capacity(sectors);
        None
    }

    /// The CPUs whose requests go to hardware queue `queue`.
    pub(crate) fn cpus_of(&self, queue: u32) -> impl Iterator<Item = u32> {
        let disk = self.get();
        let queue_of = move |cpu| disk.as_ref().and_then(|disk| disk.queue_of(cpu));
        cpu::possible().filter(move |cpu| queue_of(*cpu) == Some(queue))
    }

    /// Has the disk shown to the world, if it is not yet.
    pub(crate) fn add_soon(&self) {
        self.adder.schedule(0);
    }

    fn get(&self) -> Option<Arc<Disk<Blk>>> {
        self.made.lock().as_ref().map(|made| made.disk.clone())
    }

    fn add(&self) -> Option<u32> {
        let disk = self.get()?;
        if disk.is_added() {
            return None;
        }
        match disk.add(Some(self.device.as_ref())) {
            // It was taken away meanwhile, when it was not there to be removed.
            Ok(()) if self.get().is_none() => disk.remove(),
            Ok(()) => {}
            Err(error) => self.replace(error),
        }
        None
    }

    /// Lets a disk go that could not be added: the driver core takes no device twice, so the next connection makes another.
    fn replace(&self, error: Error) {
        let made = self.made.lock().take();
        drop(made);
        self.device.broken(format_args!(
            "the disk could not be added and is made anew: {error:?}"
        ));
    }

    /// New requests fail.
    pub(crate) fn mark_dead(&self) {
        if let Some(disk) = self.get() {
            disk.mark_dead();
        }
    }

    /// Takes the disk from the world. Its requests are answered, or fail.
    pub(crate) fn remove(&self) {
        let made = self.made.lock().take();
        if let Some(made) = made {
            made.disk.remove();
        }
    }
}

fn make(
    vdisk: &Arc<Vdisk>,
    agreed: &Agreed,
    geometry: &Geometry,
    limits: &Limits,
) -> Result<Disk<Blk>> {
    let vbd = vdisk.vbd();
    Disk::new(
        vdisk.clone(),
        agreed.queues().into(),
        ring_slots(agreed.ring_pages()),
        limits,
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
