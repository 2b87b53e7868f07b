// SPDX-License-Identifier: GPL-2.0

//! What the kernel reads the time from.
//!
//! C header: `include/linux/clocksource.h`

use crate::bindings;
use core::mem::offset_of;
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A counter that goes at a constant rate.
pub trait Counter: Send + Sync + 'static {
    /// Whether [`read`](Self::read) gives the TSC, which programs can then read themselves in the vDSO.
    const IS_TSC: bool = false;

    /// Its value. In any context, an NMI included: without locks.
    fn read(&self) -> u64;
}

/// How fast a counter goes, in a unit that fits into 32 bits.
fn scaled(hz: u64) -> Option<(u32, u32)> {
    let (scale, freq) = match u32::try_from(hz) {
        Ok(freq) => (1, freq),
        Err(_) => (1000, u32::try_from(hz / 1000).ok()?),
    };
    (freq != 0).then_some((scale, freq))
}

/// A registered clocksource. The kernel takes it if no other has a higher rating; dropping it makes the kernel take the
/// next best.
///
/// # Invariants
///
/// `inner` is known to the core while `registered`.
#[pin_data(PinnedDrop)]
pub struct Clocksource<C: Counter> {
    #[pin]
    inner: Opaque<bindings::clocksource>,
    registered: bool,
    counter: C,
}

// SAFETY: The core locks its own structures, and `C` can be shared.
unsafe impl<C: Counter> Send for Clocksource<C> {}
// SAFETY: As above; a shared reference gives nothing away.
unsafe impl<C: Counter> Sync for Clocksource<C> {}

impl<C: Counter> Clocksource<C> {
    /// Registers a counter of `hz` ticks per second.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a rate that cannot be, `ENOMEM`, or what the core says. May sleep.
    pub fn new(name: &'static CStr, rating: i32, hz: u64, counter: C) -> Result<Pin<KBox<Self>>> {
        let (scale, freq) = scaled(hz).ok_or(EINVAL)?;
        let mode = if C::IS_TSC {
            bindings::vdso_clock_mode_VDSO_CLOCKMODE_TSC
        } else {
            bindings::vdso_clock_mode_VDSO_CLOCKMODE_NONE
        };
        let description = bindings::clocksource {
            read: Some(Self::read),
            mask: u64::MAX,
            name: name.as_char_ptr(),
            rating,
            vdso_clock_mode: mode,
            flags: bindings::CLOCK_SOURCE_IS_CONTINUOUS as usize,
            // The core would keep a reference to the owner while it reads the clock, and the module could not be
            // unloaded; the drop of this value makes the core read another.
            owner: core::ptr::null_mut(),
            ..pin_init::zeroed()
        };
        let mut this = KBox::pin_init(
            pin_init!(Self {
                inner <- Opaque::ffi_init(move |slot: *mut bindings::clocksource| {
                    // SAFETY: The slot is valid for writes.
                    unsafe { slot.write(description) }
                }),
                registered: false,
                counter,
            }),
            GFP_KERNEL,
        )?;
        // Only now, since the core reads the counter at once.
        // SAFETY: The description is complete, and stays where it is until it is unregistered.
        to_result(unsafe {
            bindings::__clocksource_register_scale(this.inner.get(), scale, freq)
        })?;
        // INVARIANT: Registered above.
        *this.as_mut().project().registered = true;
        Ok(this)
    }

    /// The counter.
    pub fn counter(&self) -> &C {
        &self.counter
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn read(cs: *mut bindings::clocksource) -> u64 {
        // SAFETY: The clocksource is the field of a `Self`, which lives until it is unregistered.
        let this = unsafe { &*cs.byte_sub(offset_of!(Self, inner)).cast::<Self>() };
        this.counter.read()
    }
}

#[pinned_drop]
impl<C: Counter> PinnedDrop for Clocksource<C> {
    fn drop(self: Pin<&mut Self>) {
        let mut told = false;
        // SAFETY: By the type invariants.
        while self.registered && unsafe { bindings::clocksource_unregister(self.inner.get()) } != 0
        {
            // There is no other clock that can serve now. Its code must stay until there is one.
            if !core::mem::replace(&mut told, true) {
                pr_err!("The kernel has no other clock to go over to: waiting for one.\n");
            }
            kernel::time::delay::fsleep(kernel::time::Delta::from_millis(500));
        }
    }
}

#[kunit_tests(oxen_clocksource)]
mod tests {
    use super::*;
    use kernel::sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    };

    #[test]
    fn a_rate_fits_into_32_bits() {
        assert_eq!(scaled(1_000_000_000), Some((1, 1_000_000_000)));
        assert_eq!(scaled(5_000_000_500), Some((1000, 5_000_000)));
        assert_eq!(scaled(0), None);
        assert_eq!(scaled(u64::MAX), None);
    }

    /// Counts how often it is read.
    struct Reads(Arc<Atomic<u32>>);

    impl Counter for Reads {
        fn read(&self) -> u64 {
            self.0.add(1, Relaxed);
            super::super::tsc()
        }
    }

    #[test]
    fn the_best_clock_is_read_until_it_goes() -> Result {
        let reads = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let hz = u64::from(crate::cpu::tsc_khz()) * 1000;
        let clock = Clocksource::new(c"oxen-test", 499, hz.max(1_000_000), Reads(reads.clone()))?;
        let before = reads.load(Relaxed);
        let _ = super::super::wall::now();
        assert!(reads.load(Relaxed) > before);
        drop(clock);
        let before = reads.load(Relaxed);
        let _ = super::super::wall::now();
        assert_eq!(reads.load(Relaxed), before);
        Ok(())
    }
}
