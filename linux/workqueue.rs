// SPDX-License-Identifier: GPL-2.0

//! Work queues of one's own, which are empty when they go away.
//!
//! The kernel crate has the shared queues only. Code of a module must not be running on a queue when the module is
//! unloaded; dropping an [`OwnedQueue`] waits for that.
//!
//! C header: `include/linux/workqueue.h`.

pub mod delayed;
pub mod kthread;
pub mod work;

use core::{
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    prelude::*,
    workqueue::Queue, //
};

/// A work queue that belongs to its owner.
///
/// # Invariants
///
/// The pointer comes from `alloc_workqueue` and is destroyed by `drop` only.
pub struct OwnedQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: A work queue may be used from any thread.
unsafe impl Send for OwnedQueue {}
// SAFETY: As above.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    /// Makes a queue whose items run on any CPU and may sleep for long.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn unbound(name: &CStr) -> Result<Self> {
        Self::new(name, bindings::wq_flags_WQ_UNBOUND)
    }

    /// As [`Self::unbound`], for items that writeback may wait for: the queue has a thread of its own for when memory is
    /// too short to make one. Items must not wait for those of other queues.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn reclaim(name: &CStr) -> Result<Self> {
        Self::new(
            name,
            bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_MEM_RECLAIM,
        )
    }

    fn new(name: &CStr, flags: bindings::wq_flags) -> Result<Self> {
        // SAFETY: The format and its argument are NUL-terminated.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(c"%s".as_char_ptr(), flags, 0, name.as_char_ptr())
        };
        // INVARIANT: It was just allocated.
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }

    /// Waits until every item that is on the queue now has run. Not from an item.
    pub fn flush(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::__flush_workqueue(self.0.as_ptr()) };
    }
}

impl Deref for OwnedQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: By the type invariant it is valid as long as `self`.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; this runs what is queued to its end first.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}

#[kunit_tests(oxen_workqueue)]
mod tests {
    use super::*;
    use kernel::sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    };

    fn queue_with(items: u32) -> Result<(OwnedQueue, Arc<Atomic<u32>>)> {
        let queue = OwnedQueue::unbound(c"oxen_queue_test")?;
        let run = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        for _ in 0..items {
            let run = run.clone();
            queue.try_spawn(GFP_KERNEL, move || run.add(1, Relaxed))?;
        }
        Ok((queue, run))
    }

    #[test]
    fn a_flush_waits_for_what_is_queued() -> Result {
        let (queue, run) = queue_with(40)?;
        queue.flush();
        assert_eq!(run.load(Relaxed), 40);
        Ok(())
    }

    #[test]
    fn nothing_runs_after_the_drop() -> Result {
        let (queue, run) = queue_with(40)?;
        drop(queue);
        assert_eq!(run.load(Relaxed), 40);
        Ok(())
    }
}
