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

#[kunit_tests(oxen_block_major)]
mod tests {
    use super::*;

    #[test]
    fn a_major_has_one_owner_at_a_time() -> Result {
        let first = Major::register(240, c"oxen-test")?;
        assert_eq!(first.number(), 240);
        assert_eq!(Major::register(240, c"oxen-other").err(), Some(EBUSY));
        drop(first);
        assert!(Major::register(240, c"oxen-other").is_ok());
        Ok(())
    }

    #[test]
    fn zero_is_no_major() {
        assert_eq!(Major::register(0, c"oxen-test").err(), Some(EINVAL));
    }
}
