// SPDX-License-Identifier: GPL-2.0

//! Messages of the protocol crate in the kernel's log.

use core::fmt;

/// Lets the kernel's print macros show what `core` can.
pub(crate) struct Shown<'a>(pub(crate) &'a dyn fmt::Display);

impl kernel::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
