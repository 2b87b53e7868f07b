// SPDX-License-Identifier: GPL-2.0

//! Waiting for work items, which the `kernel` crate does not offer yet.
//!
//! C header: `include/linux/workqueue.h`

use kernel::{
    bindings,
    workqueue::DelayedWork, //
};

/// Runs `work` now if it is queued, and waits until it has finished. May sleep.
///
/// A work item whose code lies in a module must not run any more when the module is freed: flush it in the module's
/// exit, after which nothing may queue it again.
pub fn flush<T: ?Sized, const ID: u64>(work: &DelayedWork<T, ID>) {
    let work = core::ptr::from_ref(work)
        .cast::<bindings::delayed_work>()
        .cast_mut();
    // SAFETY: `DelayedWork` is transparent over `struct delayed_work`, initialised and alive as long as the reference.
    unsafe { bindings::flush_delayed_work(work) };
}
