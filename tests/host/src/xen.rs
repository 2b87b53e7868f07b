// SPDX-License-Identifier: GPL-2.0

//! Xen's public headers as the compiler sees them: sizes, offsets and constants by name, and both ends of a ring.

use std::{
    collections::BTreeMap,
    ffi::{c_char, c_int, c_ulong, c_void, CStr},
};

#[repr(C)]
struct Entry {
    name: *const c_char,
    value: u64,
}

extern "C" {
    static layout_table: Entry;
    static layout_count: c_ulong;

    fn oracle_size() -> c_ulong;
    fn oracle_init(oracle: *mut c_void, page: *mut c_void, bytes: c_ulong, start: u32);
    fn oracle_attach_back(oracle: *mut c_void, start: u32);
    fn oracle_slots(oracle: *const c_void) -> u32;
    fn oracle_front_full(oracle: *const c_void) -> c_int;
    fn oracle_front_free(oracle: *const c_void) -> u32;
    fn oracle_front_write(oracle: *mut c_void, value: u64);
    fn oracle_front_publish(oracle: *mut c_void) -> c_int;
    fn oracle_front_take(oracle: *mut c_void, value: *mut u64) -> c_int;
    fn oracle_front_arm(oracle: *mut c_void) -> c_int;
    fn oracle_back_take(oracle: *mut c_void, value: *mut u64) -> c_int;
    fn oracle_back_arm(oracle: *mut c_void) -> c_int;
    fn oracle_back_write(oracle: *mut c_void, value: u64);
    fn oracle_back_publish(oracle: *mut c_void) -> c_int;
}

/// Returns the table of `c/layout.c`: `sizeof` under the type's name, `offsetof` under `type.field`, constants under theirs.
pub fn layout() -> BTreeMap<&'static str, u64> {
    // SAFETY: The table is constant and has `layout_count` elements; names are literals.
    unsafe {
        std::slice::from_raw_parts(&raw const layout_table, layout_count as usize)
            .iter()
            .map(|entry| (CStr::from_ptr(entry.name).to_str().unwrap(), entry.value))
            .collect()
    }
}

/// Both ends of a ring of 8-byte slots in a page, driven by the macros of `io/ring.h`.
pub struct Oracle {
    state: Vec<u64>,
    page: *mut u8,
}

impl Oracle {
    /// Attaches to `bytes` bytes at `page` with all indices at `start`.
    ///
    /// # Safety
    ///
    /// The page is aligned to 8 bytes and lives as long as the oracle; nobody uses it while a method runs.
    pub unsafe fn new(page: *mut u8, bytes: usize, start: u32) -> Self {
        // SAFETY: No requirements.
        let size = unsafe { oracle_size() } as usize;
        let mut state = vec![0u64; size.div_ceil(8)];
        // SAFETY: The state has the size asked for; the page is valid as the caller says.
        unsafe {
            oracle_init(
                state.as_mut_ptr().cast(),
                page.cast(),
                bytes as c_ulong,
                start,
            )
        };
        Self { state, page }
    }

    fn state(&mut self) -> *mut c_void {
        self.state.as_mut_ptr().cast()
    }

    /// The page.
    pub fn page(&self) -> *mut u8 {
        self.page
    }
}

macro_rules! methods {
    ($($(#[$meta:meta])* $name:ident($($arg:ident: $ty:ty)?) -> $ret:ty = $function:ident, |$value:ident| $map:expr;)*) => {
        impl Oracle {
            $(
                $(#[$meta])*
                pub fn $name(&mut self $(, $arg: $ty)?) -> $ret {
                    // SAFETY: The state was initialised in `new`, where the caller vouched for the page.
                    let $value = unsafe { $function(self.state() $(, $arg)?) };
                    $map
                }
            )*
        }
    };
}

methods! {
    /// Puts the back end behind a front end of another kind, whose indices all stand at `start`.
    attach_back(start: u32) -> () = oracle_attach_back, |v| v;
    /// `RING_SIZE`.
    slots() -> u32 = oracle_slots, |v| v;
    /// `RING_FULL`.
    front_full() -> bool = oracle_front_full, |v| v != 0;
    /// `RING_FREE_REQUESTS`.
    front_free() -> u32 = oracle_front_free, |v| v;
    /// Writes a request.
    front_write(value: u64) -> () = oracle_front_write, |v| v;
    /// `RING_PUSH_REQUESTS_AND_CHECK_NOTIFY`.
    front_publish() -> bool = oracle_front_publish, |v| v != 0;
    /// `RING_FINAL_CHECK_FOR_RESPONSES`.
    front_arm() -> bool = oracle_front_arm, |v| v != 0;
    /// `RING_FINAL_CHECK_FOR_REQUESTS`.
    back_arm() -> bool = oracle_back_arm, |v| v != 0;
    /// Writes a response.
    back_write(value: u64) -> () = oracle_back_write, |v| v;
    /// `RING_PUSH_RESPONSES_AND_CHECK_NOTIFY`.
    back_publish() -> bool = oracle_back_publish, |v| v != 0;
}

impl Oracle {
    /// Takes a response, as an honest front end does.
    pub fn front_take(&mut self) -> Option<u64> {
        let mut value = 0;
        // SAFETY: As in `methods`.
        let got = unsafe { oracle_front_take(self.state(), &mut value) };
        (got != 0).then_some(value)
    }

    /// Takes a request, as an honest back end does.
    pub fn back_take(&mut self) -> Option<u64> {
        let mut value = 0;
        // SAFETY: As in `methods`.
        let got = unsafe { oracle_back_take(self.state(), &mut value) };
        (got != 0).then_some(value)
    }
}
