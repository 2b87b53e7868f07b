// SPDX-License-Identifier: GPL-2.0

//! Xen's libraries as safe values: grants, event channels, the xenstore.

pub(crate) mod events;
pub(crate) mod grants;
pub(crate) mod store;
mod sys;

use std::io;

/// The error that a library function has just left.
fn last() -> anyhow::Error {
    io::Error::last_os_error().into()
}
