// SPDX-License-Identifier: GPL-2.0

//! Bindings of the C APIs in `bindings_helper.h`, made by bindgen at build time.
//!
//! They are types of their own: a `struct device` of `kernel::bindings` is the
//! same memory but another Rust type, so cast the pointer where both meet.
//! A helper `oxen_helper_NAME()` of `helpers.c` is `NAME()` here.
//!
//! A crate of their own, because they take longer to compile than all else:
//! they are compiled again when a header changes, not when `linux` does.

#![allow(unknown_lints)]
#![allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ptr_cast_constness,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    rustdoc::all,
    unnecessary_transmutes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

mod raw {
    use pin_init::{
        MaybeZeroable,
        Zeroable, //
    };

    type __kernel_size_t = usize;
    type __kernel_ssize_t = isize;
    type __kernel_ptrdiff_t = isize;

    // SAFETY: `__BindgenBitfieldUnit<Storage>` is a newtype around `Storage`.
    unsafe impl<Storage> Zeroable for __BindgenBitfieldUnit<Storage> where Storage: Zeroable {}

    include!(concat!(env!("OXEN_BINDINGS"), "/bindings_generated.rs"));
}

mod helpers {
    use super::raw::*;

    include!(concat!(env!("OXEN_BINDINGS"), "/helpers_generated.rs"));
}

pub use helpers::*;
pub use raw::*;
