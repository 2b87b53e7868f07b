// SPDX-License-Identifier: GPL-2.0

//! The keys of one folder of the xenstore: a device's own, or its backend's.

use core::fmt;

use abi::xenstore::value::Number;
use kernel::prelude::*;

use crate::{
    body::Value,
    store::Store, //
};

/// The keys below a node.
pub struct Keys<'a> {
    store: &'a Store,
    base: &'a CStr,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(store: &'a Store, base: &'a CStr) -> Self {
        Self { store, base }
    }

    fn path<'b>(&'b self, key: &'b dyn fmt::Display) -> Path<'b> {
        Path {
            base: self.base.to_bytes(),
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
    base: &'a [u8],
    key: &'a dyn fmt::Display,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names were checked when the device was made: they are ASCII.
        let base = core::str::from_utf8(self.base).map_err(|_| fmt::Error)?;
        write!(f, "{base}/{}", self.key)
    }
}
