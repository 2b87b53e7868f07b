// SPDX-License-Identifier: GPL-2.0

//! A clock that programs such as chronyd compare the system's with: `/dev/ptpN`.
//!
//! C header: `include/linux/ptp_clock_kernel.h`

use crate::{
    bindings,
    error::EOPNOTSUPP, //
};
use core::mem::offset_of;
use kernel::{
    error::{
        from_err_ptr,
        from_result, //
    },
    prelude::*,
    types::Opaque, //
};

/// A clock that can only be read.
pub trait Source: Send + Sync + 'static {
    /// The time of day: seconds since 1970, and nanoseconds.
    ///
    /// # Errors
    ///
    /// The program that asks gets the error.
    fn time(&self) -> Result<(i64, u32)>;
}

/// A PTP clock device, until it is dropped.
///
/// # Invariants
///
/// `clock` was registered with `info`, once the value was made.
#[pin_data(PinnedDrop)]
pub struct PtpClock<S: Source> {
    #[pin]
    info: Opaque<bindings::ptp_clock_info>,
    clock: *mut bindings::ptp_clock,
    source: S,
}

// SAFETY: The core locks its own structures, and `S` can be shared.
unsafe impl<S: Source> Send for PtpClock<S> {}
// SAFETY: As above; a shared reference gives nothing away.
unsafe impl<S: Source> Sync for PtpClock<S> {}

impl<S: Source> PtpClock<S> {
    /// Makes the device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENODEV` in a kernel without PTP clocks, or what the core says. May sleep.
    pub fn new(name: &CStr, source: S) -> Result<Pin<KBox<Self>>> {
        let mut info = bindings::ptp_clock_info {
            // The drop of this value waits until nothing of ours is called any more.
            owner: core::ptr::null_mut(),
            gettimex64: Some(Self::gettimex),
            settime64: Some(Self::settime),
            adjfine: Some(Self::adjfine),
            adjtime: Some(Self::adjtime),
            enable: Some(Self::enable),
            ..pin_init::zeroed()
        };
        for (to, from) in info.name.iter_mut().zip(name.to_bytes()) {
            *to = *from;
        }
        let this = KBox::pin_init(
            pin_init!(Self {
                info <- Opaque::ffi_init(move |slot: *mut bindings::ptp_clock_info| {
                    // SAFETY: The slot is valid for writes.
                    unsafe { slot.write(info) }
                }),
                clock: core::ptr::null_mut(),
                source,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The description is complete, and stays where it is until the clock is unregistered.
        let clock = from_err_ptr(unsafe {
            bindings::ptp_clock_register(this.info.get(), core::ptr::null_mut())
        })?;
        if clock.is_null() {
            return Err(ENODEV);
        }
        let mut this = this;
        *this.as_mut().project().clock = clock;
        Ok(this)
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn gettimex(
        info: *mut bindings::ptp_clock_info,
        time: *mut bindings::timespec64,
        around: *mut bindings::ptp_system_timestamp,
    ) -> c_int {
        // SAFETY: Called by the core for a clock of ours, with room for the result; the time stamps may be absent.
        unsafe {
            let this = &*info.byte_sub(offset_of!(Self, info)).cast::<Self>();
            bindings::ptp_pre(around);
            let now = this.source.time();
            bindings::ptp_post(around);
            from_result(|| {
                let (seconds, nanoseconds) = now?;
                (*time).tv_sec = seconds;
                (*time).tv_nsec = nanoseconds as isize;
                Ok(0)
            })
        }
    }

    /// # Safety
    ///
    /// Only the kernel calls it.
    unsafe extern "C" fn settime(
        _info: *mut bindings::ptp_clock_info,
        _time: *const bindings::timespec64,
    ) -> c_int {
        EOPNOTSUPP.to_errno()
    }

    /// # Safety
    ///
    /// Only the kernel calls it.
    unsafe extern "C" fn adjfine(_info: *mut bindings::ptp_clock_info, _ppm: c_long) -> c_int {
        EOPNOTSUPP.to_errno()
    }

    /// # Safety
    ///
    /// Only the kernel calls it.
    unsafe extern "C" fn adjtime(_info: *mut bindings::ptp_clock_info, _delta: i64) -> c_int {
        EOPNOTSUPP.to_errno()
    }

    /// # Safety
    ///
    /// Only the kernel calls it.
    unsafe extern "C" fn enable(
        _info: *mut bindings::ptp_clock_info,
        _request: *mut bindings::ptp_clock_request,
        _on: c_int,
    ) -> c_int {
        EOPNOTSUPP.to_errno()
    }
}

#[pinned_drop]
impl<S: Source> PinnedDrop for PtpClock<S> {
    fn drop(self: Pin<&mut Self>) {
        if !self.clock.is_null() {
            // SAFETY: By the type invariants. A program that has the device open gets ENODEV from then on.
            unsafe { bindings::ptp_clock_unregister(self.clock) };
        }
    }
}
