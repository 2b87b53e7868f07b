// SPDX-License-Identifier: GPL-2.0

//! Disks: what appears under `/dev` and in sysfs.

use super::{
    limits::Limits,
    request::Operations,
    tag_set::TagSet, //
};
use crate::{
    bindings,
    module::this_module, //
};
use core::{
    fmt::Write,
    marker::PhantomData,
    pin::Pin,
    ptr::NonNull, //
};
use kernel::{
    device,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::c_int,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    },
};

/// `GENHD_FL_*`
const REMOVABLE: i32 = 1 << 0;
const NO_PARTITIONS: i32 = 1 << 2;

/// Nobody sees the disk; it is being added; it was added; it was removed.
const NEW: u32 = 0;
const ADDING: u32 = 1;
const ADDED: u32 = 2;
const REMOVED: u32 = 3;

/// Name and numbers of a disk.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    /// The name under `/dev`, at most 31 bytes.
    pub name: kernel::fmt::Arguments<'a>,
    /// A major that the driver registered.
    pub major: u32,
    /// First minor number.
    pub first_minor: u32,
    /// Number of minors, for the disk and its partitions; further partitions get numbers elsewhere.
    pub minors: u32,
    /// Whether the disk may be partitioned.
    pub partitions: bool,
    /// Whether the medium can be removed.
    pub removable: bool,
}

/// A disk, with its queues and requests. Dropping it removes it and waits for its requests to end.
///
/// # Invariants
///
/// `disk` is a gendisk whose queue uses `tags`, and one reference to it is ours. `added` is [`ADDED`] if, and only if, it
/// was added and is not being removed.
pub struct Disk<T: Operations> {
    disk: NonNull<bindings::gendisk>,
    added: Atomic<u32>,
    /// Dropped after the disk is.
    tags: Pin<KBox<TagSet<T>>>,
}

// SAFETY: A gendisk belongs to no thread, and a tag set is `Send`.
unsafe impl<T: Operations> Send for Disk<T> {}
// SAFETY: The methods that take `&self` may be called from any thread at once.
unsafe impl<T: Operations> Sync for Disk<T> {}

/// `fops` of the disks of `T`.
struct Fops<T>(PhantomData<T>);

impl<T: Operations> Fops<T> {
    const TABLE: bindings::block_device_operations = bindings::block_device_operations {
        owner: this_module::<T::OwnerModule>().as_ptr().cast(),
        getgeo: Some(geometry),
        ..pin_init::zeroed()
    };
}

/// What old programs that speak of cylinders are told (`HDIO_GETGEO`): 255 heads of 63 sectors.
///
/// # Safety
///
/// Called by the block layer for a disk of ours, with room for the answer.
unsafe extern "C" fn geometry(
    disk: *mut bindings::gendisk,
    geometry: *mut bindings::hd_geometry,
) -> c_int {
    const HEADS: u8 = 255;
    const SECTORS: u8 = 63;
    const CYLINDER: u64 = HEADS as u64 * SECTORS as u64;
    // SAFETY: By the safety requirements; a disk has its part 0 as long as it lives.
    let all = unsafe { (*(*disk).part0).bd_nr_sectors };
    let cylinders = all / CYLINDER;
    // SAFETY: By the safety requirements.
    unsafe {
        (*geometry).heads = HEADS;
        (*geometry).sectors = SECTORS;
        (*geometry).cylinders = u16::try_from(cylinders).unwrap_or(u16::MAX);
    }
    0
}

impl<T: Operations> Disk<T> {
    /// Makes a disk that nobody sees yet, of capacity 0.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for limits that make no sense or a name that is too long.
    pub fn new(
        data: Arc<T::Data>,
        queues: u32,
        depth: u32,
        limits: &Limits,
        name: Name<'_>,
    ) -> Result<Self> {
        let tags = TagSet::<T>::new(data, queues, depth)?;
        let mut raw: bindings::queue_limits = pin_init::zeroed();
        limits.apply(&mut raw);
        let key = kernel::static_lock_class!().as_ptr().cast();
        // SAFETY: The tag set is allocated, and the lock class lives forever.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_mq_alloc_disk(tags.raw(), &mut raw, core::ptr::null_mut(), key)
        })?;
        // INVARIANT: made with this tag set, not added; the reference is the one that was just made.
        let this = Self {
            disk: NonNull::new(disk).ok_or(ENOMEM)?,
            added: Atomic::new(NEW),
            tags,
        };
        // SAFETY: Nobody else knows the disk yet.
        let disk = unsafe { &mut *disk };
        disk.fops = &Fops::<T>::TABLE;
        disk.major = name.major.try_into()?;
        disk.first_minor = name.first_minor.try_into()?;
        disk.minors = name.minors.try_into()?;
        if name.removable {
            disk.flags |= REMOVABLE;
        }
        if !name.partitions {
            disk.flags |= NO_PARTITIONS;
        }
        let mut to =
            kernel::str::NullTerminatedFormatter::new(&mut disk.disk_name).ok_or(EINVAL)?;
        to.write_fmt(name.name).map_err(|_| EINVAL)?;
        Ok(this)
    }

    /// Shows the disk to the world, below `parent` if it has one. Partitions are read before this returns.
    ///
    /// # Errors
    ///
    /// Whatever the block layer says, `EEXIST` or `EBUSY` for a name that is taken.
    pub fn add(&self, parent: Option<&device::Device>) -> Result {
        self.added.cmpxchg(NEW, ADDING, Full).map_err(|_| EBUSY)?;
        // CAST: The type is `repr(transparent)` over `struct device`, which our bindings have too.
        let parent = parent.map_or(core::ptr::null_mut(), |parent| {
            core::ptr::from_ref(parent).cast_mut().cast()
        });
        // SAFETY: Parent and disk are valid, and the disk was not added before.
        let result = to_result(unsafe {
            bindings::device_add_disk(parent, self.disk.as_ptr(), core::ptr::null_mut())
        });
        // INVARIANT: added just now, or not.
        let next = if result.is_ok() { ADDED } else { NEW };
        self.added.store(next, Relaxed);
        result
    }

    /// Whether [`add`](Self::add) was successful, and [`remove`](Self::remove) was not called.
    pub fn is_added(&self) -> bool {
        self.added.load(Relaxed) == ADDED
    }

    /// Which hardware queue takes the requests of `cpu`.
    pub fn queue_of(&self, cpu: u32) -> Option<u32> {
        self.tags.queue_of(cpu)
    }

    /// What the operations work on.
    pub fn data(&self) -> &Arc<T::Data> {
        self.tags.data()
    }

    /// Sets the size in sectors of 512 bytes and sends a uevent. Returns whether it changed.
    pub fn set_capacity(&self, sectors: u64) -> bool {
        // SAFETY: The disk is valid.
        unsafe { bindings::set_capacity_and_notify(self.disk.as_ptr(), sectors) }
    }

    /// Makes the disk read-only or writable.
    pub fn set_read_only(&self, read_only: bool) {
        // SAFETY: The disk is valid.
        unsafe { bindings::set_disk_ro(self.disk.as_ptr(), read_only) };
    }

    /// Changes the limits, between requests. Waits for those in flight.
    ///
    /// # Errors
    ///
    /// `EINVAL` for limits that make no sense.
    pub fn set_limits(&self, limits: &Limits) -> Result {
        // SAFETY: The disk is valid, and so is its queue.
        let queue = unsafe { (*self.disk.as_ptr()).queue };
        // SAFETY: As above. This takes a lock that the commit below releases.
        let mut raw = unsafe { bindings::queue_limits_start_update(queue) };
        limits.apply(&mut raw);
        // SAFETY: As above.
        to_result(unsafe { bindings::queue_limits_commit_update_frozen(queue, &mut raw) })
    }

    /// Declares the device gone: new requests fail, and those who have the disk open are told.
    pub fn mark_dead(&self) {
        // SAFETY: The disk is valid.
        unsafe { bindings::blk_mark_disk_dead(self.disk.as_ptr()) };
    }

    /// Removes the disk from the system, if it was added.
    ///
    /// What is dirty is written first, unless the disk is [marked dead](Self::mark_dead). Waits until every
    /// request has ended: the driver goes on ending them meanwhile. A program that has the disk open keeps it, but
    /// gets errors. A disk that is being added is removed when it is dropped.
    pub fn remove(&self) {
        // INVARIANT: one caller at most gets here.
        if self.added.cmpxchg(ADDED, REMOVED, Full).is_ok() {
            // SAFETY: The disk is valid and was added, once.
            unsafe { bindings::del_gendisk(self.disk.as_ptr()) };
        }
    }

    /// A handle for starting the queues; `None` when the disk is dead.
    pub fn queue(&self) -> Option<QueueRef> {
        // SAFETY: The disk is valid and has a queue.
        let queue = NonNull::new(unsafe { (*self.disk.as_ptr()).queue })?;
        // SAFETY: As above.
        let taken = unsafe { bindings::blk_get_queue(queue.as_ptr()) };
        // INVARIANT: a reference was just taken.
        taken.then(|| QueueRef { queue })
    }
}

impl<T: Operations> Drop for Disk<T> {
    fn drop(&mut self) {
        self.remove();
        // SAFETY: The reference is ours, and this is its last use.
        unsafe { bindings::put_disk(self.disk.as_ptr()) };
    }
}

/// A reference to the queues of a disk, which may be used from any context.
///
/// # Invariants
///
/// `queue` is a request queue, and one reference to it is ours.
pub struct QueueRef {
    queue: NonNull<bindings::request_queue>,
}

// SAFETY: Request queues belong to no thread.
unsafe impl Send for QueueRef {}
// SAFETY: Starting queues may happen from many threads at once.
unsafe impl Sync for QueueRef {}

impl QueueRef {
    /// Starts all queues that are [stopped](super::HwQueue::stop), in the background.
    ///
    /// On a removed disk it does nothing: no request is left to be offered.
    pub fn start_stopped(&self) {
        // SAFETY: The queue is valid as long as the reference; its hardware queues live as long as it.
        unsafe { bindings::blk_mq_start_stopped_hw_queues(self.queue.as_ptr(), true) };
    }
}

impl Drop for QueueRef {
    fn drop(&mut self) {
        // SAFETY: The reference is ours, and this is its last use.
        unsafe { bindings::blk_put_queue(self.queue.as_ptr()) };
    }
}
