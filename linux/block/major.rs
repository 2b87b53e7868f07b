// SPDX-License-Identifier: GPL-2.0

//! Registered block majors.

use crate::bindings;
use kernel::{
    error::to_result,
    prelude::*,
    str::CStr, //
};

/// A block major that is ours until the value is dropped.
///
/// # Invariants
///
/// `number` is registered under `name`.
pub struct Major {
    number: u32,
    name: &'static CStr,
}

impl Major {
    /// Registers major `number`; `/proc/devices` lists it as `name`.
    ///
    /// # Errors
    ///
    /// `EBUSY` when another driver has it, `EINVAL` when it is 0.
    pub fn register(number: u32, name: &'static CStr) -> Result<Self> {
        if number == 0 {
            return Err(EINVAL);
        }
        // SAFETY: The name is a C string that lives forever.
        to_result(unsafe { bindings::__register_blkdev(number, name.as_char_ptr(), None) })?;
        // INVARIANT: just registered.
        Ok(Self { number, name })
    }

    /// The number.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Major {
    fn drop(&mut self) {
        // SAFETY: Registered under this name by the type invariants.
        unsafe { bindings::unregister_blkdev(self.number, self.name.as_char_ptr()) };
    }
}
