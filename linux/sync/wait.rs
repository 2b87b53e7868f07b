// SPDX-License-Identifier: GPL-2.0

//! Waiting for a condition with a time limit, woken from any context.
//!
//! The kernel crate's `CondVar` needs a lock around its condition and cannot be told to wait uninterruptibly for a
//! limited time; both matter where an interrupt handler wakes a thread.
//!
//! C header: `include/linux/wait.h`.

use kernel::{
    bindings,
    prelude::*,
    sync::LockClassKey,
    time::{
        msecs_to_jiffies,
        Delta, //
    },
    types::Opaque,
};

/// Creates an initialiser of a [`WaitQueue`] with a lock class of its own.
#[macro_export]
macro_rules! new_wait_queue {
    ($name:literal) => {
        $crate::sync::wait::WaitQueue::new(::kernel::c_str!($name), ::kernel::static_lock_class!())
    };
}

/// What may end a wait besides its condition and its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Nothing.
    Uninterruptible,
    /// Nothing; for a thread whose usual state is to wait, so that it counts neither as load nor as hung.
    Idle,
    /// A signal that kills.
    Killable,
    /// Any signal.
    Interruptible,
}

impl Sleep {
    const fn state(self) -> u32 {
        match self {
            Self::Uninterruptible => bindings::TASK_UNINTERRUPTIBLE,
            Self::Idle => bindings::TASK_IDLE,
            Self::Killable => bindings::TASK_KILLABLE,
            Self::Interruptible => bindings::TASK_INTERRUPTIBLE,
        }
    }
}

/// How a wait ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The condition holds.
    Ready,
    /// The limit was reached.
    TimedOut,
    /// A signal came.
    Signal,
}

/// A queue of threads that wait (`struct wait_queue_head`).
#[pin_data]
pub struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: A wait queue has a lock of its own and may be used from any context.
unsafe impl Send for WaitQueue {}
// SAFETY: As above.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// Makes an empty queue; use [`new_wait_queue!`](crate::new_wait_queue).
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid for writes; name and key live forever.
            head <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
        })
    }

    /// Makes every waiter look at its condition again. Usable in any context, interrupts included.
    pub fn wake_all(&self) {
        // SAFETY: The queue is initialised and pinned.
        unsafe {
            bindings::__wake_up(
                self.head.get(),
                bindings::TASK_NORMAL,
                0,
                core::ptr::null_mut(),
            )
        };
    }

    /// Waits until `condition` holds, no longer than `limit` if there is one.
    ///
    /// What makes the condition true has to call [`Self::wake_all`] afterwards. The condition must not sleep.
    pub fn wait(
        &self,
        sleep: Sleep,
        limit: Option<Delta>,
        mut condition: impl FnMut() -> bool,
    ) -> Woken {
        if condition() {
            return Woken::Ready;
        }
        let mut left = limit.map_or(isize::MAX, |limit| {
            let millis = limit.as_nanos().max(0).saturating_add(999_999) / 1_000_000;
            let millis = u32::try_from(millis).unwrap_or(u32::MAX);
            isize::try_from(msecs_to_jiffies(millis)).unwrap_or(isize::MAX)
        });
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: The entry is valid for writes, and does not move.
        unsafe { bindings::init_wait_entry(entry.get(), 0) };
        loop {
            // SAFETY: Head and entry are initialised; the entry leaves the queue below before it goes away.
            let signal = unsafe {
                bindings::prepare_to_wait_event(
                    self.head.get(),
                    entry.get(),
                    sleep.state() as kernel::ffi::c_int,
                )
            };
            let woken = if condition() {
                Some(Woken::Ready)
            } else if signal != 0 {
                Some(Woken::Signal)
            } else if left == 0 {
                Some(Woken::TimedOut)
            } else {
                None
            };
            if let Some(woken) = woken {
                // SAFETY: As above; this takes the entry out of the queue.
                unsafe { bindings::finish_wait(self.head.get(), entry.get()) };
                return woken;
            }
            // SAFETY: Any number of jiffies is allowed.
            left = unsafe { bindings::schedule_timeout(left) };
        }
    }

    /// Returns the C structure.
    pub(crate) fn as_raw(&self) -> *mut bindings::wait_queue_head {
        self.head.get()
    }
}

#[kunit_tests(oxen_wait)]
mod tests {
    use super::*;
    use kernel::sync::Arc;

    fn queue() -> Result<Arc<WaitQueue>> {
        Arc::pin_init(new_wait_queue!("oxen_wait_test"), GFP_KERNEL)
    }

    #[test]
    fn a_condition_that_holds_is_not_waited_for() -> Result {
        let woken = queue()?.wait(Sleep::Interruptible, None, || true);
        assert!(woken == Woken::Ready);
        Ok(())
    }

    #[test]
    fn the_limit_ends_a_wait_and_the_condition_is_looked_at_last() -> Result {
        let mut looks = 0;
        let limit = Some(Delta::from_millis(30));
        let woken = queue()?.wait(Sleep::Killable, limit, || {
            looks += 1;
            false
        });
        assert!(woken == Woken::TimedOut && looks >= 2);
        Ok(())
    }

    #[test]
    fn no_time_at_all_is_a_limit_too() -> Result {
        let woken = queue()?.wait(Sleep::Idle, Some(Delta::from_millis(0)), || false);
        assert!(woken == Woken::TimedOut);
        Ok(())
    }
}
