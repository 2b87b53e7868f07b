// SPDX-License-Identifier: GPL-2.0

//! The keys with which a frontend tells its backend of its rings and channels.

use core::fmt;

use kernel::{
    prelude::*,
    str::CString, //
};
use linux::fmt::Shown;

use crate::store::{
    keys::Keys,
    text, //
};

/// Keys that are to be written.
pub struct Publication {
    keys: KVec<(CString, CString)>,
    short: bool,
}

impl Publication {
    pub(crate) fn new(short: bool) -> Self {
        Self {
            keys: KVec::new(),
            short,
        }
    }

    /// Whether xenstored had no room for the keys of a moment ago: as few as the protocol can do with should be added.
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// Adds a key of the device's node, as `ring-ref` or `queue-0/ring-ref`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn add(&mut self, key: impl fmt::Display, value: impl fmt::Display) -> Result {
        let key = CString::try_from_fmt(fmt!("{}", Shown(&key)))?;
        let value = CString::try_from_fmt(fmt!("{}", Shown(&value)))?;
        Ok(self.keys.push((key, value), GFP_KERNEL)?)
    }

    fn has(&self, name: &[u8]) -> bool {
        self.keys.iter().any(|(key, _)| key.to_bytes() == name)
    }

    /// Writes the keys, and removes those of an earlier connection: `is_own` tells what a driver of this type may have
    /// written.
    pub(crate) fn write(&self, keys: &Keys<'_>, is_own: fn(&[u8]) -> bool) -> Result {
        for name in keys.names()?.names() {
            if is_own(name) && !self.has(name) {
                if let Ok(name) = core::str::from_utf8(name) {
                    keys.rm(name)?;
                }
            }
        }
        self.keys
            .iter()
            .try_for_each(|(key, value)| keys.write(text(key), text(value)))
    }
}
