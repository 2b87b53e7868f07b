// SPDX-License-Identifier: GPL-2.0

//! The machine at a standstill, as a hypervisor needs it that saves a guest.
//!
//! C headers: `include/linux/stop_machine.h`, `include/linux/syscore_ops.h`, `include/linux/suspend.h`

use crate::bindings;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

/// The kernel neither suspends the machine nor hibernates while this lives.
pub struct Awake {
    flags: u32,
}

impl Awake {
    /// Waits for a suspend that is under way.
    #[expect(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            // SAFETY: The drop gives it back.
            flags: unsafe { bindings::sleep_lock() },
        }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        // SAFETY: Taken in `new`.
        unsafe { bindings::sleep_unlock(self.flags) };
    }
}

/// What is to be done at the standstill, and what became of it.
struct Call<F, R> {
    with: Option<F>,
    result: Option<R>,
}

/// Calls `with` on `cpu` while no other CPU does anything, with interrupts off and the lowest layers of the kernel
/// suspended: its time stands still. May sleep; `with` must not.
///
/// No code that had preemption off is interrupted half-way, so `with` may take spinlocks.
///
/// # Errors
///
/// `EBUSY` when a layer does not suspend now, `EOPNOTSUPP` on a kernel whose layers never do, `ENOENT` when the CPU is not
/// online. `with` was not called then.
pub fn at_standstill<R, F: FnOnce() -> R>(cpu: u32, with: F) -> Result<R> {
    if !crate::cpu::is_online(cpu) {
        return Err(ENOENT);
    }
    let mut call = Call {
        with: Some(with),
        result: None,
    };
    let data = core::ptr::from_mut(&mut call).cast();
    // SAFETY: The function takes what is given here, which outlives the call.
    to_result(unsafe { bindings::stop_machine_on(cpu, Some(run::<R, F>), data) })?;
    call.result.ok_or(ENOENT)
}

/// # Safety
///
/// `data` is a `Call<F, R>` that nobody else uses; the machine stands still.
unsafe extern "C" fn run<R, F: FnOnce() -> R>(data: *mut c_void) -> c_int {
    // SAFETY: By the safety requirements.
    let call = unsafe { &mut *data.cast::<Call<F, R>>() };
    from_result(|| {
        // SAFETY: Interrupts are off and no other CPU runs.
        to_result(unsafe { bindings::core_suspend() })?;
        call.result = call.with.take().map(|with| with());
        // SAFETY: As above, after the suspend.
        unsafe { bindings::core_resume() };
        Ok(0)
    })
}

#[kunit_tests(oxen_suspend)]
mod tests {
    use super::*;
    use crate::cpu;

    #[test]
    fn one_cpu_is_left_and_time_goes_on_afterwards() -> Result {
        let _awake = Awake::new();
        match at_standstill(0, || (cpu::current(), 5)) {
            Ok(found) => assert_eq!(found, (0, 5)),
            // Layers of this kernel never suspend.
            Err(error) => assert_eq!(error, EOPNOTSUPP),
        }
        let before = cpu::ticks();
        kernel::time::delay::fsleep(kernel::time::Delta::from_millis(50));
        assert!(cpu::ticks() != before);
        assert_eq!(
            at_standstill(u32::from(u16::MAX), || ()).err(),
            Some(ENOENT)
        );
        Ok(())
    }
}
