// SPDX-License-Identifier: GPL-2.0

//! A queue's own stock of references.

use crate::{
    owner::Owner,
    table::{
        self,
        Table, //
    }, //
};
use abi::{
    grant::{
        places::Places,
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
/// Granting and ending take no lock and work in any context, on several CPUs at a time. Dropping the pool may sleep.
///
/// # Invariants
///
/// `places` has references that are ours, each once. A free place has an inactive entry.
pub struct Pool {
    table: Arc<Table>,
    places: Places<AtomicU64, KVVec<AtomicU32>>,
}

/// Numbers in memory that need not be contiguous: a pool can have thousands.
fn numbers(count: usize) -> Result<KVVec<AtomicU32>> {
    let mut numbers = KVVec::with_capacity(count, GFP_KERNEL)?;
    for _ in 0..count {
        // It has the capacity.
        let _ = numbers.push_within_capacity(AtomicU32::new(0));
    }
    Ok(numbers)
}

impl Pool {
    /// Reserves `count` references. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOBUFS` if the table is full, `ENOMEM`.
    pub fn new(count: usize) -> Result<Self> {
        Self::of(table::get()?, count)
    }

    pub(crate) fn of(table: Arc<Table>, count: usize) -> Result<Self> {
        Self::partly(table, count, count)
    }

    /// As [`new`](Self::new), for up to `most` grants at a time: those beyond `count` take a reference of the table when
    /// they need it, and keep it in the pool.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn growing(count: usize, most: usize) -> Result<Self> {
        Self::partly(table::get()?, count, most)
    }

    pub(crate) fn partly(table: Arc<Table>, count: usize, most: usize) -> Result<Self> {
        let most = most.max(count);
        let (refs, links, bare) = (numbers(most)?, numbers(most)?, numbers(most)?);
        let reserved = Table::reserve(&table, count)?;
        for (index, place) in refs.iter().enumerate() {
            let gref = reserved.get(index).map_or(u32::MAX, |gref| gref.0);
            place.store(gref, Ordering::Relaxed);
        }
        let heads = [const { AtomicU64::new(0) }; 2];
        Ok(Self {
            table,
            places: Places::new(refs, heads, links, bare),
        })
    }

    /// Has the table grow until `count` references are free in it, for a pool that had none to give. May sleep.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn make_room(count: usize) -> Result {
        Table::grow(&table::get()?, count)
    }

    /// How many references the pool has, free or not. Not for a fast path: it looks at each place.
    pub fn held(&self) -> usize {
        self.places.refs().count()
    }

    /// Lets `remote` use the page with frame number `gfn`. Returns `None` if no reference is free.
    ///
    /// The page must stay allocated until access has ended.
    #[inline]
    pub fn grant(&self, remote: DomainId, gfn: Gfn, access: Access) -> Option<Grant> {
        let (place, gref) = self.places.take(|| self.table.take_one())?;
        let permitted = self
            .table
            .slot(gref)
            .is_some_and(|slot| slot.permit(remote, gfn, access).is_ok());
        if !permitted {
            self.places.put(place);
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
                self.places.put(grant.place);
                Ok(())
            }
            _ => Err(grant),
        }
    }

    /// Ends access and drops `owner`, which keeps the page allocated; at once, or when the peer lets go. Returns whether
    /// it was at once.
    pub fn end_or_defer(&self, grant: Grant, owner: impl Into<Owner>) -> bool {
        self.end_with(grant, owner.into())
    }

    fn end_with(&self, grant: Grant, owner: Owner) -> bool {
        let Err(grant) = self.end(grant) else {
            return true;
        };
        if self.entry(&grant).is_none() {
            // Another pool's: neither the page nor the entry can be told from others, so both stay as they are.
            core::mem::forget(owner);
            return false;
        }
        Table::defer(&self.table, grant.gref, owner);
        // A peer that keeps pages does not use the pool up.
        self.places.replace(grant.place, self.table.take_one());
        false
    }

    /// The entry of a grant, if the grant is of this pool.
    #[inline]
    fn entry(&self, grant: &Grant) -> Option<Slot<&RawMemory>> {
        if self.places.get(grant.place)? != grant.gref {
            return None;
        }
        self.table.slot(grant.gref)
    }
}

impl Drop for Pool {
    /// Gives the references back. Access that was not ended ends here, or later if the peer still uses the page.
    fn drop(&mut self) {
        for gref in self.places.refs() {
            match self.table.slot(gref).map(|slot| slot.revoke()) {
                Some(Ok(())) => self.table.release(core::iter::once(gref)),
                _ => Table::defer(&self.table, gref, Owner::NOTHING),
            }
        }
    }
}
