// SPDX-License-Identifier: GPL-2.0

//! A spinlock that keeps softirqs off while it is held (C header: `include/linux/spinlock.h`, `spin_lock_bh`).
//!
//! What a poll or a transmission locks is locked elsewhere with softirqs off, or they could interrupt the holder and
//! wait for it for ever. The guard does both in one, so there is no order of two guards to get wrong.

use crate::bindings;
use kernel::{
    ffi::c_char,
    sync::lock::{
        spinlock::SpinLockBackend,
        Backend,
        Guard,
        Lock, //
    }, //
};

/// Makes the initialiser of a [`SpinLockBh`] with the given name.
#[macro_export]
macro_rules! new_spinlock_bh {
    ($inner:expr, $name:literal $(,)?) => {
        $crate::net::lock::SpinLockBh::new(
            $inner,
            ::kernel::optional_name!($name),
            ::kernel::static_lock_class!(),
        )
    };
}
pub use new_spinlock_bh;

/// A spinlock whose guard also keeps softirqs off. With hard interrupts off it can only be tried; see [`lock_or_try`].
pub type SpinLockBh<T> = Lock<T, SpinLockBhBackend>;

/// The guard of a [`SpinLockBh`].
pub type SpinLockBhGuard<'a, T> = Guard<'a, T, SpinLockBhBackend>;

/// Locks, for a transmission: with hard interrupts off, as netconsole sends, only if that needs no waiting, since the
/// holder may be what was interrupted.
pub fn lock_or_try<T>(lock: &SpinLockBh<T>) -> Option<SpinLockBhGuard<'_, T>> {
    // SAFETY: The function has no requirements.
    if unsafe { bindings::irqs_are_off() } {
        lock.try_lock()
    } else {
        Some(lock.lock())
    }
}

/// How a [`SpinLockBh`] is locked.
pub struct SpinLockBhBackend;

// SAFETY: A `spinlock_t` lets in one at a time. `relock` is the default one, which locks in the same way.
unsafe impl Backend for SpinLockBhBackend {
    type State = <SpinLockBackend as Backend>::State;
    /// Whether hard interrupts were off, so that softirqs were left alone.
    type GuardState = bool;

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const c_char,
        key: *mut kernel::bindings::lock_class_key,
    ) {
        // SAFETY: The requirements are the same.
        unsafe { SpinLockBackend::init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: It is initialised by the safety requirements.
        unsafe { bindings::spin_lock_bh(ptr.cast()) };
        false
    }

    unsafe fn unlock(ptr: *mut Self::State, guard_state: &Self::GuardState) {
        // SAFETY: The caller holds it by the safety requirements.
        unsafe { bindings::spin_unlock_bh(ptr.cast(), *guard_state) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        let mut hard = false;
        // SAFETY: It is initialised by the safety requirements.
        unsafe { bindings::spin_trylock_bh(ptr.cast(), &mut hard) }.then_some(hard)
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The requirements are the same.
        unsafe { SpinLockBackend::assert_is_held(ptr) }
    }
}

#[kernel::prelude::kunit_tests(oxen_lock_bh)]
mod tests {
    use super::*;
    use crate::new_spinlock_irq;
    use kernel::{
        prelude::*,
        sync::Arc, //
    };

    #[test]
    fn it_is_held_until_its_guard_goes() -> Result {
        let lock = Arc::pin_init(new_spinlock_bh!(5u32, "oxen_lock_test"), GFP_KERNEL)?;
        let mut guard = lock.lock();
        assert!(lock.try_lock().is_none());
        *guard += 1;
        drop(guard);
        let value = lock.try_lock().map(|guard| *guard);
        assert_eq!(value, Some(6));
        Ok(())
    }

    /// As netconsole finds it: what it interrupted may hold the lock.
    #[test]
    fn with_hard_interrupts_off_it_is_only_tried() -> Result {
        let lock = Arc::pin_init(new_spinlock_bh!(5u32, "oxen_lock_test"), GFP_KERNEL)?;
        let hard = KBox::pin_init(new_spinlock_irq!((), "oxen_lock_test_hard"), GFP_KERNEL)?;
        let off = hard.lock();
        assert_eq!(lock_or_try(&lock).map(|guard| *guard), Some(5));
        drop(off);
        let held = lock_or_try(&lock);
        assert!(held.is_some());
        let off = hard.lock();
        assert!(lock_or_try(&lock).is_none());
        drop(off);
        drop(held);
        assert_eq!(lock_or_try(&lock).map(|guard| *guard), Some(5));
        Ok(())
    }
}
