// SPDX-License-Identifier: GPL-2.0

//! Keys that the toolstack writes and a driver follows.

use abi::connection::{
    Attempts,
    Backoff, //
};
use kernel::{
    new_mutex,
    prelude::*,
    static_lock_class,
    sync::{
        Arc,
        LockClassKey,
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};
use linux::{
    error::ECONNRESET,
    workqueue::delayed::DelayedCall, //
};

use crate::store::{
    error::is_transient,
    watch::{
        Watch,
        WatchHandler, //
    },
    Store,
};

/// What follows keys.
pub trait Follow: Send + Sync + 'static {
    /// The keys. Each is watched with all below it.
    const KEYS: &'static [&'static str];

    /// Looks at the keys and does what they say. May sleep, and is never called twice at once.
    ///
    /// Returns after how many milliseconds to look again although nothing changes.
    ///
    /// # Errors
    ///
    /// Those of the store. A transient one has this called again after a pause; any other is told to
    /// [`failed`](Self::failed).
    fn look(&self, log: &Complaints) -> Result<Option<u32>>;

    /// Tells the log that the keys cannot be read.
    fn failed(error: Error);
}

/// How often the log is told of what others do wrong, five times within a minute, and how soon to look again.
#[pin_data]
pub struct Complaints {
    #[pin]
    made: Mutex<Attempts>,
    #[pin]
    backoff: Mutex<Backoff>,
    born: Instant<Monotonic>,
}

impl Complaints {
    /// Not part of the generic code: a lock that is made there has a class with another name in each driver.
    #[inline(never)]
    fn new() -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                made <- new_mutex!(Attempts::new()),
                backoff <- new_mutex!(Backoff::new()),
                born: Instant::now(),
            }),
            GFP_KERNEL,
        )
    }

    /// Tells whether the log has room for one more, and counts it.
    pub fn another(&self) -> bool {
        let now = self.born.elapsed().as_millis().try_into().unwrap_or(0);
        self.made.lock().another(now)
    }
}

/// A watch must not wait, so it only has the look made later.
#[pin_data]
struct Follower<F: Follow> {
    #[pin]
    follow: F,
    look: Pin<KBox<DelayedCall<Self>>>,
    log: Pin<KBox<Complaints>>,
}

/// The lock class of a look, in one place as that of [`Complaints`].
#[inline(never)]
fn look_class() -> (&'static CStr, Pin<&'static LockClassKey>) {
    (c"oxen_xenbus_follow", static_lock_class!())
}

impl<F: Follow> Follower<F> {
    fn look(&self) -> Option<u32> {
        match self.follow.look(&self.log) {
            Ok(again) => {
                self.log.backoff.lock().succeeded();
                again
            }
            // The watch is set again after this, and calls.
            Err(ECONNRESET) => None,
            Err(error) if is_transient(error) => self.log.backoff.lock().pause().try_into().ok(),
            Err(error) => {
                if self.log.another() {
                    F::failed(error);
                }
                None
            }
        }
    }
}

impl<F: Follow> WatchHandler for Follower<F> {
    fn changed(&self, _path: &[u8]) {
        self.look.schedule(0);
    }
}

/// Keys are followed until this is dropped.
pub struct Following<F: Follow> {
    watches: KVec<Watch>,
    follower: Arc<Follower<F>>,
}

impl<F: Follow> Following<F> {
    /// Begins with what the keys say now.
    ///
    /// # Errors
    ///
    /// As [`Store::watch`], and `ENOMEM`.
    pub fn new(store: &Store, follow: impl PinInit<F>) -> Result<Self> {
        let (name, class) = look_class();
        let look = DelayedCall::new(Follower::look, name, class)?;
        let follower = Arc::pin_init(
            try_pin_init!(Follower {
                follow <- follow,
                look,
                log: Complaints::new()?,
            }),
            GFP_KERNEL,
        )?;
        follower.look.start(follower.clone());
        // From here on dropping the value undoes it all.
        let mut this = Self {
            watches: KVec::with_capacity(F::KEYS.len(), GFP_KERNEL)?,
            follower: follower.clone(),
        };
        for key in F::KEYS {
            let watch = store.watch(key, follower.clone())?;
            this.watches.push(watch, GFP_KERNEL)?;
        }
        Ok(this)
    }
}

impl<F: Follow> Drop for Following<F> {
    fn drop(&mut self) {
        self.watches.clear();
        self.follower.look.stop();
    }
}
