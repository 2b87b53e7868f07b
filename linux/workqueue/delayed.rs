// SPDX-License-Identifier: GPL-2.0

//! Calls that are made later, in process context.
//!
//! The kernel crate's delayed work can be neither cancelled nor waited for, which code of a module that may be
//! unloaded has to do.
//!
//! C header: `include/linux/workqueue.h`

use crate::{
    bindings,
    mm::reclaim::NoIo,
    sync::lock_class::lock_class, //
};
use core::{
    mem::offset_of,
    pin::Pin, //
};
use kernel::{
    prelude::*,
    sync::{
        Arc,
        LockClassKey, //
    },
    types::Opaque, //
};

use crate::sync::irq_lock::SpinLockIrq;

/// Makes an idle [`DelayedCall`] with a lock class of its own: `new_delayed_call!("name", function)`.
#[macro_export]
macro_rules! new_delayed_call {
    ($name:literal, $call:expr) => {
        $crate::workqueue::delayed::DelayedCall::new(
            $call,
            ::kernel::c_str!($name),
            ::kernel::static_lock_class!(),
        )
    };
}

/// As [`new_delayed_call!`], for a call that writeback may wait for: it is made on the block layer's own queue, which
/// has a thread for when memory is too short to make one, and does not wait for I/O. It must not take long.
#[macro_export]
macro_rules! new_block_call {
    ($name:literal, $call:expr) => {
        $crate::workqueue::delayed::DelayedCall::for_block(
            $call,
            ::kernel::c_str!($name),
            ::kernel::static_lock_class!(),
        )
    };
}

/// A function to be called on a `T`, never twice at once.
///
/// It is idle until [`start`](Self::start) and again after [`stop`](Self::stop), so that `T` may own it.
///
/// # Invariants
///
/// `work` is an initialised delayed work whose function is `Self::run`.
#[pin_data(PinnedDrop)]
pub struct DelayedCall<T: Send + Sync + 'static> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    #[pin]
    target: SpinLockIrq<Option<Arc<T>>>,
    call: fn(&T) -> Option<u32>,
    block: bool,
}

// SAFETY: A work item belongs to no thread; the target is behind a lock and may be sent and shared.
unsafe impl<T: Send + Sync + 'static> Send for DelayedCall<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync + 'static> Sync for DelayedCall<T> {}

impl<T: Send + Sync + 'static> DelayedCall<T> {
    /// Makes a call that is idle; use [`new_delayed_call!`](crate::new_delayed_call).
    ///
    /// When `call` returns a number, it is called again after as many milliseconds. Lockdep takes waiting for the call
    /// as taking a lock of the class `name` and `class`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(
        call: fn(&T) -> Option<u32>,
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> Result<Pin<KBox<Self>>> {
        Self::make(call, name, class, false)
    }

    /// As [`new`](Self::new), on the block layer's queue; use [`new_block_call!`](crate::new_block_call).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn for_block(
        call: fn(&T) -> Option<u32>,
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> Result<Pin<KBox<Self>>> {
        Self::make(call, name, class, true)
    }

    fn make(
        call: fn(&T) -> Option<u32>,
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
        block: bool,
    ) -> Result<Pin<KBox<Self>>> {
        let (target_name, target_class) = lock_class!(c"oxen_delayed_call");
        KBox::pin_init(
            pin_init!(Self {
                // INVARIANT: initialised here.
                work <- Opaque::ffi_init(|work| {
                    // SAFETY: `work` is room for a delayed work that does not move any more; name and class are static.
                    unsafe {
                        bindings::init_delayed_work(
                            work,
                            Some(Self::run),
                            name.as_char_ptr(),
                            class.as_ptr().cast(),
                        )
                    }
                }),
                target <- SpinLockIrq::new(None, target_name, target_class),
                call,
                block,
            }),
            GFP_KERNEL,
        )
    }

    /// Lets the call be scheduled, on `target`.
    pub fn start(&self, target: Arc<T>) {
        let old = self.target.lock().replace(target);
        drop(old);
    }

    /// Has the call made in `delay_ms` milliseconds, or at once if it is 0. A later time replaces an earlier one.
    ///
    /// From any context. Does nothing while the call is idle.
    pub fn schedule(&self, delay_ms: u32) {
        let target = self.target.lock();
        if target.is_none() {
            return;
        }
        if self.block {
            // SAFETY: The work is initialised. `stop` cancels it, after taking the target away under this lock.
            unsafe { bindings::schedule_block_ms(self.work.get(), delay_ms) };
        } else {
            // SAFETY: As above.
            unsafe { bindings::schedule_delayed_ms(self.work.get(), delay_ms) };
        }
    }

    /// Makes the call idle and waits until it is not running. May sleep; not from the call itself.
    pub fn stop(&self) {
        let target = self.target.lock().take();
        // SAFETY: The work is initialised. Nobody schedules it any more: there is no target.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
        drop(target);
    }

    /// # Safety
    ///
    /// Called by the kernel for the work of a `DelayedCall<T>`.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        let offset = offset_of!(Self, work).wrapping_add(offset_of!(bindings::delayed_work, work));
        // SAFETY: The work item is part of a `DelayedCall<T>`, which waits for this function before it goes away.
        let this = unsafe { &*work.byte_sub(offset).cast::<Self>() };
        let Some(target) = this.target.lock().clone() else {
            return;
        };
        let no_io = this.block.then(NoIo::enter);
        if let Some(delay) = (this.call)(&target) {
            this.schedule(delay);
        }
        drop(no_io);
    }
}

#[pinned_drop]
impl<T: Send + Sync + 'static> PinnedDrop for DelayedCall<T> {
    fn drop(self: Pin<&mut Self>) {
        self.stop();
    }
}

#[kunit_tests(oxen_delayed)]
mod tests {
    use super::*;
    use crate::{
        sync::wait::Woken,
        testing::Steps, //
    };
    use kernel::{
        new_mutex,
        sync::Mutex, //
    };

    /// Asks to be called again until it was three times.
    fn thrice(steps: &Steps) -> Option<u32> {
        steps.step();
        (steps.count() < 3).then_some(1)
    }

    type Call = Pin<KBox<DelayedCall<Steps>>>;

    fn started() -> Result<(Arc<Steps>, Call)> {
        let steps = Steps::new()?;
        let call = new_delayed_call!("oxen_test_thrice", thrice)?;
        call.start(steps.clone());
        Ok((steps, call))
    }

    #[test]
    fn is_called_as_often_as_it_asks() -> Result {
        let (steps, call) = started()?;
        call.schedule(0);
        assert!(steps.wait(3, 20_000) == Woken::Ready);
        call.stop();
        assert_eq!(steps.count(), 3);
        Ok(())
    }

    fn in_noio(steps: &Steps) -> Option<u32> {
        if crate::mm::reclaim::is_noio() {
            steps.step();
        }
        None
    }

    #[test]
    fn a_call_of_the_block_layer_waits_for_no_io() -> Result {
        let steps = Steps::new()?;
        for (call, seen) in [
            (new_delayed_call!("oxen_test_any", in_noio)?, 0),
            (new_block_call!("oxen_test_block", in_noio)?, 1),
        ] {
            call.start(steps.clone());
            call.schedule(0);
            let _ = steps.wait(1, 2000);
            call.stop();
            assert_eq!(steps.count(), seen);
        }
        Ok(())
    }

    #[test]
    fn is_not_called_after_the_stop() -> Result {
        let (steps, call) = started()?;
        call.schedule(1_000_000);
        call.stop();
        call.schedule(0);
        assert!(steps.wait(1, 50) == Woken::TimedOut);
        Ok(())
    }

    #[test]
    fn a_later_time_replaces_an_earlier_one() -> Result {
        let (steps, call) = started()?;
        call.schedule(1_000_000);
        call.schedule(1);
        assert!(steps.wait(3, 20_000) == Woken::Ready);
        Ok(())
    }

    /// What two calls share.
    #[pin_data]
    struct Pair {
        #[pin]
        lock: Mutex<()>,
        steps: Arc<Steps>,
    }

    fn locking(pair: &Pair) -> Option<u32> {
        let _guard = pair.lock.lock();
        pair.steps.step();
        None
    }

    fn slow(pair: &Pair) -> Option<u32> {
        pair.steps.step();
        let _ = pair.steps.wait(u32::MAX, 100);
        None
    }

    /// If both calls were of one class, lockdep would report a deadlock, which fails the run.
    #[test]
    fn a_call_is_stopped_under_a_lock_that_another_takes() -> Result {
        let steps = Steps::new()?;
        let pair = Arc::pin_init(
            pin_init!(Pair {
                lock <- new_mutex!(()),
                steps,
            }),
            GFP_KERNEL,
        )?;
        let first = new_delayed_call!("oxen_test_locking", locking)?;
        let second = new_delayed_call!("oxen_test_slow", slow)?;
        first.start(pair.clone());
        second.start(pair.clone());
        first.schedule(0);
        assert!(pair.steps.wait(1, 20_000) == Woken::Ready);
        first.stop();
        second.schedule(0);
        assert!(pair.steps.wait(2, 20_000) == Woken::Ready);
        let guard = pair.lock.lock();
        second.stop();
        drop(guard);
        Ok(())
    }
}
