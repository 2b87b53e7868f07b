// SPDX-License-Identifier: GPL-2.0

//! The keys of one folder of the xenstore: a device's own, or its backend's.

use core::fmt;

use abi::xenstore::value::Number;
use kernel::{
    prelude::*,
    str::CString,
    sync::Arc, //
};

use super::{
    body::{
        Children,
        Value, //
    },
    nodes::Store,
    text::text, //
};

/// The keys below a node.
pub struct Keys<'a> {
    store: &'a Store,
    base: Base<'a>,
}

/// The name of the folder.
enum Base<'a> {
    Borrowed(&'a CStr),
    Shared(Arc<CString>),
}

impl Base<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Borrowed(name) => text(name),
            Self::Shared(name) => text(name),
        }
    }
}

impl<'a> Keys<'a> {
    pub(crate) fn new(store: &'a Store, base: &'a CStr) -> Self {
        let base = Base::Borrowed(base);
        Self { store, base }
    }

    /// As [`new`](Self::new), for a name that may be replaced meanwhile.
    pub(crate) fn below(store: &'a Store, base: Arc<CString>) -> Self {
        let base = Base::Shared(base);
        Self { store, base }
    }

    fn path<'b>(&'b self, key: &'b dyn fmt::Display) -> Path<'b> {
        Path {
            base: self.base.text(),
            key,
        }
    }

    /// Reads a key.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub fn read(&self, key: impl fmt::Display) -> Result<Value> {
        self.store.read(self.path(&key))
    }

    /// Reads a key that is a number; `None` when there is no such key.
    ///
    /// # Errors
    ///
    /// As [`Store::number`].
    pub fn number<T: Number>(&self, key: impl fmt::Display) -> Result<Option<T>> {
        self.store.number(self.path(&key))
    }

    /// Reads a key that says yes or no; absent is no.
    ///
    /// # Errors
    ///
    /// As [`Store::number`].
    pub fn flag(&self, key: impl fmt::Display) -> Result<bool> {
        Ok(self.number::<u32>(key)?.unwrap_or(0) != 0)
    }

    /// Returns the names of all keys.
    ///
    /// # Errors
    ///
    /// As [`Store::directory`].
    pub(crate) fn names(&self) -> Result<Children> {
        self.store.directory(self.base.text())
    }

    /// Writes a key.
    ///
    /// # Errors
    ///
    /// As [`Store::write`].
    pub fn write(&self, key: impl fmt::Display, value: impl fmt::Display) -> Result {
        self.store.write(self.path(&key), value)
    }

    /// Removes a key; no error when there is none.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub fn rm(&self, key: impl fmt::Display) -> Result {
        match self.store.rm(self.path(&key)) {
            Err(ENOENT) => Ok(()),
            result => result,
        }
    }
}

/// A key with the folder before it.
struct Path<'a> {
    base: &'a str,
    key: &'a dyn fmt::Display,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.key)
    }
}
