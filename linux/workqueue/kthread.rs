// SPDX-License-Identifier: GPL-2.0

//! Kernel threads that end with their owner.
//!
//! C header: `include/linux/kthread.h`.

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::from_err_ptr,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    types::ForeignOwnable,
};

/// A running thread. Dropping it asks the thread to stop and waits until it has.
///
/// # Invariants
///
/// `task` is a thread made by [`Thread::spawn`] whose reference count we hold one of. `data` is the closure's box, which
/// the thread takes when it begins.
pub struct Thread {
    task: NonNull<bindings::task_struct>,
    data: *mut c_void,
    free: unsafe fn(*mut c_void),
}

// SAFETY: A thread may be stopped from any other.
unsafe impl Send for Thread {}
// SAFETY: `&Thread` gives no access.
unsafe impl Sync for Thread {}

/// Runs the closure that `data` is the box of.
///
/// # Safety
///
/// `data` comes from `KBox::<F>::into_foreign` and is not used again.
unsafe extern "C" fn run<F: FnOnce() + Send + 'static>(data: *mut c_void) -> c_int {
    // SAFETY: By the safety requirements.
    let work = unsafe { <KBox<F> as ForeignOwnable>::from_foreign(data) };
    KBox::into_inner(work)();
    0
}

/// Frees the box of a closure that never ran.
///
/// # Safety
///
/// As for [`run`].
unsafe fn free<F: FnOnce() + Send + 'static>(data: *mut c_void) {
    // SAFETY: By the safety requirements.
    drop(unsafe { <KBox<F> as ForeignOwnable>::from_foreign(data) });
}

impl Thread {
    /// Starts a thread that runs `work`. It has to return soon after [`should_stop`] says so; it may return earlier.
    ///
    /// # Errors
    ///
    /// `ENOMEM` or what the kernel reports.
    pub fn spawn<F: FnOnce() + Send + 'static>(name: &CStr, work: F) -> Result<Self> {
        let data = KBox::new(work, GFP_KERNEL)?.into_foreign();
        // SAFETY: `run::<F>` takes what `data` is; the format and its argument are NUL-terminated.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(run::<F>),
                data,
                bindings::NUMA_NO_NODE,
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })
        .and_then(|task| NonNull::new(task).ok_or(ENOMEM));
        let task = match task {
            Ok(task) => task,
            Err(error) => {
                // SAFETY: No thread was made, so nobody else has the box.
                unsafe { free::<F>(data) };
                return Err(error);
            }
        };
        // SAFETY: The thread exists and has not run yet, so its task is valid; the reference keeps it so.
        unsafe { bindings::get_task_struct(task.as_ptr()) };
        // SAFETY: The task is valid.
        unsafe { bindings::wake_up_process(task.as_ptr()) };
        // INVARIANT: The reference was taken above, and `data` belongs to the thread.
        Ok(Self {
            task,
            data,
            free: free::<F>,
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; this gives our reference back.
        let result = unsafe { bindings::kthread_stop_put(self.task.as_ptr()) };
        if result != 0 {
            // SAFETY: `run` returns 0, so it never began and the box is still whole.
            unsafe { (self.free)(self.data) };
        }
    }
}

/// Tells a thread made by [`Thread::spawn`] that its owner waits for it to return.
///
/// In any other thread it says `false`.
pub fn should_stop() -> bool {
    // SAFETY: `current` is valid; the flag is looked up only for kernel threads.
    unsafe {
        let current = kernel::task::Task::current_raw();
        (*current).flags & bindings::PF_KTHREAD != 0 && bindings::kthread_should_stop()
    }
}

#[kunit_tests(oxen_kthread)]
mod tests {
    use super::*;
    use crate::{
        sync::wait::Woken,
        testing::Steps, //
    };

    #[test]
    fn the_drop_waits_for_the_end() -> Result {
        let steps = Steps::new()?;
        let theirs = steps.clone();
        let thread = Thread::spawn(c"oxen_test", move || {
            theirs.step();
            theirs.poll(should_stop);
            theirs.step();
        })?;
        // One that has not begun yet would never begin.
        assert!(steps.wait(1, 20_000) == Woken::Ready);
        assert_eq!(steps.count(), 1);
        drop(thread);
        assert_eq!(steps.count(), 2);
        Ok(())
    }

    #[test]
    fn one_that_returned_by_itself_is_dropped_as_well() -> Result {
        let steps = Steps::new()?;
        let theirs = steps.clone();
        let thread = Thread::spawn(c"oxen_test", move || theirs.step())?;
        assert!(steps.wait(1, 20_000) == Woken::Ready);
        drop(thread);
        Ok(())
    }

    #[test]
    fn no_other_thread_is_to_stop() {
        assert!(!should_stop());
    }
}
