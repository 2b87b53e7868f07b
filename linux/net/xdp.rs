// SPDX-License-Identifier: GPL-2.0

//! Programs that look at received packets before the stack does (C header: `include/net/xdp.h`).
//!
//! - [`program`]: a program, and the place where a poll finds it.
//! - [`attach`]: how a device gets one; [`reason`]: why it does not.
//! - [`run`]: a received packet goes through it.
//! - [`frame`]: a packet that it, or one of another device, wants to be sent.

pub(super) mod attach;
pub mod frame;
pub mod program;
pub mod reason;
pub mod run;
