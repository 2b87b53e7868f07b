// SPDX-License-Identifier: GPL-2.0

//! A device's two folders in the xenstore, made and removed as the toolstack would.

use crate::xen::store::{Access, Store, View};
use anyhow::{ensure, Result};

/// Keys and their values.
pub(crate) type Keys = Vec<(String, String)>;

/// Makes a key with its value.
pub(crate) fn key(name: &str, value: impl ToString) -> (String, String) {
    (name.into(), value.to_string())
}

/// Where a device is.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The guest.
    pub(crate) domain: u16,
    /// `vbd`, `vif` or `console`.
    pub(crate) kind: &'static str,
    /// Its number among its kind.
    pub(crate) name: String,
}

impl Node {
    /// The frontend's folder.
    pub(crate) fn frontend(&self) -> String {
        let Self { domain, kind, name } = self;
        format!("/local/domain/{domain}/device/{kind}/{name}")
    }

    /// Our folder: of a type that no driver of dom0 knows, for theirs would serve it otherwise.
    pub(crate) fn backend(&self) -> String {
        let Self { domain, kind, name } = self;
        format!("/local/domain/0/backend/oxen-{kind}/{domain}/{name}")
    }

    /// Makes both folders, at once; `front` and `back` are the keys that this kind of device has besides the common
    /// ones.
    ///
    /// # Errors
    ///
    /// When there is such a device already, and those of xenstored.
    pub(crate) fn create(&self, store: &Store, front: &Keys, back: &Keys) -> Result<()> {
        let (frontend, backend) = (self.frontend(), self.backend());
        store.transaction(|view| {
            ensure!(
                view.read(&frontend)?.is_none(),
                "there is a device {frontend} already"
            );
            view.folder(
                &backend,
                Access {
                    owner: 0,
                    reader: self.domain,
                },
            )?;
            let common = [
                key("frontend", &frontend),
                key("frontend-id", self.domain),
                key("online", 1),
                key("state", 1),
            ];
            write_all(view, &backend, &common)?;
            write_all(view, &backend, back)?;
            view.folder(
                &frontend,
                Access {
                    owner: self.domain,
                    reader: 0,
                },
            )?;
            let common = [
                key("backend", &backend),
                key("backend-id", 0),
                key("state", 1),
            ];
            write_all(view, &frontend, &common)?;
            write_all(view, &frontend, front)
        })
    }

    /// Removes both.
    ///
    /// # Errors
    ///
    /// Those of xenstored.
    pub(crate) fn remove(&self, store: &Store) -> Result<()> {
        store.transaction(|view| {
            view.remove(&self.frontend())?;
            view.remove(&self.backend())
        })
    }
}

/// Writes keys of a folder.
///
/// # Errors
///
/// Those of xenstored.
pub(crate) fn write_all(view: &View<'_>, folder: &str, keys: &[(String, String)]) -> Result<()> {
    keys.iter()
        .try_for_each(|(name, value)| view.write(&format!("{folder}/{name}"), value))
}
