// SPDX-License-Identifier: GPL-2.0

//! `/dev/watchdogN`: a timer that ends the machine unless a program sets it anew.
//!
//! C header: `include/linux/watchdog.h`

use core::mem::offset_of;

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    types::Opaque, //
};

use crate::{
    bindings,
    module::{
        this_module,
        OwnModule, //
    },
};

/// What keeps the time.
///
/// The core calls one function at a time, in process context.
pub trait Timer: Send + Sync + 'static {
    /// The module that has the code.
    type Module: OwnModule;

    /// Has the machine end in `seconds`, at least one, from now on; whether it runs already or not.
    ///
    /// # Errors
    ///
    /// What the program that opened the device shall see.
    fn set(&self, seconds: u32) -> Result;

    /// Stops it.
    ///
    /// # Errors
    ///
    /// As [`Self::set`]; it is taken to run on.
    fn stop(&self) -> Result;

    /// Seconds until the end.
    fn left(&self) -> u32;
}

/// A watchdog device. Dropping it takes it away; the module stays in use while the device is open.
///
/// # Invariants
///
/// `device` is registered until `drop`, and points to `info` and to static functions.
#[pin_data(PinnedDrop)]
pub struct Watchdog<T: Timer> {
    #[pin]
    info: Opaque<bindings::watchdog_info>,
    timer: T,
    #[pin]
    device: Opaque<bindings::watchdog_device>,
}

// SAFETY: A device may be unregistered from any thread.
unsafe impl<T: Timer> Send for Watchdog<T> {}
// SAFETY: A shared reference gives nothing away.
unsafe impl<T: Timer> Sync for Watchdog<T> {}

/// The core counts in milliseconds, in 32 bits.
const MAX_SECONDS: c_uint = u32::MAX / 1000;

impl<T: Timer> Watchdog<T> {
    const OPERATIONS: &'static bindings::watchdog_ops = &bindings::watchdog_ops {
        owner: this_module::<T::Module>().as_ptr().cast(),
        start: Some(Self::set),
        ping: Some(Self::set),
        stop: Some(Self::stop),
        get_timeleft: Some(Self::left),
        ..pin_init::zeroed()
    };

    /// Makes a device, stopped, for `seconds` at first. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the core says.
    pub fn new(name: &CStr, seconds: u32, timer: T) -> Result<Pin<KBox<Self>>> {
        let mut info = bindings::watchdog_info {
            options: bindings::WDIOF_SETTIMEOUT
                | bindings::WDIOF_KEEPALIVEPING
                | bindings::WDIOF_MAGICCLOSE,
            ..pin_init::zeroed()
        };
        for (to, from) in info.identity.iter_mut().zip(name.to_bytes()) {
            *to = *from;
        }
        // A shutdown may take longer than a program that is gone by then has promised.
        let mut status =
            1 << bindings::WDOG_STOP_ON_REBOOT | 1 << bindings::WDOG_STOP_ON_UNREGISTER;
        if cfg!(CONFIG_WATCHDOG_NOWAYOUT) {
            status |= 1 << bindings::WDOG_NO_WAY_OUT;
        }
        let device = bindings::watchdog_device {
            ops: Self::OPERATIONS,
            timeout: seconds,
            min_timeout: 1,
            max_timeout: MAX_SECONDS,
            status,
            ..pin_init::zeroed()
        };
        KBox::pin_init(
            try_pin_init!(&this in Self {
                info <- Opaque::ffi_init(move |slot: *mut bindings::watchdog_info| {
                    // SAFETY: `slot` is valid for writes.
                    unsafe { slot.write(info) }
                }),
                timer,
                // The last field: from here on the functions can be called.
                device <- Opaque::try_ffi_init(move |slot: *mut bindings::watchdog_device| {
                    // SAFETY: The value does not move any more.
                    let info = unsafe { &raw const (*this.as_ptr()).info };
                    let device = bindings::watchdog_device {
                        info: info.cast(),
                        ..device
                    };
                    // SAFETY: `slot` is valid for writes.
                    unsafe { slot.write(device) };
                    // SAFETY: The structure is complete, pinned, and unregistered before it goes away.
                    to_result(unsafe { bindings::watchdog_register_device(slot) })
                }),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// # Safety
    ///
    /// `device` is that of a `Watchdog<T>`, which lives as long as `'a`.
    unsafe fn of<'a>(device: *mut bindings::watchdog_device) -> &'a Self {
        // SAFETY: By the requirements of this function.
        unsafe { &*device.byte_sub(offset_of!(Self, device)).cast::<Self>() }
    }

    /// # Safety
    ///
    /// Called by the core for a device of ours.
    unsafe extern "C" fn set(device: *mut bindings::watchdog_device) -> c_int {
        // SAFETY: By the requirements; the core holds its lock, under which the field is written.
        let (this, seconds) = unsafe { (Self::of(device), (*device).timeout) };
        from_result(|| this.timer.set(seconds).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the core for a device of ours.
    unsafe extern "C" fn stop(device: *mut bindings::watchdog_device) -> c_int {
        // SAFETY: By the requirements.
        let this = unsafe { Self::of(device) };
        from_result(|| this.timer.stop().map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the core for a device of ours.
    unsafe extern "C" fn left(device: *mut bindings::watchdog_device) -> c_uint {
        // SAFETY: By the requirements.
        unsafe { Self::of(device) }.timer.left()
    }
}

#[pinned_drop]
impl<T: Timer> PinnedDrop for Watchdog<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants. Stops the timer, and waits until nothing of ours is called any more.
        unsafe { bindings::watchdog_unregister_device(self.device.get()) };
    }
}
