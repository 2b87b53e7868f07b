// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of the kernel's C APIs that the `kernel` crate lacks.
//!
//! This crate is the home of `unsafe`: what it offers is safe and generic over
//! driver traits, so that the drivers above need no `unsafe` of their own. An
//! API that the `kernel` crate wraps well enough is not wrapped again.

use kernel::{
    str::CStr,
    types::Opaque,
    ThisModule, //
};

pub(crate) mod bindings;

pub mod attempts;
pub mod block;
pub mod bus;
pub mod cpu;
pub mod delayed;
pub mod hvc;
pub mod ipi;
pub mod irq;
pub mod kthread;
mod lock_class;
pub mod memremap;
pub mod miscdev;
pub mod module;
pub mod net;
pub mod page;
pub mod pages;
pub mod param;
pub mod platform;
pub mod raw_lock;
pub mod rcu;
#[cfg(CONFIG_KUNIT = "y")]
mod testing;
pub mod time;
pub mod wait;
pub mod work;
pub mod workqueue;

/// Prefix of the messages that this crate prints.
#[allow(dead_code)]
const __LOG_PREFIX: &[u8] = b"oxen\0";

/// The module that this crate's code runs in, as `module!` would define it.
///
/// Generic code is instantiated in the module of the driver that uses it and
/// then refers to that module.
#[allow(dead_code)]
pub struct LocalModule;

impl kernel::ModuleMetadata for LocalModule {
    const NAME: &'static CStr = c"oxen_xen_core";

    const THIS_MODULE: ThisModule = {
        #[allow(improper_ctypes)]
        extern "C" {
            static __this_module: Opaque<kernel::bindings::module>;
        }

        // SAFETY: `__this_module` is made by modpost for every module and lives
        // as long as the module is loaded.
        unsafe { ThisModule::from_ptr(__this_module.get()) }
    };
}
