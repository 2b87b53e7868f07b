// SPDX-License-Identifier: GPL-2.0

//! Why a program cannot be had, for the user who asked (C header: `include/linux/netlink.h`).

use crate::bindings;
use kernel::{
    fmt,
    prelude::*,
    str::CString, //
};

/// Tells the user why something was refused.
pub struct Reason<'a>(&'a bindings::netdev_bpf);

impl<'a> Reason<'a> {
    pub(super) fn new(bpf: &'a bindings::netdev_bpf) -> Self {
        Self(bpf)
    }

    /// Says it, in one sentence without a full stop. There is room for 79 bytes.
    pub fn say(&self, text: fmt::Arguments<'_>) {
        // Without memory the error says it alone.
        if let Ok(text) = CString::try_from_fmt(text) {
            // SAFETY: The structure is the stack's and valid; the text is terminated, and copied.
            unsafe { bindings::netdev_bpf_say(self.0, text.as_char_ptr()) }
        }
    }
}
