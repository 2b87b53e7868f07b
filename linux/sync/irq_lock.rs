// SPDX-License-Identifier: GPL-2.0

//! A spinlock that keeps interrupts off while it is held (C header: `include/linux/spinlock.h`, `spin_lock_irqsave`).
//!
//! The `kernel` crate has one from Linux 7.3 on only.

use crate::bindings;
use core::{
    ops::Deref,
    pin::Pin,
    ptr,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::{
    ffi::c_char,
    prelude::*,
    sync::{
        lock::{
            spinlock::SpinLockBackend,
            Backend,
            Lock, //
        },
        LockClassKey, //
    },
};

/// Makes the initialiser of a [`SpinLockIrq`] with the given name.
#[macro_export]
macro_rules! new_spinlock_irq {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::sync::irq_lock::SpinLockIrq::new(
            $inner,
            ::kernel::optional_name!($($name)?),
            ::kernel::static_lock_class!(),
        )
    };
}
pub use new_spinlock_irq;

/// A spinlock whose guard also keeps interrupts off.
pub type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;

/// How a [`SpinLockIrq`] is locked.
pub struct SpinLockIrqBackend;

// SAFETY: A `spinlock_t` lets in one at a time. `relock` is the default one, which locks in the same way.
unsafe impl Backend for SpinLockIrqBackend {
    type State = <SpinLockBackend as Backend>::State;
    type GuardState = usize;

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
        unsafe { bindings::irq_lock(ptr.cast()) }
    }

    unsafe fn unlock(ptr: *mut Self::State, flags: &Self::GuardState) {
        // SAFETY: The caller holds it by the safety requirements, with these flags.
        unsafe { bindings::irq_unlock(ptr.cast(), *flags) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        let mut flags = 0;
        // SAFETY: It is initialised by the safety requirements.
        unsafe { bindings::irq_trylock(ptr.cast(), &mut flags) }.then_some(flags)
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The requirements are the same.
        unsafe { SpinLockBackend::assert_is_held(ptr) }
    }
}

/// A [`SpinLockIrq`] that a static leads to.
///
/// # Invariants
///
/// The pointer leads to a lock from `init` to `free`, and nothing else happens before or after, as the maker promised.
pub struct Global<T>(AtomicPtr<SpinLockIrq<T>>);

// SAFETY: The lock lets in one at a time.
unsafe impl<T: Send> Sync for Global<T> {}

impl<T> Global<T> {
    /// Makes a place for a lock.
    ///
    /// # Safety
    ///
    /// The value is only used between [`init`](Self::init) and [`free`](Self::free).
    pub const unsafe fn uninit() -> Self {
        // INVARIANT: By the safety requirements.
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Makes the lock.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn init(&self, value: T, name: &'static CStr, class: Pin<&'static LockClassKey>) -> Result {
        let lock = KBox::pin_init(SpinLockIrq::new(value, name, class), GFP_KERNEL)?;
        // SAFETY: Nothing moves it until `free` makes a pinned box of it again.
        let lock = KBox::into_raw(unsafe { Pin::into_inner_unchecked(lock) });
        self.0.store(lock, Ordering::Release);
        Ok(())
    }

    /// Frees the lock.
    pub fn free(&self) {
        let lock = self.0.swap(ptr::null_mut(), Ordering::Acquire);
        if !lock.is_null() {
            // SAFETY: By the type invariant it comes from `init`, and nobody uses it any more.
            drop(Pin::from(unsafe { KBox::from_raw(lock) }));
        }
    }
}

impl<T> Deref for Global<T> {
    type Target = SpinLockIrq<T>;

    fn deref(&self) -> &Self::Target {
        // SAFETY: By the type invariant the pointer is valid now.
        unsafe { &*self.0.load(Ordering::Acquire) }
    }
}

#[kernel::prelude::kunit_tests(oxen_irq_lock)]
mod tests {
    use super::*;
    use kernel::{
        new_spinlock,
        sync::Arc, //
    };

    #[test]
    fn it_is_held_until_its_guard_goes() -> Result {
        let lock = Arc::pin_init(new_spinlock_irq!(5u32, "oxen_irq_lock_test"), GFP_KERNEL)?;
        let mut guard = lock.lock();
        assert!(lock.try_lock().is_none());
        *guard += 1;
        drop(guard);
        let value = lock.try_lock().map(|guard| *guard);
        assert_eq!(value, Some(6));
        Ok(())
    }

    /// Lockdep reports a lock that is taken with interrupts off here and on there, which fails the run.
    #[test]
    fn interrupts_are_off_while_it_is_held() -> Result {
        let lock = Arc::pin_init(new_spinlock_irq!((), "oxen_irq_lock_off"), GFP_KERNEL)?;
        // SAFETY: This only reads the flag.
        let off = || unsafe { bindings::irqs_are_off() };
        assert!(!off());
        let guard = lock.lock();
        assert!(off());
        let inner = Arc::pin_init(new_spinlock!(()), GFP_ATOMIC)?;
        drop(inner.lock());
        assert!(off());
        drop(guard);
        assert!(!off());
        Ok(())
    }
}
