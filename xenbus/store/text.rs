// SPDX-License-Identifier: GPL-2.0

//! Names of the xenstore as text.

use kernel::prelude::*;

/// Shows a string that is known to be ASCII.
pub(crate) fn text(string: &CStr) -> &str {
    string.to_str().unwrap_or("?")
}
