// SPDX-License-Identifier: GPL-2.0

//! A spinlock for what the irq core calls with its own locks held (C header: `include/linux/spinlock.h`, `raw_spinlock_t`).
//!
//! It spins and keeps interrupts off on every kernel, one with `PREEMPT_RT` too, so little may be done under it.

use crate::bindings;
use kernel::{
    ffi::c_char,
    sync::lock::{
        Backend,
        Lock, //
    }, //
};

/// Makes the initialiser of a [`RawSpinLock`] with the given name.
#[macro_export]
macro_rules! new_raw_spinlock {
    ($inner:expr, $name:literal $(,)?) => {
        $crate::sync::raw_lock::RawSpinLock::new(
            $inner,
            ::kernel::optional_name!($name),
            ::kernel::static_lock_class!(),
        )
    };
}
pub use new_raw_spinlock;

/// A raw spinlock whose guard also keeps interrupts off.
pub type RawSpinLock<T> = Lock<T, RawSpinLockBackend>;

/// How a [`RawSpinLock`] is locked.
pub struct RawSpinLockBackend;

// SAFETY: A `raw_spinlock_t` lets in one at a time. `relock` is the default one, which locks in the same way.
unsafe impl Backend for RawSpinLockBackend {
    type State = bindings::raw_spinlock_t;
    type GuardState = usize;

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const c_char,
        key: *mut kernel::bindings::lock_class_key,
    ) {
        // SAFETY: The pointers are valid by the safety requirements.
        unsafe { bindings::raw_lock_init(ptr, name, key.cast()) }
    }

    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: It is initialised by the safety requirements.
        unsafe { bindings::raw_lock(ptr) }
    }

    unsafe fn unlock(ptr: *mut Self::State, flags: &Self::GuardState) {
        // SAFETY: The caller holds it by the safety requirements, with these flags.
        unsafe { bindings::raw_unlock(ptr, *flags) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        let mut flags = 0;
        // SAFETY: It is initialised by the safety requirements.
        unsafe { bindings::raw_trylock(ptr, &mut flags) }.then_some(flags)
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: It is initialised by the safety requirements.
        unsafe { bindings::raw_assert_held(ptr) }
    }
}

#[kernel::prelude::kunit_tests(oxen_raw_lock)]
mod tests {
    use super::*;
    use kernel::{
        prelude::*,
        sync::Arc, //
    };

    #[test]
    fn it_is_held_until_its_guard_goes() -> Result {
        let lock = Arc::pin_init(new_raw_spinlock!(5u32, "oxen_raw_lock_test"), GFP_KERNEL)?;
        let mut guard = lock.lock();
        assert!(lock.try_lock().is_none());
        *guard += 1;
        drop(guard);
        let value = lock.try_lock().map(|guard| *guard);
        assert_eq!(value, Some(6));
        Ok(())
    }
}
