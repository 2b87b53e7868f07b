// SPDX-License-Identifier: GPL-2.0

//! A handler on an interrupt line that exists already and may be shared.

use crate::bindings;
use core::ffi::c_void;
use kernel::{
    error::to_result,
    prelude::*,
    sync::Arc, //
};

/// What is called when the line is raised.
pub trait Handler: Send + Sync + 'static {
    /// Handles the interrupt, in hard-irq context. Returns whether it was ours.
    fn interrupt(&self) -> bool;
}

/// A handler on a line. Drop waits for a running handler and takes it off.
///
/// # Invariants
///
/// `irq` was requested with `dev`, a counted reference, as its cookie.
pub struct Line<H: Handler> {
    irq: u32,
    dev: *const H,
}

// SAFETY: Only the irq core uses the pointer, and `H` can be shared between CPUs.
unsafe impl<H: Handler> Send for Line<H> {}
// SAFETY: As above.
unsafe impl<H: Handler> Sync for Line<H> {}

impl<H: Handler> Line<H> {
    /// Puts `handler` on line `irq`, which others may share.
    ///
    /// # Errors
    ///
    /// What the irq core says. May sleep.
    pub fn new(irq: u32, name: &'static CStr, handler: Arc<H>) -> Result<Self> {
        let dev = Arc::into_raw(handler);
        let flags = bindings::IRQF_SHARED | bindings::IRQF_NO_THREAD | bindings::IRQF_NOBALANCING;
        // SAFETY: The handler matches the cookie, which stays valid until `free_irq`; the name is static.
        let requested = to_result(unsafe {
            bindings::request_threaded_irq(
                irq,
                Some(Self::handle),
                None,
                flags as usize,
                name.as_char_ptr(),
                dev.cast_mut().cast(),
            )
        });
        if let Err(error) = requested {
            // SAFETY: The reference from `into_raw` was not handed on.
            drop(unsafe { Arc::from_raw(dev) });
            return Err(error);
        }
        // INVARIANT: Requested above.
        Ok(Self { irq, dev })
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn handle(_irq: c_int, dev: *mut c_void) -> bindings::irqreturn_t {
        // SAFETY: The cookie stays counted until `free_irq`.
        if unsafe { &*dev.cast::<H>() }.interrupt() {
            bindings::irqreturn_IRQ_HANDLED
        } else {
            bindings::irqreturn_IRQ_NONE
        }
    }
}

impl<H: Handler> Drop for Line<H> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; after `free_irq` the cookie is not used any more.
        unsafe {
            bindings::free_irq(self.irq, self.dev.cast_mut().cast());
            drop(Arc::from_raw(self.dev));
        }
    }
}
