// SPDX-License-Identifier: GPL-2.0

//! What `drivers/tty/hvc/hvc_console.h` declares, and the functions that the layer calls.

use super::state::{
    with_backend,
    Output, //
};
use crate::bindings;
use core::{
    ffi::c_int,
    slice, //
};
use kernel::error::code::{
    EAGAIN,
    EIO, //
};

/// `struct hvc_struct`, of which nothing is known here.
#[repr(C)]
pub(super) struct Hvc {
    _private: [u8; 0],
}

/// `struct hv_ops`.
#[repr(C)]
pub(super) struct Ops {
    pub(super) get_chars:
        Option<unsafe extern "C" fn(number: u32, into: *mut u8, len: usize) -> isize>,
    pub(super) put_chars:
        Option<unsafe extern "C" fn(number: u32, from: *const u8, len: usize) -> isize>,
    pub(super) flush: Option<unsafe extern "C" fn(number: u32, may_sleep: bool) -> c_int>,
    notifier_add: Option<unsafe extern "C" fn(structure: *mut Hvc, data: c_int) -> c_int>,
    notifier_del: Option<unsafe extern "C" fn(structure: *mut Hvc, data: c_int)>,
    notifier_hangup: Option<unsafe extern "C" fn(structure: *mut Hvc, data: c_int)>,
    tiocmget: Option<unsafe extern "C" fn(structure: *mut Hvc) -> c_int>,
    tiocmset: Option<unsafe extern "C" fn(structure: *mut Hvc, set: u32, clear: u32) -> c_int>,
    dtr_rts: Option<unsafe extern "C" fn(structure: *mut Hvc, active: bool)>,
}

/// Our functions. The optional ones are absent: input is announced by `hvc_kick`, and there are no modem lines.
pub(super) static OPS: Ops = Ops {
    get_chars: Some(get_chars),
    put_chars: Some(put_chars),
    flush: Some(flush),
    notifier_add: None,
    notifier_del: None,
    notifier_hangup: None,
    tiocmget: None,
    tiocmset: None,
    dtr_rts: None,
};

extern "C" {
    /// Names the device `index` as that of a terminal which is to be made; not 0 if it is another's.
    pub(super) fn hvc_instantiate(number: u32, index: c_int, ops: &'static Ops) -> c_int;

    /// Makes a terminal; the layer starts with the first one.
    pub(super) fn hvc_alloc(number: u32, data: c_int, ops: &'static Ops, outbuf: c_int)
        -> *mut Hvc;

    /// Takes a terminal away: no console messages from here on, and its tty is hung up.
    pub(super) fn hvc_remove(structure: *mut Hvc);

    /// Wakes the thread that polls all terminals.
    pub(super) fn hvc_kick();
}

/// A length as the layer's return value.
fn length(len: usize) -> isize {
    isize::try_from(len).unwrap_or(isize::MAX)
}

/// Gives input to a terminal; none once the backend is gone.
///
/// # Safety
///
/// `into` is writable for `len` bytes.
unsafe extern "C" fn get_chars(number: u32, into: *mut u8, len: usize) -> isize {
    if into.is_null() || len == 0 {
        return 0;
    }
    // SAFETY: By the requirement of this function; the layer passes an initialised buffer of its own, or one whose bytes
    // may be anything, since they are only written.
    let into = unsafe {
        into.write_bytes(0, len);
        slice::from_raw_parts_mut(into, len)
    };
    with_backend(number, |backend| length(backend.get(into).min(len))).unwrap_or(0)
}

/// Takes output of a terminal, of a process or of the kernel. Negative is an error, after which the layer drops what it
/// has; but after `EAGAIN` a kernel message is tried again at once, without end.
///
/// # Safety
///
/// `from` is readable for `len` bytes.
unsafe extern "C" fn put_chars(number: u32, from: *const u8, len: usize) -> isize {
    if from.is_null() || len == 0 {
        return 0;
    }
    // SAFETY: By the requirement of this function.
    let bytes = unsafe { slice::from_raw_parts(from, len) };
    // A kernel message comes in pieces of 16 bytes in a buffer on the printer's stack, and a flush ends it. What a process
    // wrote lies in the layer's structure, and nothing has to follow.
    // SAFETY: The function looks at the address only.
    let is_piece = unsafe { bindings::is_on_stack(from.cast()) };
    match with_backend(number, |backend| backend.put(bytes, is_piece)) {
        Some(Output::Taken(taken)) => length(taken.min(len)),
        Some(Output::Full) => EAGAIN.to_errno() as isize,
        Some(Output::Stalled) => 0,
        None => EIO.to_errno() as isize,
    }
}

/// Called between two tries to output, and after a kernel message. A process need not wait here: it sleeps in the tty
/// layer.
///
/// # Safety
///
/// None.
unsafe extern "C" fn flush(number: u32, may_sleep: bool) -> c_int {
    if !may_sleep {
        with_backend(number, |backend| backend.flush());
    }
    0
}
