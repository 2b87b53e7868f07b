// SPDX-License-Identifier: GPL-2.0

//! Values of `core` in the kernel's messages.

use core::fmt;

/// Lets the kernel's format macros print what implements the standard trait only.
pub struct Shown<T>(pub T);

impl<T: fmt::Display> kernel::fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
