// SPDX-License-Identifier: GPL-2.0

//! Scopes in which an allocation does not start I/O.
//!
//! Code that writeback waits for, such as the reconnect of a disk, must not wait for writeback itself. `GFP_NOIO` at each
//! allocation is not enough: it does not reach the allocations of the kernel functions that are called.
//!
//! C header: `include/linux/sched/mm.h`.

use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    }, //
};

use kernel::{
    ffi::c_uint,
    prelude::*,
    sync::{
        Mutex,
        MutexGuard, //
    },
    types::NotThreadSafe, //
};

use crate::bindings;

/// A scope of the current task: until the value is dropped, all its allocations are without `__GFP_IO` and `__GFP_FS`.
///
/// Scopes may nest.
#[must_use = "the scope ends when the value is dropped"]
pub struct NoIo {
    saved: c_uint,
    /// The flag belongs to the task.
    _task: PhantomData<NotThreadSafe>,
}

impl NoIo {
    /// Begins a scope.
    pub fn enter() -> Self {
        Self {
            // SAFETY: Sets a flag of the current task; no requirements.
            saved: unsafe { bindings::noio_save() },
            _task: PhantomData,
        }
    }
}

/// Tells whether the current task is in such a scope.
pub fn is_noio() -> bool {
    // SAFETY: The current task is valid, and only the task itself writes its flags.
    unsafe { (*kernel::task::Task::current_raw()).flags & bindings::PF_MEMALLOC_NOIO != 0 }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        // SAFETY: `saved` comes from `noio_save` in this task, since the value cannot leave it.
        unsafe { bindings::noio_restore(self.saved) };
    }
}

/// A locked mutex and the scope that began before it was locked.
pub struct NoIoGuard<'a, T> {
    /// Unlocks first.
    guard: MutexGuard<'a, T>,
    _scope: NoIo,
}

/// Locks a mutex of code that writeback waits for: its holder must not wait for writeback either.
pub fn lock<T>(mutex: &Mutex<T>) -> NoIoGuard<'_, T> {
    let scope = NoIo::enter();
    NoIoGuard {
        guard: mutex.lock(),
        _scope: scope,
    }
}

impl<T> Deref for NoIoGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: Unpin> DerefMut for NoIoGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[kunit_tests(oxen_reclaim)]
mod tests {
    use super::*;
    use kernel::new_mutex;

    #[test]
    fn a_scope_ends_with_its_value_and_with_the_outer_one_only() {
        assert!(!is_noio());
        let outer = NoIo::enter();
        assert!(is_noio());
        drop(NoIo::enter());
        assert!(is_noio());
        drop(outer);
        assert!(!is_noio());
    }

    #[test]
    fn a_mutex_is_held_in_a_scope() -> Result {
        let mutex = KBox::pin_init(new_mutex!(1), GFP_KERNEL)?;
        let mut held = lock(&mutex);
        *held += 1;
        assert!(is_noio() && *held == 2);
        drop(held);
        assert!(!is_noio() && *mutex.lock() == 2);
        Ok(())
    }
}
