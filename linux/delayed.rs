// SPDX-License-Identifier: GPL-2.0

//! Calls that are made later, in process context.
//!
//! The kernel crate's delayed work can be neither cancelled nor waited for, which code of a module that may be
//! unloaded has to do.
//!
//! C header: `include/linux/workqueue.h`

use crate::{
    bindings,
    lock_class::lock_class, //
};
use core::{
    mem::offset_of,
    pin::Pin, //
};
use kernel::{
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    },
    types::Opaque,
};

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
}

// SAFETY: A work item belongs to no thread; the target is behind a lock and may be sent and shared.
unsafe impl<T: Send + Sync + 'static> Send for DelayedCall<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync + 'static> Sync for DelayedCall<T> {}

impl<T: Send + Sync + 'static> DelayedCall<T> {
    /// Makes a call that is idle. When `call` returns a number, it is called again after as many milliseconds.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(call: fn(&T) -> Option<u32>) -> Result<Pin<KBox<Self>>> {
        let (name, key) = lock_class!(c"oxen_delayed_call");
        KBox::pin_init(
            pin_init!(Self {
                // INVARIANT: initialised here.
                work <- Opaque::ffi_init(|work| {
                    // SAFETY: `work` is room for a delayed work that does not move any more.
                    unsafe { bindings::init_delayed_work(work, Some(Self::run)) }
                }),
                target <- SpinLockIrq::new(None, name, key),
                call,
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
        if target.is_some() {
            // SAFETY: The work is initialised. `stop` cancels it, after taking the target away under this lock.
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
        let offset = offset_of!(Self, work) + offset_of!(bindings::delayed_work, work);
        // SAFETY: The work item is part of a `DelayedCall<T>`, which waits for this function before it goes away.
        let this = unsafe { &*work.byte_sub(offset).cast::<Self>() };
        let Some(target) = this.target.lock().clone() else {
            return;
        };
        if let Some(delay) = (this.call)(&target) {
            this.schedule(delay);
        }
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
        testing::Steps,
        wait::Woken, //
    };

    /// Asks to be called again until it was three times.
    fn thrice(steps: &Steps) -> Option<u32> {
        steps.step();
        (steps.count() < 3).then_some(1)
    }

    type Call = Pin<KBox<DelayedCall<Steps>>>;

    fn started() -> Result<(Arc<Steps>, Call)> {
        let steps = Steps::new()?;
        let call = DelayedCall::new(thrice)?;
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
}
