// SPDX-License-Identifier: GPL-2.0

//! A queue's own stock of references.

use crate::{
    deferred,
    table::{
        self,
        Table, //
    }, //
};
use abi::{
    grant::{
        slots::FreeSlots,
        Access,
        Slot, //
    },
    shared::RawMemory,
    types::{
        DomainId,
        Gfn,
        GrantRef, //
    },
};
use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Access to one page that was given to a domain.
///
/// It has to go back to the pool that made it, through [`Pool::end`] or [`Pool::end_or_defer`]. One that is merely
/// dropped keeps its page visible until the pool goes.
#[derive(Debug)]
#[must_use = "access has to be ended"]
pub struct Grant {
    /// Position in the pool.
    place: u32,
    gref: GrantRef,
}

impl Grant {
    /// The reference to tell the peer.
    #[inline]
    pub fn gref(&self) -> GrantRef {
        self.gref
    }
}

/// References reserved for one queue.
///
/// Granting and ending take no lock and work in any context, on several CPUs at a time.
///
/// # Invariants
///
/// `refs` are references that are ours, each once. A free place has an inactive entry.
pub struct Pool {
    table: Arc<Table>,
    free: FreeSlots<AtomicU64, KVec<AtomicU32>>,
    refs: KVec<AtomicU32>,
}

impl Pool {
    /// Reserves `count` references. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if the table is full, `ENOMEM`.
    pub fn new(count: usize) -> Result<Self> {
        let table = table::get()?;
        let mut links = KVec::with_capacity(count, GFP_KERNEL)?;
        let mut refs = KVec::with_capacity(count, GFP_KERNEL)?;
        for gref in Table::reserve(&table, count)? {
            // Both have the capacity.
            let _ = links.push_within_capacity(AtomicU32::new(0));
            let _ = refs.push_within_capacity(AtomicU32::new(gref.0));
        }
        Ok(Self {
            table,
            free: FreeSlots::new(AtomicU64::new(0), links),
            refs,
        })
    }

    /// How many references the pool has, free or not.
    pub fn size(&self) -> usize {
        self.refs.len()
    }

    /// Lets `remote` use the page with frame number `gfn`. Returns `None` if no reference is free.
    ///
    /// The page must stay allocated until access has ended.
    #[inline]
    pub fn grant(&self, remote: DomainId, gfn: Gfn, access: Access) -> Option<Grant> {
        let place = self.free.take()?;
        let gref = GrantRef(self.refs.get(place as usize)?.load(Ordering::Relaxed));
        let permitted = self
            .table
            .slot(gref)
            .is_some_and(|slot| slot.permit(remote, gfn, access).is_ok());
        if !permitted {
            self.free.put(place);
            return None;
        }
        Some(Grant { place, gref })
    }

    /// Ends access.
    ///
    /// # Errors
    ///
    /// The grant, if the peer still uses the page, or if another pool made it. Nothing has changed then.
    #[inline]
    pub fn end(&self, grant: Grant) -> Result<(), Grant> {
        match self.entry(&grant).map(|slot| slot.revoke()) {
            Some(Ok(())) => {
                self.free.put(grant.place);
                Ok(())
            }
            _ => Err(grant),
        }
    }

    /// Ends access and drops `owner`, which keeps the page allocated; at once, or when the peer lets go. Returns whether
    /// it was at once.
    pub fn end_or_defer<T: Send + 'static>(&self, grant: Grant, owner: T) -> bool {
        let Err(grant) = self.end(grant) else {
            return true;
        };
        if self.entry(&grant).is_none() {
            // Another pool's: neither the page nor the entry can be told from others, so both stay as they are.
            core::mem::forget(owner);
            return false;
        }
        deferred::add(&self.table, grant.gref, owner);
        // The place gets another reference, so that a peer which keeps pages does not use the pool up.
        if let (Some(place), Some(other)) =
            (self.refs.get(grant.place as usize), self.table.take_one())
        {
            place.store(other.0, Ordering::Relaxed);
            self.free.put(grant.place);
        } else if let Some(place) = self.refs.get(grant.place as usize) {
            place.store(NONE, Ordering::Relaxed);
        }
        false
    }

    /// The entry of a grant, if the grant is of this pool.
    #[inline]
    fn entry(&self, grant: &Grant) -> Option<Slot<&RawMemory>> {
        let gref = self.refs.get(grant.place as usize)?;
        if gref.load(Ordering::Relaxed) != grant.gref.0 {
            return None;
        }
        self.table.slot(grant.gref)
    }
}

/// Marks a place whose reference was deferred and could not be replaced.
const NONE: u32 = u32::MAX;

impl Drop for Pool {
    /// Gives the references back. Access that was not ended ends here, or later if the peer still uses the page.
    fn drop(&mut self) {
        for gref in self.refs.iter() {
            let gref = GrantRef(gref.load(Ordering::Relaxed));
            if gref.0 == NONE {
                continue;
            }
            match self.table.slot(gref).map(|slot| slot.revoke()) {
                Some(Ok(())) => self.table.release(core::iter::once(gref)),
                _ => deferred::add(&self.table, gref, ()),
            }
        }
    }
}
