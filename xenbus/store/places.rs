// SPDX-License-Identifier: GPL-2.0

//! Places in a quota that the kernel and the programs share.

use abi::xenstore::shares::{
    Shares,
    User, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    },
    time::Delta,
};
use linux::{
    new_wait_queue,
    sync::wait::{
        Sleep,
        WaitQueue,
        Woken, //
    },
};

/// The places of one quota.
#[pin_data]
pub(crate) struct Places {
    #[pin]
    shares: SpinLock<Shares>,
    #[pin]
    wait: WaitQueue,
}

/// A place that is taken. Dropping it gives it back.
pub(crate) struct Place {
    places: Arc<Places>,
    user: User,
}

impl Places {
    pub(crate) fn new(shares: Shares) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                shares <- new_spinlock!(shares),
                wait <- new_wait_queue!("xenbus::Places"),
            }),
            GFP_KERNEL,
        )
    }

    /// Takes a place if there is one for `user`.
    pub(crate) fn take(self: &Arc<Self>, user: User) -> Option<Place> {
        self.shares.lock().take(user).ok()?;
        Some(Place {
            places: self.clone(),
            user,
        })
    }

    /// Waits for a place.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when there is none in time, `EINTR` when the caller is being killed.
    pub(crate) fn wait(self: &Arc<Self>, user: User, limit: Delta) -> Result<Place> {
        let mut place = None;
        let woken = self.wait.wait(Sleep::Killable, Some(limit), || {
            place = self.take(user);
            place.is_some()
        });
        match woken {
            Woken::Signal => Err(EINTR),
            _ => place.ok_or(ENOSPC),
        }
    }

    /// Returns how many places are taken.
    pub(crate) fn taken(&self) -> usize {
        self.shares.lock().taken()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.shares.lock().give_back(self.user);
        self.places.wait.wake_all();
    }
}
