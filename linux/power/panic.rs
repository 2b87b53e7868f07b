// SPDX-License-Identifier: GPL-2.0

//! The end of a panic.
//!
//! A panic prints, lets those who save the log do so, flushes the consoles and then restarts the machine or waits for
//! ever. A [`Hook`] is called in the place of either, when all else has been done. It is a dumper of the log: they are
//! called twice, in the panic and by the emergency restart.
//!
//! C headers: `include/linux/panic.h`, `include/linux/kmsg_dump.h`

use core::{
    cell::UnsafeCell,
    mem::offset_of, //
};

use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

use crate::bindings;

/// What is done at the end of a panic.
pub trait AtPanic: Send + 'static {
    /// The kernel has panicked, and said and saved what it could. If this returns, it restarts. Called once at most.
    ///
    /// No other CPU runs, interrupts are off. Must neither sleep nor wait for a lock or without a limit.
    fn end(&mut self);
}

/// A hook at the end of a panic, until it is dropped.
///
/// With a crash kernel loaded the panic ends there and not here. Where `panic=` gives a number of seconds, the hook is
/// called after as many; where it gives none, at once.
///
/// # Invariants
///
/// `dumper` is registered until `drop`. Once registered, only who sets `ended` uses `at_panic`.
#[pin_data(PinnedDrop)]
pub struct Hook<T: AtPanic> {
    #[pin]
    dumper: Opaque<bindings::kmsg_dumper>,
    panicked: Atomic<bool>,
    ended: Atomic<bool>,
    at_panic: UnsafeCell<T>,
}

// SAFETY: A dumper may be unregistered from any thread.
unsafe impl<T: AtPanic> Send for Hook<T> {}
// SAFETY: By the type invariants a shared reference gives nothing away, but to one, once.
unsafe impl<T: AtPanic> Sync for Hook<T> {}

impl<T: AtPanic> Hook<T> {
    /// Registers a hook.
    pub fn new(at_panic: T) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            panicked: Atomic::new(false),
            ended: Atomic::new(false),
            at_panic: UnsafeCell::new(at_panic),
            // The last field: from here on it can be called.
            dumper <- Opaque::try_ffi_init(|slot: *mut bindings::kmsg_dumper| {
                let dumper = bindings::kmsg_dumper {
                    dump: Some(Self::dump),
                    max_reason: bindings::kmsg_dump_reason_KMSG_DUMP_EMERG,
                    ..pin_init::zeroed()
                };
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(dumper) };
                // SAFETY: The structure is complete, pinned, and unregistered before it goes away.
                to_result(unsafe { bindings::kmsg_dump_register(slot) })
            }),
        }? Error)
    }

    /// # Safety
    ///
    /// Called by the kernel for a dumper of a `Hook<T>`.
    unsafe extern "C" fn dump(
        dumper: *mut bindings::kmsg_dumper,
        detail: *mut bindings::kmsg_dump_detail,
    ) {
        // SAFETY: The dumper is part of a `Hook<T>`, which unregisters it before it goes away.
        let this = unsafe { &*dumper.byte_sub(offset_of!(Self, dumper)).cast::<Self>() };
        // SAFETY: The kernel passes a valid structure.
        match unsafe { (*detail).reason } {
            bindings::kmsg_dump_reason_KMSG_DUMP_PANIC => {
                this.panicked.store(true, Relaxed);
                // SAFETY: The function has no requirements.
                unsafe { bindings::panic_restarts() };
            }
            bindings::kmsg_dump_reason_KMSG_DUMP_EMERG if this.panicked.load(Relaxed) => {
                if !this.ended.xchg(true, Relaxed) {
                    // SAFETY: By the type invariants nobody else has it.
                    unsafe { &mut *this.at_panic.get() }.end();
                }
            }
            _ => {}
        }
    }
}

#[pinned_drop]
impl<T: AtPanic> PinnedDrop for Hook<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants. Waits until nobody calls it any more.
        unsafe { bindings::kmsg_dump_unregister(self.dumper.get()) };
    }
}

/// Copies the last whole lines of the kernel's log that fit; returns them. For any context.
pub fn last_lines(into: &mut [u8]) -> &[u8] {
    let mut at: bindings::kmsg_dump_iter = pin_init::zeroed();
    let mut len = 0;
    // SAFETY: The position is valid for writes.
    unsafe { bindings::kmsg_dump_rewind(&mut at) };
    // SAFETY: The buffer is writable for the length that is given.
    let any = unsafe {
        bindings::kmsg_dump_get_buffer(
            &mut at,
            false,
            into.as_mut_ptr().cast(),
            into.len(),
            &mut len,
        )
    };
    let len = if any { len } else { 0 };
    into.get(..len).unwrap_or_default()
}

/// Tells whether messages of the kernel go to a console called `name`, without its number. For the end of a panic.
pub fn is_printed_on(name: &CStr) -> bool {
    // SAFETY: The name is NUL-terminated. No other CPU runs that could change the list of consoles.
    unsafe { bindings::console_prints(name.as_char_ptr()) }
}

/// Panics: as a crash on purpose.
// Inline, since objtool knows which functions do not return, and this is none of them.
#[inline]
pub fn panic(why: &CStr) -> ! {
    // SAFETY: The format and its argument are NUL-terminated.
    unsafe { bindings::panic(c"%s".as_char_ptr(), why.as_char_ptr()) }
}

#[kunit_tests(oxen_panic)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_those_printed_last() {
        let mut buffer = [0; 512];
        let line = b"a line of the test of the log's end\n";
        pr_info!("a line of the test of the log's end\n");
        let lines = last_lines(&mut buffer);
        // Another CPU may have printed since.
        assert!(lines.windows(line.len()).any(|found| found == line));
        assert!(lines.ends_with(b"\n"));
        let mut small = [0; 8];
        assert!(last_lines(&mut small).len() <= 8);
    }

    struct Never;

    impl AtPanic for Never {
        fn end(&mut self) {
            pr_err!("called without a panic\n");
        }
    }

    #[test]
    fn a_hook_can_be_taken_away_and_set_again() -> Result {
        for _ in 0..2 {
            drop(KBox::pin_init(Hook::new(Never), GFP_KERNEL)?);
        }
        Ok(())
    }
}
