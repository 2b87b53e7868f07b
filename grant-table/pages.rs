// SPDX-License-Identifier: GPL-2.0

//! Pages of our own that a peer sees.

use crate::table::{
    self,
    Table, //
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
use linux::{
    limit::Share,
    mm::pages::OwnedPages, //
};

/// Contiguous zeroed pages, all granted to one domain as long as this value lives.
///
/// It is [`abi::shared::Memory`], so a ring can own it. Drop ends access and frees the pages, each as soon as the peer
/// has let go of it; it works in any context.
///
/// # Invariants
///
/// `grefs` are ours, one a page of `pages` in order.
pub struct GrantedPages {
    table: Arc<Table>,
    grefs: KVVec<GrantRef>,
    pages: OwnedPages,
    /// Of a limit that counts the page, until the peer has let go of it.
    share: Option<Share>,
}

impl GrantedPages {
    /// Allocates `count` pages and grants them to `remote`, for reading and writing. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOBUFS` if the table is full, `ENOMEM`, `EINVAL` for no page, `ERANGE` for RAM beyond what an entry can name.
    pub fn new(remote: DomainId, count: usize) -> Result<Self> {
        Self::make(remote, count, Access::ReadWrite, None)
    }

    /// The same for `remote` to read only.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn read_only(remote: DomainId, count: usize) -> Result<Self> {
        Self::make(remote, count, Access::ReadOnly, None)
    }

    /// As [`new`](Self::new), for one page, with what the domain may do and a share of a limit.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn counted(remote: DomainId, access: Access, share: Share) -> Result<Self> {
        Self::make(remote, 1, access, Some(share))
    }

    fn make(remote: DomainId, count: usize, access: Access, share: Option<Share>) -> Result<Self> {
        let table = table::get()?;
        let pages = OwnedPages::new(count)?;
        let grefs = Table::reserve(&table, count)?;
        // From here on, drop ends whatever was granted.
        let granted = Self {
            table,
            grefs,
            pages,
            share,
        };
        for (gref, gfn) in granted.grefs.iter().zip(granted.pages.gfns()) {
            let slot = granted.table.slot(*gref).ok_or(EINVAL)?;
            slot.permit(remote, gfn, access).map_err(|_| ERANGE)?;
        }
        Ok(granted)
    }

    /// The references, one a page in order.
    pub fn grefs(&self) -> &[GrantRef] {
        &self.grefs
    }

    /// The pages.
    pub fn pages(&self) -> &OwnedPages {
        &self.pages
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
                _ => Table::defer(&self.table, *gref, (page, self.share.take()).into()),
            }
        }
    }
}
