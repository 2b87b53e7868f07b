// SPDX-License-Identifier: GPL-2.0

//! Module parameters that are words; the kernel crate has only numbers and truth values.
//!
//! C header: `include/linux/moduleparam.h`

use core::cell::UnsafeCell;
use kernel::{
    bindings,
    ffi::{
        c_char,
        c_uint,
        CStr, //
    },
};

const SIZE: usize = 64;

/// A parameter of up to 63 characters, set at load time.
pub struct TextParam {
    text: UnsafeCell<[u8; SIZE]>,
}

// SAFETY: The kernel writes the text while it loads the module, before any of its code runs; later it is only read.
unsafe impl Sync for TextParam {}

impl TextParam {
    /// A parameter that was not given.
    #[expect(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            text: UnsafeCell::new([0; SIZE]),
        }
    }

    /// What was given; empty if nothing was, or no UTF-8.
    pub fn get(&self) -> &str {
        // SAFETY: Nothing writes any more once the module's code runs.
        let text = unsafe { &*self.text.get() };
        CStr::from_bytes_until_nul(text)
            .ok()
            .and_then(|text| text.to_str().ok())
            .map_or("", |text| text.trim())
    }

    #[doc(hidden)]
    pub const fn descriptor(&'static self) -> Descriptor {
        Descriptor(bindings::kparam_string {
            maxlen: SIZE as c_uint,
            string: self.text.get().cast::<c_char>(),
        })
    }
}

#[doc(hidden)]
#[repr(transparent)]
pub struct Descriptor(bindings::kparam_string);

// SAFETY: Only the kernel's parameter code uses it, one load at a time.
unsafe impl Sync for Descriptor {}

#[doc(hidden)]
#[repr(transparent)]
pub struct Entry(bindings::kernel_param);

// SAFETY: As for `Descriptor`.
unsafe impl Sync for Entry {}

impl Entry {
    #[doc(hidden)]
    pub const fn new(name: &'static CStr, descriptor: &'static Descriptor) -> Self {
        Self(bindings::kernel_param {
            name: kernel::str::as_char_ptr_in_const_context(name),
            // Only used for parameters in sysfs, and ours are not there.
            mod_: core::ptr::null_mut(),
            ops: &raw const bindings::param_ops_string,
            perm: 0,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                str_: core::ptr::from_ref(&descriptor.0),
            },
        })
    }
}

#[doc(hidden)]
pub const fn modinfo<const N: usize>(text: &str) -> [u8; N] {
    match text.as_bytes().first_chunk() {
        Some(bytes) => *bytes,
        None => panic!("the length is that of the text"),
    }
}

/// Defines a module parameter that is a word.
///
/// ```ignore
/// linux::text_param!(UPCALL, "upcall", c"upcall", "vector or intx");
/// ```
#[macro_export]
macro_rules! text_param {
    ($static:ident, $name:literal, $cname:literal, $text:literal) => {
        static $static: $crate::param::TextParam = $crate::param::TextParam::new();

        const _: () = {
            const PARM: &str = concat!("parm=", $name, ":", $text, "\0");
            const TYPE: &str = concat!("parmtype=", $name, ":string\0");

            #[link_section = ".modinfo"]
            #[used]
            static MODINFO_PARM: [u8; PARM.len()] = $crate::param::modinfo(PARM);
            #[link_section = ".modinfo"]
            #[used]
            static MODINFO_TYPE: [u8; TYPE.len()] = $crate::param::modinfo(TYPE);

            static DESCRIPTOR: $crate::param::Descriptor = $static.descriptor();
            #[link_section = "__param"]
            #[used]
            static ENTRY: $crate::param::Entry = $crate::param::Entry::new($cname, &DESCRIPTOR);
        };
    };
}
