// SPDX-License-Identifier: GPL-2.0

//! How the machine powers off and starts again.
//!
//! C header: `include/linux/reboot.h`

pub mod panic;
pub mod shutdown;
pub mod sysrq;

use core::ptr::NonNull;

use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

use crate::bindings;

/// What is to be done as the last thing of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Power off.
    PowerOff,
    /// Start again.
    Restart,
}

/// Before the firmware's, which for a guest is emulated.
const PRIORITY: c_int = bindings::SYS_OFF_PRIO_FIRMWARE as c_int + 1;

/// A way to power off or to start again, which the kernel tries before others.
///
/// # Invariants
///
/// The handler is registered until `drop`, with a `fn()` as its data.
pub struct Handler(NonNull<bindings::sys_off_handler>);

// SAFETY: A handler may be unregistered from any thread.
unsafe impl Send for Handler {}
// SAFETY: A shared reference gives nothing away.
unsafe impl Sync for Handler {}

impl Handler {
    /// Has `end` called at the end of a shutdown, with one CPU alive and interrupts off. If it returns, the kernel tries
    /// the next way. May sleep; `end` must not.
    ///
    /// # Errors
    ///
    /// `EBUSY` when somebody else goes first, `ENOMEM`.
    pub fn new(last: Last, end: fn()) -> Result<Self> {
        let mode = match last {
            Last::PowerOff => bindings::sys_off_mode_SYS_OFF_MODE_POWER_OFF,
            Last::Restart => bindings::sys_off_mode_SYS_OFF_MODE_RESTART,
        };
        // SAFETY: `call` takes what is given here as its data.
        let handler = from_err_ptr(unsafe {
            bindings::register_sys_off_handler(mode, PRIORITY, Some(call), end as *mut c_void)
        })?;
        // INVARIANT: Just registered.
        NonNull::new(handler).map(Self).ok_or(ENOMEM)
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. Waits until nobody calls it any more.
        unsafe { bindings::unregister_sys_off_handler(self.0.as_ptr()) };
    }
}

/// # Safety
///
/// Called by the kernel for a handler of [`Handler::new`].
unsafe extern "C" fn call(data: *mut bindings::sys_off_data) -> c_int {
    // SAFETY: The kernel passes a valid structure, with the data of the registration.
    let data = unsafe { (*data).cb_data };
    // SAFETY: By the type invariants of `Handler` the data is a `fn()`, whose module is there until the drop.
    let end = unsafe { core::mem::transmute::<*mut c_void, fn()>(data) };
    end();
    bindings::NOTIFY_DONE as c_int
}

/// Has `/sbin/poweroff` run; the kernel powers off itself, with an emergency sync, when that cannot be started.
///
/// From any context.
pub fn power_off() {
    // SAFETY: The function has no requirements.
    unsafe { bindings::orderly_poweroff(true) };
}

/// Has `/sbin/reboot` run; the kernel restarts itself, with an emergency sync, when that cannot be started.
///
/// From any context.
pub fn reboot() {
    // SAFETY: The function has no requirements.
    unsafe { bindings::orderly_reboot() };
}

/// Tells whether the kernel is on its way down.
pub fn is_ending() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::system_ends() }
}

#[kunit_tests(oxen_power)]
mod tests {
    use super::*;

    #[test]
    fn a_place_before_the_firmware_is_free_again_after_the_drop() -> Result {
        for last in [Last::PowerOff, Last::Restart] {
            let first = Handler::new(last, || ())?;
            assert_eq!(Handler::new(last, || ()).err(), Some(EBUSY));
            drop(first);
            drop(Handler::new(last, || ())?);
        }
        assert!(!is_ending());
        Ok(())
    }
}
