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

/// A spinlock whose guard also keeps softirqs off. Not for use with hard interrupts off.
pub type SpinLockBh<T> = Lock<T, SpinLockBhBackend>;

/// How a [`SpinLockBh`] is locked.
pub struct SpinLockBhBackend;

// SAFETY: A `spinlock_t` lets in one at a time. `relock` is the default one, which locks in the same way.
unsafe impl Backend for SpinLockBhBackend {
    type State = <SpinLockBackend as Backend>::State;
    type GuardState = ();

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
        unsafe { bindings::spin_lock_bh(ptr.cast()) }
    }

    unsafe fn unlock(ptr: *mut Self::State, _guard_state: &Self::GuardState) {
        // SAFETY: The caller holds it by the safety requirements.
        unsafe { bindings::spin_unlock_bh(ptr.cast()) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        // SAFETY: It is initialised by the safety requirements.
        unsafe { bindings::spin_trylock_bh(ptr.cast()) }.then_some(())
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The requirements are the same.
        unsafe { SpinLockBackend::assert_is_held(ptr) }
    }
}

#[kernel::prelude::kunit_tests(oxen_lock_bh)]
mod tests {
    use super::*;
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
}
