// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of the kernel's C APIs that the `kernel` crate lacks.
//!
//! This crate is the home of `unsafe`: what it offers is safe and generic over
//! driver traits, so that the drivers above need no `unsafe` of their own. An
//! API that the `kernel` crate wraps well enough is not wrapped again.

pub(crate) mod bindings;

pub mod block;
pub mod bus;
pub mod cpu;
pub mod error;
pub mod fmt;
pub mod hvc;
pub mod irq;
pub mod limit;
pub mod miscdev;
pub mod mm;
pub mod module;
pub mod net;
pub mod pci;
pub mod platform;
pub mod power;
pub mod suspend;
pub mod sync;
#[cfg(CONFIG_KUNIT = "y")]
mod testing;
pub mod time;
pub mod vec;
#[cfg(CONFIG_WATCHDOG_CORE)]
pub mod watchdog;
pub mod workqueue;

/// Prefix of the messages that this crate prints.
#[allow(dead_code)]
const __LOG_PREFIX: &[u8] = b"oxen\0";

// Generic code is instantiated in the module of the driver that uses it and then refers to that module.
own_module!();
