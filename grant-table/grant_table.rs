// SPDX-License-Identifier: GPL-2.0

//! Grant table: which page another domain may see, and until when.
//!
//! A driver shares memory in one of two ways. [`GrantedPages`] are pages of our own that a peer sees as long as the
//! value lives: shared rings. A [`Pool`] is a stock of references for one queue, with which it grants the pages of
//! requests, one [`Grant`] each, without a lock that another queue could hold.
//!
//! A peer that still has a page mapped when access should end keeps it: the page is never freed or reused before the
//! peer lets go. Such grants are *deferred*: retried every second, counted in debugfs (`oxen/grants/counters`), and told once in
//! the log. While there are any, the module holds a reference to itself and cannot be unloaded; a backend that dies
//! lets go of all, so this ends with the backend at the latest.
//!
//! The table is version 1 (a version 2 table cannot be left safely, and needs more of Xen). Its frames are pages of our
//! RAM that Xen replaces by its own, added when references run out and given back on unload. Implements Xen's public
//! header `grant_table.h`; the rules of an entry are in [`abi::grant`].

use kernel::{
    debugfs,
    prelude::*, //
};
use linux::{
    module::or_idle,
    power::shutdown::Hook, //
};
use xen_core::resume::{
    self,
    Stage, //
};

mod deferred;
mod frame;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
mod owner;
mod pages;
mod pool;
mod stats;
mod table;

pub use self::{
    owner::Owner,
    pages::GrantedPages,
    pool::{
        Grant,
        Pool, //
    },
};
pub use abi::grant::Access;

linux::own_module!();

module! {
    type: GrantTable,
    name: "oxen_grant_table",
    authors: ["Oxen developers"],
    description: "Xen grant table",
    license: "GPL",
}

/// What the module does on Xen.
#[pin_data]
struct Service {
    #[pin]
    _stats: debugfs::File<stats::Stats>,
    _dir: debugfs::Dir,
    _shutdown: Pin<KBox<Hook<table::Table>>>,
    _resume: resume::Registration,
    _table: table::Opened,
}

impl Service {
    fn new() -> Result<Pin<KBox<Self>>> {
        xen_core::require()?;
        let opened = table::Opened::new()?;
        let table = table::get()?;
        KBox::pin_init(
            try_pin_init!(Self {
                _shutdown: Hook::new(table.clone())?,
                _resume: resume::Registration::new(Stage::GrantTable, table.clone())?,
                _dir: xen_core::debugfs_dir(c"grants").ok_or(ENODEV)?,
                _stats <- stats::file(_dir, table),
                _table: opened,
            }? Error),
            GFP_KERNEL,
        )
    }
}

/// The module.
pub struct GrantTable {
    _service: Option<Pin<KBox<Service>>>,
}

impl kernel::Module for GrantTable {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _service: or_idle(Service::new())?,
        })
    }
}

/// Ties a user to this module: modpost sees the dependency only in a call.
///
/// # Errors
///
/// `ENODEV` if there is no grant table.
#[inline(never)]
pub fn require() -> Result {
    table::get().map(|_| ())
}
