// SPDX-License-Identifier: GPL-2.0

//! Pages of our own that a peer sees.

use crate::{
    deferred,
    table::{
        self,
        Table, //
    }, //
};
use abi::{
    grant::Access,
    shared::RawMemory,
    types::{
        DomainId,
        GrantRef, //
    },
};
use core::ops::Deref;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::pages::OwnedPages;

/// Contiguous zeroed pages, all granted to one domain for reading and writing as long as this value lives.
///
/// It is [`abi::shared::Memory`], so a ring can own it. Drop ends access and frees the pages, each as soon as the peer
/// has let go of it; it works in any context.
///
/// # Invariants
///
/// `grefs` are ours, one a page of `pages` in order.
pub struct GrantedPages {
    table: Arc<Table>,
    grefs: KVec<GrantRef>,
    pages: OwnedPages,
}

impl GrantedPages {
    /// Allocates `count` pages and grants them to `remote`. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if the table is full, `ENOMEM`, `EINVAL` for no page, `ERANGE` for RAM beyond what an entry can name.
    pub fn new(remote: DomainId, count: usize) -> Result<Self> {
        let table = table::get()?;
        let pages = OwnedPages::new(count)?;
        let grefs = Table::reserve(&table, count)?;
        // From here on, drop ends whatever was granted.
        let granted = Self {
            table,
            grefs,
            pages,
        };
        for (gref, gfn) in granted.grefs.iter().zip(granted.pages.gfns()) {
            let slot = granted.table.slot(*gref).ok_or(EINVAL)?;
            slot.permit(remote, gfn, Access::ReadWrite)
                .map_err(|_| ERANGE)?;
        }
        Ok(granted)
    }

    /// The references, one a page in order.
    pub fn grefs(&self) -> &[GrantRef] {
        &self.grefs
    }

    /// The pages as one piece of shared memory.
    pub fn memory(&self) -> &RawMemory {
        self.pages.memory()
    }
}

impl Deref for GrantedPages {
    type Target = RawMemory;

    fn deref(&self) -> &RawMemory {
        self.memory()
    }
}

impl Drop for GrantedPages {
    fn drop(&mut self) {
        for (gref, page) in self.grefs.iter().zip(self.pages.take()) {
            match self.table.slot(*gref).map(|slot| slot.revoke()) {
                Some(Ok(())) => self.table.release(core::iter::once(*gref)),
                _ => deferred::add(&self.table, *gref, page),
            }
        }
    }
}
