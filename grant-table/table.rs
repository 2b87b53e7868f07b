// SPDX-License-Identifier: GPL-2.0

//! The table of this guest: its frames, its free references, and growth.

use crate::{
    deferred::{
        Deferred,
        Left, //
    },
    frame::{
        self,
        Frame, //
    },
    owner::Owner, //
};
use abi::{
    grant::{
        free::{
            self,
            FreeRefs, //
        },
        Slot,
        ENTRIES_PER_FRAME,
        RESERVED_ENTRIES, //
    },
    shared::RawMemory,
    types::GrantRef, //
};
use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use kernel::{
    new_mutex,
    prelude::*, //
    sync::{
        Arc,
        Mutex,
        SetOnce, //
    },
    time::msecs_to_jiffies,
    workqueue::{
        self,
        impl_has_delayed_work,
        new_delayed_work,
        DelayedWork,
        WorkItem, //
    },
};
use linux::{
    error::ENOBUFS,
    new_spinlock_irq,
    power::shutdown::Shutdown,
    sync::irq_lock::SpinLockIrq, //
};
use xen_core::resume::{
    Resume,
    Wake, //
};

kernel::sync::global_lock! {
    // SAFETY: Initialised in `open`, before which nothing can use it: the module's init calls it first, and a user of
    // this module is loaded later.
    unsafe(uninit) static TABLE: Mutex<Option<Arc<Table>>> = None;
}

/// More frames than this are not used, whatever Xen allows: half a million references.
const MAX_FRAMES: u32 = 1024;

/// Pause between two tries to end what is deferred, in milliseconds.
const RETRY_MS: u32 = 1000;

/// The grant table.
#[pin_data]
pub(crate) struct Table {
    /// Frames in order; the empty ones at the end are not mapped yet. Reading takes no lock.
    frames: KVVec<SetOnce<Frame>>,
    /// References that nobody holds.
    #[pin]
    free: SpinLockIrq<FreeRefs<KVVec<u32>>>,
    /// How many frames are mapped. Held while growing.
    #[pin]
    mapped: Mutex<u32>,
    /// References whose peer did not let go.
    #[pin]
    deferred: Deferred,
    /// Retries what is deferred.
    #[pin]
    work: DelayedWork<Table>,
    /// Whether the log was told that the table is full; the next success clears it.
    told_full: AtomicBool,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Table { self.work }
}

impl WorkItem for Table {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let left = this.deferred.retry(|gref| {
            let ended = this.slot(gref).is_some_and(|slot| slot.revoke().is_ok());
            if ended {
                this.release(core::iter::once(gref));
            }
            ended
        });
        match left {
            Left::Some => Self::retry_later(&this),
            // The module may go from here on; its exit waits for this function to return.
            Left::None(pin) => drop(pin),
        }
    }
}

impl Resume for Table {
    /// The frames are those of the old domain; in the new one they are empty, and every driver grants anew.
    fn resume(&self, wake: Wake) {
        if wake == Wake::Cancelled {
            return;
        }
        for (number, frame) in (0..).zip(self.frames.iter()) {
            if let Some(Err(error)) = frame.as_ref().map(|frame| frame.remap(number)) {
                pr_err!("grant table frame {number} is gone after the migration ({error:?})\n");
            }
        }
    }
}

/// One look at the table.
pub(crate) struct Counts {
    /// Frames mapped.
    pub(crate) frames: u32,
    /// Frames that Xen lets us have.
    pub(crate) max_frames: usize,
    /// References that drivers hold, granted or not.
    pub(crate) in_use: usize,
    /// Entries through which a peer may reach a page right now.
    pub(crate) active: usize,
    /// References that nobody holds.
    pub(crate) free: usize,
    /// References whose peer did not let go.
    pub(crate) deferred: usize,
    /// References lost for want of memory.
    pub(crate) lost: usize,
}

impl Shutdown for Table {
    /// The next kernel takes the frames for RAM, and all pages that were granted. Access ends, as far as peers let go.
    fn shutdown(&self) {
        let mut kept = 0usize;
        for (number, frame) in (0..).zip(self.frames.iter()) {
            let Some(frame) = frame.as_ref() else {
                continue;
            };
            kept = free::of_frame(number)
                .filter(|gref| frame.slot(gref.0).revoke().is_err())
                .count()
                .saturating_add(kept);
            if let Err(error) = frame.give_back() {
                pr_err!("Xen does not take grant table frame {number} back ({error:?}).\n");
            }
        }
        if kept > 0 {
            pr_warn!("{kept} pages are still in use by other domains, which the next kernel cannot know of: a domain that writes to them destroys its memory\n");
        }
    }
}

/// The table is there as long as this value lives: as long as the module.
pub(crate) struct Opened(());

impl Opened {
    /// Makes the table, with its first frame. Called once, from the module's init.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The module's init calls this once, before anything else.
        unsafe { TABLE.init() };
        let table = Table::new(frame::limit()?.min(MAX_FRAMES))?;
        Table::grow(&table, 1)?;
        *TABLE.lock() = Some(table);
        Ok(Self(()))
    }
}

impl Drop for Opened {
    /// No user is left, and nothing is deferred: either would have kept the module loaded.
    fn drop(&mut self) {
        let table = TABLE.lock().take();
        if let Some(table) = table {
            // The last thing that the work does is to let this module go; wait until it is out of our code.
            table.flush();
        }
    }
}

/// The table.
///
/// # Errors
///
/// `ENODEV` if there is none.
pub(crate) fn get() -> Result<Arc<Table>> {
    TABLE.lock().as_ref().cloned().ok_or(ENODEV)
}

impl Table {
    /// A table of up to `max` frames; it has none yet.
    pub(crate) fn new(max: u32) -> Result<Arc<Self>> {
        let mut frames = KVVec::with_capacity(max as usize, GFP_KERNEL)?;
        for _ in 0..max {
            frames
                .push_within_capacity(SetOnce::new())
                .map_err(|_| ENOMEM)?;
        }
        Arc::pin_init(
            try_pin_init!(Table {
                frames,
                free <- new_spinlock_irq!(FreeRefs::new(KVVec::new()), "oxen_grant_free"),
                mapped <- new_mutex!(0, "oxen_grant_mapped"),
                deferred <- Deferred::new(),
                work <- new_delayed_work!("oxen_grant_deferred"),
                told_full: AtomicBool::new(false),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Waits until what retries is out of our code.
    pub(crate) fn flush(&self) {
        linux::workqueue::work::flush(&self.work);
    }

    /// The entry of `gref`; `None` if its frame is not mapped.
    #[inline]
    pub(crate) fn slot(&self, gref: GrantRef) -> Option<Slot<&RawMemory>> {
        let frame = gref.0 / ENTRIES_PER_FRAME;
        Some(self.frames.get(frame as usize)?.as_ref()?.slot(gref.0))
    }

    /// Takes `count` references.
    ///
    /// # Errors
    ///
    /// `ENOBUFS` if Xen allows no more, `ENOMEM`. None is taken then.
    pub(crate) fn reserve(this: &Arc<Self>, count: usize) -> Result<KVVec<GrantRef>> {
        let mut taken = KVVec::with_capacity(count, GFP_KERNEL)?;
        // Somebody else may take what the growth brought; each round needs another frame, so this ends.
        while !this.take_into(&mut taken, count) {
            Self::grow(this, count)?;
        }
        this.told_full.store(false, Ordering::Relaxed);
        Ok(taken)
    }

    /// Takes a single reference if one is free. For any context.
    pub(crate) fn take_one(&self) -> Option<GrantRef> {
        self.free.lock().take()
    }

    /// Gives references back.
    pub(crate) fn release(&self, grefs: impl Iterator<Item = GrantRef>) {
        let mut free = self.free.lock();
        for gref in grefs {
            // There is room for every reference of the table, so this fails only for one that was given back twice.
            let _ = free.put(gref);
        }
    }

    /// Keeps `gref`, and `owner` with it, until the peer lets go. For any context.
    pub(crate) fn defer(this: &Arc<Self>, gref: GrantRef, owner: Owner) {
        this.deferred.add(gref, owner);
        Self::retry_later(this);
    }

    /// Has what is deferred retried after a pause, unless it will be anyway.
    fn retry_later(this: &Arc<Self>) {
        let _ = workqueue::system_power_efficient()
            .enqueue_delayed(this.clone(), msecs_to_jiffies(RETRY_MS));
    }

    /// Takes `count` references if so many are free.
    fn take_into(&self, taken: &mut KVVec<GrantRef>, count: usize) -> bool {
        let mut free = self.free.lock();
        if free.len() < count {
            return false;
        }
        for _ in 0..count {
            match free.take() {
                // `taken` has the capacity.
                Some(gref) => drop(taken.push_within_capacity(gref)),
                None => break,
            }
        }
        true
    }

    /// Maps frames until `count` references are free.
    pub(crate) fn grow(this: &Arc<Self>, count: usize) -> Result {
        let mut mapped = this.mapped.lock();
        loop {
            let free = this.free.lock().len();
            if free >= count {
                return Ok(());
            }
            let number = *mapped;
            let Some(place) = this.frames.get(number as usize) else {
                if !this.told_full.swap(true, Ordering::Relaxed) {
                    pr_err!(
                        "grant table full: {count} references wanted, {free} free in {number} frames, and Xen allows no more frames; raise max_grant_frames of this guest or attach fewer devices\n"
                    );
                }
                // Not ENOSPC: the disk is not full, and the xenstore says that of its quota.
                return Err(ENOBUFS);
            };
            let larger = Self::room(number)?;
            place.populate(Frame::map(number)?);
            Self::extend(this, &mut mapped, larger);
        }
    }

    /// Room for the references of frame `number` and those before it. Not contiguous: it can be megabytes.
    fn room(number: u32) -> Result<KVVec<u32>> {
        let room = (number as usize)
            .saturating_add(1)
            .saturating_mul(ENTRIES_PER_FRAME as usize);
        Ok(KVVec::from_elem(0, room, GFP_KERNEL)?)
    }

    /// Takes the next frame, which is in its place, into use.
    fn extend(this: &Arc<Self>, mapped: &mut u32, larger: KVVec<u32>) {
        let number = *mapped;
        let smaller = this.free.lock().grow(larger);
        drop(smaller);
        *mapped = number.saturating_add(1);
        Self::adopt(this, number);
    }

    /// Adds `frame`, which no Xen knows, for tests.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn add_plain(this: &Arc<Self>, frame: Frame) -> Result {
        let mut mapped = this.mapped.lock();
        let larger = Self::room(*mapped)?;
        this.frames
            .get(*mapped as usize)
            .ok_or(EINVAL)?
            .populate(frame);
        Self::extend(this, &mut mapped, larger);
        Ok(())
    }

    /// Frame `number`, for tests.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn frame(&self, number: usize) -> Option<&Frame> {
        self.frames.get(number)?.as_ref()
    }

    /// Takes the references of a new frame into use. An earlier kernel or firmware may have left some active: they end
    /// here, or, if their peer still uses them, when it lets go.
    fn adopt(this: &Arc<Self>, number: u32) {
        for gref in free::of_frame(number) {
            match this.slot(gref).map(|slot| slot.revoke()) {
                Some(Ok(())) => this.release(core::iter::once(gref)),
                _ => Self::defer(this, gref, Owner::NOTHING),
            }
        }
    }

    /// What debugfs shows.
    pub(crate) fn counts(&self) -> Counts {
        let mapped = *self.mapped.lock();
        let free = self.free.lock().len();
        let active = (0..mapped)
            .flat_map(free::of_frame)
            .filter(|gref| self.slot(*gref).is_some_and(|slot| slot.is_active()))
            .count();
        let entries = (mapped as usize)
            .saturating_mul(ENTRIES_PER_FRAME as usize)
            .saturating_sub(RESERVED_ENTRIES as usize);
        let (deferred, lost) = self.deferred.counts();
        Counts {
            frames: mapped,
            max_frames: self.frames.len(),
            in_use: entries
                .saturating_sub(free)
                .saturating_sub(deferred)
                .saturating_sub(lost),
            active,
            free,
            deferred,
            lost,
        }
    }
}
