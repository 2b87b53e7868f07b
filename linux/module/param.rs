// SPDX-License-Identifier: GPL-2.0

//! Module parameters: words, numbers and truth values.
//!
//! The `kernel` crate has no words, truth values from Linux 7.3 on only, and reads numbers in another way since then.
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

/// A parameter that is a number or yes or no, set at load time; a live one also later, in sysfs.
pub struct Param<T: Kind> {
    value: UnsafeCell<T>,
}

// SAFETY: As for `TextParam`; a live one is a word, which is written and read whole.
unsafe impl<T: Kind> Sync for Param<T> {}

impl<T: Kind> Param<T> {
    /// A parameter that is `default` unless it is given.
    pub const fn new(default: T) -> Self {
        Self {
            value: UnsafeCell::new(default),
        }
    }

    /// Its value.
    pub fn get(&self) -> T {
        // SAFETY: `OPS` have written a valid value, and only a live one, a word, is written while the module's code runs.
        unsafe { self.value.get().read_volatile() }
    }
}

/// What a [`Param`] can be.
///
/// # Safety
///
/// `OPS` write a valid value of this type.
pub unsafe trait Kind: Copy + 'static {
    #[doc(hidden)]
    const OPS: *const bindings::kernel_param_ops;
}

// SAFETY: A C `bool` is a Rust one.
unsafe impl Kind for bool {
    const OPS: *const bindings::kernel_param_ops = &raw const bindings::param_ops_bool;
}

// SAFETY: C's `unsigned int` has 32 bits.
unsafe impl Kind for u32 {
    const OPS: *const bindings::kernel_param_ops = &raw const bindings::param_ops_uint;
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

/// Mode of the file under `/sys/module/*/parameters`: all may read it.
const SEEN: u16 = 0o444;

impl Entry {
    #[doc(hidden)]
    pub const fn text(name: &'static CStr, descriptor: &'static Descriptor) -> Self {
        Self::new(
            name,
            SEEN,
            &raw const bindings::param_ops_string,
            bindings::kernel_param__bindgen_ty_1 {
                str_: core::ptr::from_ref(&descriptor.0),
            },
        )
    }

    #[doc(hidden)]
    pub const fn plain<T: Kind>(name: &'static CStr, param: &'static Param<T>) -> Self {
        Self::of(name, SEEN, param)
    }

    #[doc(hidden)]
    pub const fn live(name: &'static CStr, param: &'static Param<u32>) -> Self {
        Self::of(name, SEEN | 0o200, param)
    }

    const fn of<T: Kind>(name: &'static CStr, mode: u16, param: &'static Param<T>) -> Self {
        Self::new(
            name,
            mode,
            T::OPS,
            bindings::kernel_param__bindgen_ty_1 {
                arg: param.value.get().cast(),
            },
        )
    }

    const fn new(
        name: &'static CStr,
        mode: u16,
        ops: *const bindings::kernel_param_ops,
        place: bindings::kernel_param__bindgen_ty_1,
    ) -> Self {
        Self(bindings::kernel_param {
            name: kernel::str::as_char_ptr_in_const_context(name),
            // With none, the lock of the kernel's own parameters is taken.
            mod_: core::ptr::null_mut(),
            ops,
            perm: mode,
            level: -1,
            flags: 0,
            __bindgen_anon_1: place,
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

/// What modinfo shows of a parameter.
#[doc(hidden)]
#[macro_export]
macro_rules! param_info {
    ($name:literal, $type:literal, $text:literal) => {
        const PARM: &str = concat!("parm=", $name, ":", $text, "\0");
        const TYPE: &str = concat!("parmtype=", $name, ":", $type, "\0");

        #[link_section = ".modinfo"]
        #[used(compiler)]
        static MODINFO_PARM: [u8; PARM.len()] = $crate::module::param::modinfo(PARM);
        #[link_section = ".modinfo"]
        #[used(compiler)]
        static MODINFO_TYPE: [u8; TYPE.len()] = $crate::module::param::modinfo(TYPE);
    };
}

/// Defines a module parameter that is a number or yes or no.
///
/// ```ignore
/// linux::param!(FIFO: bool = true, "fifo", c"fifo", "Use the FIFO layout");
/// linux::param!(QUEUES: u32 = 4, "queues", c"queues", "Most queues");
/// linux::param!(live PATIENCE: u32 = 0, "patience", c"patience", "Seconds; root can change it in sysfs");
/// ```
#[macro_export]
macro_rules! param {
    (live $static:ident: u32 = $default:expr, $name:literal, $cname:literal, $text:literal) => {
        $crate::param!(@ live, $static, u32, "uint", $default, $name, $cname, $text);
    };
    ($static:ident: bool = $default:expr, $name:literal, $cname:literal, $text:literal) => {
        $crate::param!(@ plain, $static, bool, "bool", $default, $name, $cname, $text);
    };
    ($static:ident: u32 = $default:expr, $name:literal, $cname:literal, $text:literal) => {
        $crate::param!(@ plain, $static, u32, "uint", $default, $name, $cname, $text);
    };
    (@ $how:ident, $static:ident, $type:ty, $word:literal, $default:expr, $name:literal, $cname:literal, $text:literal) => {
        static $static: $crate::module::param::Param<$type> =
            $crate::module::param::Param::new($default);

        const _: () = {
            $crate::param_info!($name, $word, $text);

            #[link_section = "__param"]
            #[used(compiler)]
            static ENTRY: $crate::module::param::Entry =
                $crate::module::param::Entry::$how($cname, &$static);
        };
    };
}

/// Defines a module parameter that is a word.
///
/// ```ignore
/// linux::text_param!(UPCALL, "upcall", c"upcall", "vector or intx");
/// ```
#[macro_export]
macro_rules! text_param {
    ($static:ident, $name:literal, $cname:literal, $text:literal) => {
        static $static: $crate::module::param::TextParam = $crate::module::param::TextParam::new();

        const _: () = {
            $crate::param_info!($name, "string", $text);

            static DESCRIPTOR: $crate::module::param::Descriptor = $static.descriptor();
            #[link_section = "__param"]
            #[used(compiler)]
            static ENTRY: $crate::module::param::Entry =
                $crate::module::param::Entry::text($cname, &DESCRIPTOR);
        };
    };
}
