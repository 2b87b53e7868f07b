// SPDX-License-Identifier: GPL-2.0

//! The keys of SysRq, pressed by somebody who has no keyboard.
//!
//! C header: `include/linux/sysrq.h`

use crate::bindings;

/// Does what the key does, if the administrator allows it (`kernel.sysrq`); does nothing in a kernel without SysRq.
///
/// From any context. Some keys do not return.
pub fn press(key: u8) {
    // SAFETY: The function has no requirements.
    unsafe { bindings::handle_sysrq(key) };
}
