// SPDX-License-Identifier: GPL-2.0

//! What wakes a CPU up at a given time.
//!
//! C header: `include/linux/clockchips.h`

use crate::bindings;
use core::mem::offset_of;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Arc, //
    },
    types::Opaque,
};

/// The longest time that a timer is set to, in nanoseconds: about 18 minutes.
const LONGEST: usize = 1 << 40;

/// A timer that each CPU has one of.
pub trait Timer: Send + Sync + 'static {
    /// Has the timer of the current CPU fire once, in `delta` nanoseconds. With interrupts off.
    ///
    /// # Errors
    ///
    /// `ETIME` when that time has passed.
    fn set(&self, delta: u64) -> Result;

    /// Has the timer of the current CPU not fire any more. With interrupts off.
    fn stop(&self);
}

/// The timer of one CPU, as the kernel's tick and high-resolution timers use it.
///
/// # Invariants
///
/// `inner` is on the core's list only while `started`.
#[pin_data(PinnedDrop)]
pub struct ClockEvent<T: Timer> {
    #[pin]
    inner: Opaque<bindings::clock_event_device>,
    cpu: u32,
    started: Atomic<u32>,
    timer: Arc<T>,
}

// SAFETY: The core locks its own structures, and `T` can be shared.
unsafe impl<T: Timer> Send for ClockEvent<T> {}
// SAFETY: As above; a shared reference gives nothing away.
unsafe impl<T: Timer> Sync for ClockEvent<T> {}

impl<T: Timer> ClockEvent<T> {
    /// Makes a device for `cpu` that the kernel does not know yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(
        name: &'static CStr,
        rating: i32,
        cpu: u32,
        timer: Arc<T>,
    ) -> Result<Pin<KBox<Self>>> {
        let description = bindings::clock_event_device {
            name: name.as_char_ptr(),
            rating,
            features: bindings::CLOCK_EVT_FEAT_ONESHOT | bindings::CLOCK_EVT_FEAT_PERCPU,
            irq: -1,
            set_next_event: Some(Self::set),
            set_state_shutdown: Some(Self::shutdown),
            set_state_oneshot: Some(Self::oneshot),
            // The core would keep the module loaded while it uses the device; `stop` makes it use another.
            owner: core::ptr::null_mut(),
            ..pin_init::zeroed()
        };
        KBox::pin_init(
            pin_init!(Self {
                inner <- Opaque::ffi_init(move |slot: *mut bindings::clock_event_device| {
                    // SAFETY: The slot is valid for writes.
                    unsafe { slot.write(description) }
                }),
                cpu,
                started: Atomic::new(0),
                timer,
            }),
            GFP_KERNEL,
        )
    }

    /// Lets the kernel use it, if no other has a higher rating. On its CPU, in a thread bound to it.
    pub fn start(&self) {
        if self.started.xchg(1, Full) == 0 {
            // SAFETY: The description is complete, and stays where it is until it is off the list.
            unsafe { bindings::clockevent_start(self.inner.get(), self.cpu, LONGEST) };
        }
    }

    /// Makes the kernel use another. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` when there is no other.
    pub fn stop(&self) -> Result {
        if self.started.load(Acquire) == 0 {
            return Ok(());
        }
        // SAFETY: It is on the core's list: it was started, and is taken off only here and when its CPU dies, which the
        // driver prevents by stopping it before.
        to_result(unsafe {
            bindings::clockevents_unbind_device(self.inner.get(), self.cpu as c_int)
        })?;
        self.started.store(0, Release);
        Ok(())
    }

    /// The timer has fired: in hard-irq context on its CPU, elsewhere it does nothing.
    #[inline]
    pub fn fire(&self) {
        // SAFETY: A device that is not used has a handler that does nothing, or none.
        unsafe { bindings::clockevent_fire(self.inner.get(), self.cpu) };
    }

    /// # Safety
    ///
    /// `dev` is the field of a `Self`.
    unsafe fn timer<'a>(dev: *mut bindings::clock_event_device) -> &'a T {
        // SAFETY: By the safety requirements.
        unsafe { &(*dev.byte_sub(offset_of!(Self, inner)).cast::<Self>()).timer }
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn set(delta: usize, dev: *mut bindings::clock_event_device) -> c_int {
        // SAFETY: Called by the core for a device of ours, of which a tick is a nanosecond.
        from_result(|| unsafe { Self::timer(dev) }.set(delta as u64).map(|()| 0))
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn shutdown(dev: *mut bindings::clock_event_device) -> c_int {
        // SAFETY: Called by the core for a device of ours.
        unsafe { Self::timer(dev) }.stop();
        0
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn oneshot(_dev: *mut bindings::clock_event_device) -> c_int {
        0
    }
}

#[pinned_drop]
impl<T: Timer> PinnedDrop for ClockEvent<T> {
    fn drop(self: Pin<&mut Self>) {
        let mut told = false;
        while self.stop().is_err() {
            // Its code must stay until there is another timer.
            if !core::mem::replace(&mut told, true) {
                pr_err!(
                    "CPU {} has no other timer to go over to: waiting for one.\n",
                    self.cpu
                );
            }
            kernel::time::delay::fsleep(kernel::time::Delta::from_millis(500));
        }
    }
}

#[kunit_tests(oxen_clockevent)]
mod tests {
    use super::*;

    /// A timer that never fires.
    struct Never;

    impl Timer for Never {
        fn set(&self, _delta: u64) -> Result {
            Ok(())
        }

        fn stop(&self) {}
    }

    #[test]
    fn one_that_was_not_started_does_nothing() -> Result {
        let timer = Arc::new(Never, GFP_KERNEL)?;
        let cpu = crate::cpu::current();
        let event = ClockEvent::new(c"oxen-test", 1, cpu, timer.clone())?;
        event.fire();
        event.stop()?;
        drop(event);
        assert!(Arc::into_unique_or_drop(timer).is_some());
        Ok(())
    }
}
