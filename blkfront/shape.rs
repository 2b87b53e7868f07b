// SPDX-License-Identifier: GPL-2.0

//! What the block layer takes a disk for: the limits of its queue, kept as the backend says.
//!
//! They change between requests only. That is waited for in a call of its own: requests in hand may need the very
//! connection that brings the new limits.

use crate::transfer::Blk;
use abi::block::{
    features::{
        Agreed,
        Cache, //
    },
    geometry::Geometry, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
};
use linux::{
    block::{
        Disk,
        Limits, //
    },
    new_delayed_call,
    workqueue::delayed::DelayedCall, //
};

/// What a backend can refuse although it has offered it.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Refused {
    Flush = 1 << 0,
    Discard = 1 << 1,
}

/// The limits of one disk.
#[pin_data]
pub(crate) struct Shape {
    /// Locked for moments only.
    #[pin]
    inner: Mutex<Inner>,
    /// What this backend has refused, and what any has: bits of [`Refused`].
    refused: Atomic<u32>,
    told: Atomic<u32>,
    updater: Pin<KBox<DelayedCall<Shape>>>,
}

struct Inner {
    disk: Option<Arc<Disk<Blk>>>,
    /// As the backend has it, and as the block layer does.
    offered: Limits,
    current: Limits,
}

impl Shape {
    /// A place for limits. [`stop`](Self::stop) has to be called before the value is let go.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let this = Arc::pin_init(
            try_pin_init!(Self {
                inner <- new_mutex!(Inner {
                    disk: None,
                    offered: Limits::default(),
                    current: Limits::default(),
                }),
                refused: Atomic::new(0),
                told: Atomic::new(0),
                updater: new_delayed_call!("oxen_blkfront_limits", Self::update)?,
            }? Error),
            GFP_KERNEL,
        )?;
        this.updater.start(this.clone());
        Ok(this)
    }

    /// From now on the limits are those of `disk`, which was made with `limits`.
    pub(crate) fn begin(&self, disk: Arc<Disk<Blk>>, limits: Limits) {
        let mut inner = self.inner.lock();
        inner.disk = Some(disk);
        inner.offered = limits;
        inner.current = limits;
    }

    /// A backend has connected, which has these limits and has refused nothing yet.
    pub(crate) fn obey(&self, limits: Limits) {
        self.inner.lock().offered = limits;
        self.refused.store(0, Relaxed);
        self.updater.schedule(0);
    }

    /// The backend refused what it had offered: it is not asked again. Returns whether that is news. From any context.
    pub(crate) fn refuse(&self, what: Refused) -> bool {
        let bit = what as u32;
        // On two queues at once both may call it news.
        self.refused
            .store(self.refused.load(Relaxed) | bit, Relaxed);
        let told = self.told.load(Relaxed);
        self.told.store(told | bit, Relaxed);
        self.updater.schedule(0);
        told & bit == 0
    }

    /// Lets the disk go. Waits for requests that a change waits for.
    pub(crate) fn stop(&self) {
        self.updater.stop();
        let disk = self.inner.lock().disk.take();
        drop(disk);
    }

    fn update(&self) -> Option<u32> {
        let (disk, limits) = {
            let inner = self.inner.lock();
            let limits = without(inner.offered, self.refused.load(Relaxed));
            if limits == inner.current {
                return None;
            }
            (inner.disk.clone()?, limits)
        };
        if let Err(error) = disk.set_limits(&limits) {
            pr_err!("a disk keeps its former limits: {:?}\n", error);
        }
        self.inner.lock().current = limits;
        // They may have changed again.
        Some(0)
    }
}

fn without(mut limits: Limits, refused: u32) -> Limits {
    if refused & Refused::Flush as u32 != 0 {
        limits.write_cache = false;
    }
    if refused & Refused::Discard as u32 != 0 {
        limits.max_discard_sectors = 0;
        limits.max_secure_erase_sectors = 0;
    }
    limits
}

/// What requests of such a disk may look like.
///
/// No backend makes a single write durable: a barrier is one in name only with some. So there is no FUA, and the block
/// layer has a flush follow instead.
pub(crate) fn limits(agreed: &Agreed, geometry: &Geometry) -> Limits {
    let discard = agreed.discard();
    let most = |can: bool| if can { u32::MAX } else { 0 };
    Limits {
        logical_block_size: geometry.sector_size(),
        physical_block_size: geometry.physical_sector_size(),
        max_segments: agreed.segments(),
        write_cache: agreed.cache() != Cache::WriteThrough,
        max_discard_sectors: most(discard.is_some()),
        discard_granularity: discard.map_or(0, |discard| discard.granularity()),
        discard_alignment: discard.map_or(0, |discard| discard.alignment()),
        max_secure_erase_sectors: most(discard.is_some_and(|discard| discard.secure())),
        ..Limits::default()
    }
}

#[kunit_tests(oxen_blkfront_shape)]
mod tests {
    use super::*;
    use abi::block::{
        features::{
            Offer,
            Wanted, //
        },
        geometry::Described, //
    };

    #[test]
    fn limits_are_those_of_the_offer_less_what_was_refused() -> Result {
        let offer = Offer::read(|key| match key {
            "discard-granularity" => Some(8192),
            "discard-alignment" => Some(4096),
            "feature-flush-cache" | "feature-discard" | "discard-secure" => Some(1),
            _ => None,
        });
        let described = Described {
            sectors: Some(2048),
            sector_size: Some(4096),
            ..Described::default()
        };
        let agreed = Agreed::settle(&offer, &Wanted::default());
        let geometry = Geometry::check(&described).map_err(|_| EINVAL)?;
        let all = limits(&agreed, &geometry);
        assert!(all.write_cache && !all.fua);
        assert_eq!((all.max_segments, all.logical_block_size), (11, 4096));
        assert_eq!(
            (all.discard_granularity, all.discard_alignment),
            (8192, 4096)
        );
        assert_eq!(all.max_secure_erase_sectors, u32::MAX);
        let flushless = without(all, Refused::Flush as u32);
        assert!(!flushless.write_cache && flushless.max_discard_sectors == u32::MAX);
        let less = without(all, Refused::Flush as u32 | Refused::Discard as u32);
        assert_eq!(
            (less.max_discard_sectors, less.max_secure_erase_sectors),
            (0, 0)
        );
        Ok(())
    }

    #[test]
    fn a_refusal_is_news_once() -> Result {
        let shape = Shape::new()?;
        assert!(shape.refuse(Refused::Discard));
        assert!(!shape.refuse(Refused::Discard));
        assert!(shape.refuse(Refused::Flush));
        // Another backend may offer it again, and refuse it again.
        shape.obey(Limits::default());
        assert!(!shape.refuse(Refused::Flush));
        shape.stop();
        Ok(())
    }
}
