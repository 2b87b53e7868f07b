// SPDX-License-Identifier: GPL-2.0

//! RAM that is given back to Xen and taken again.

use abi::{
    balloon::BATCH,
    types::Gfn, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full, //
    }, //
};
use linux::mm::away::{
    Away,
    Spare, //
};

use crate::hypercall::memory;

/// Whether there is a [`Balloon`].
static IS_THERE: Atomic<bool> = Atomic::new(false);

/// The memory that this guest has given back to Xen. There is one at a time.
///
/// What is away at the drop stays away, and belongs to the next one.
///
/// # Invariants
///
/// Nothing lies at the frames of `away`.
pub struct Balloon {
    away: Away,
    frames: KVec<Gfn>,
}

impl Balloon {
    /// Begins with what an earlier one could not take again.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is another, `ENODEV` without Xen, `ENOMEM`.
    pub fn new() -> Result<Self> {
        crate::require()?;
        let frames = KVec::with_capacity(BATCH, GFP_KERNEL)?;
        if IS_THERE.xchg(true, Full) {
            return Err(EBUSY);
        }
        // INVARIANT: So it was for the one that left them.
        Ok(Self {
            // SAFETY: There is no other balloon.
            away: unsafe { Away::find() },
            frames,
        })
    }

    /// How many pages are away.
    pub fn away(&self) -> usize {
        self.away.count()
    }

    /// Gives up to `count` pages, [`BATCH`] at most, to Xen; returns how many.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when the kernel has no page to give, and what Xen says.
    pub fn give(&mut self, count: usize) -> Result<usize> {
        let mut spare = Spare::new(count.min(BATCH));
        if spare.count() == 0 {
            return Err(ENOMEM);
        }
        list(&mut self.frames, spare.gfns())?;
        // SAFETY: The pages are ours, and those that Xen took are not used until it gave them again.
        let given = unsafe { memory::decrease_reservation(&mut self.frames) }?;
        // INVARIANT: Xen begins with the first.
        self.away.send(&mut spare, given);
        Ok(given)
    }

    /// Takes up to `count` pages, [`BATCH`] at most, from Xen; returns how many. It is none when Xen has no more for this
    /// guest.
    ///
    /// # Errors
    ///
    /// What Xen says.
    pub fn take(&mut self, count: usize) -> Result<usize> {
        list(&mut self.frames, self.away.gfns().take(count.min(BATCH)))?;
        let taken = memory::populate_physmap(&mut self.frames)?;
        // SAFETY: Xen begins with the first.
        unsafe { self.away.fetch(taken) };
        Ok(taken)
    }
}

/// Lists frames where Xen reads them. Nothing is allocated: there is place for a batch.
fn list(frames: &mut KVec<Gfn>, gfns: impl Iterator<Item = Gfn>) -> Result {
    frames.clear();
    for gfn in gfns.take(BATCH) {
        frames.push_within_capacity(gfn).map_err(|_| ENOMEM)?;
    }
    Ok(())
}

impl Drop for Balloon {
    fn drop(&mut self) {
        IS_THERE.store(false, kernel::sync::atomic::Release);
    }
}
