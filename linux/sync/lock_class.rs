// SPDX-License-Identifier: GPL-2.0

//! Classes of the locks that generic code makes (C header: `include/linux/lockdep_types.h`).
//!
//! Lockdep compares the names of classes by address. A name that is written in a generic function has another address
//! in each crate that uses it, while the key next to it is shared: two drivers would be one class with two names.

/// Gives the name and the key of a class of locks, the same ones for every crate that uses the function around it.
macro_rules! lock_class {
    ($name:literal) => {{
        #[inline(never)]
        fn class() -> (
            &'static ::kernel::str::CStr,
            ::core::pin::Pin<&'static ::kernel::sync::LockClassKey>,
        ) {
            ($name, ::kernel::static_lock_class!())
        }
        class()
    }};
}
pub(crate) use lock_class;
