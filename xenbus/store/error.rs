// SPDX-License-Identifier: GPL-2.0

//! Errors: which of them pass, and where those of a device are written for the toolstack.

use core::fmt;

use kernel::prelude::*;

use super::{
    nodes::Store,
    text::text, //
};

/// Tells whether a request that failed may succeed when it is made again later: the connection was lost, the server was
/// too slow, or it or we had no place or memory.
pub fn is_transient(error: Error) -> bool {
    abi::xenstore::error::is_transient(error.to_errno().wrapping_neg())
}

impl Store {
    /// Writes an error of a device to where the toolstack looks for it: a number and a text in
    /// `error/device/vif/0/error`. `nodename` is `device/vif/0`.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn report_error(&self, nodename: &CStr, error: Error, why: fmt::Arguments<'_>) -> Result {
        let number = error.to_errno().unsigned_abs();
        self.write(
            format_args!("error/{}/error", text(nodename)),
            format_args!("{number} {why}"),
        )
    }

    /// Takes back what [`Self::report_error`] wrote.
    ///
    /// # Errors
    ///
    /// As [`Self::rm`].
    pub(crate) fn unreport_error(&self, nodename: &CStr) -> Result {
        self.rm(format_args!("error/{}", text(nodename)))
    }
}
