// SPDX-License-Identifier: GPL-2.0

//! Read-only files of a bus's devices in sysfs.
//!
//! C header: `include/linux/sysfs.h`.

use core::{
    fmt::Write as _,
    mem::offset_of,
    ptr,
    slice, //
};

use kernel::{
    bindings,
    ffi::c_char,
    fmt,
    page::PAGE_SIZE,
    prelude::*,
    str::Formatter, //
};

use super::device::{
    Bus,
    Device, //
};

/// A file as the driver core knows it.
#[repr(C)]
struct Raw<B: Bus> {
    attr: bindings::device_attribute,
    show: fn(&Device<B>, &mut dyn fmt::Write) -> fmt::Result,
}

/// The files of all devices of a bus.
///
/// # Invariants
///
/// `list` points to the files in `raw` and ends with a null pointer; `group` points to `list` and `groups` to `group`, and
/// ends with a null pointer. None of the vectors changes.
pub(super) struct Attributes<B: Bus> {
    #[expect(dead_code)]
    raw: KVec<Raw<B>>,
    #[expect(dead_code)]
    list: KVec<*mut bindings::attribute>,
    #[expect(dead_code)]
    group: KBox<bindings::attribute_group>,
    groups: KVec<*const bindings::attribute_group>,
}

impl<B: Bus> Attributes<B> {
    pub(super) fn new() -> Result<Self> {
        let mut raw = KVec::with_capacity(B::ATTRIBUTES.len(), GFP_KERNEL)?;
        for attribute in B::ATTRIBUTES {
            let mut attr = bindings::device_attribute::default();
            attr.attr.name = attribute.name.as_char_ptr();
            attr.attr.mode = 0o444;
            attr.__bindgen_anon_1.show = Some(show_callback::<B>);
            let show = attribute.show;
            raw.push(Raw { attr, show }, GFP_KERNEL)?;
        }
        let mut list = KVec::with_capacity(raw.len().saturating_add(1), GFP_KERNEL)?;
        for file in raw.iter_mut() {
            let attr = &raw mut file.attr.attr;
            // SAFETY: The attribute is valid. Lockdep wants to hear of those that are not static.
            unsafe { crate::bindings::sysfs_attr_init(attr.cast()) };
            list.push(attr, GFP_KERNEL)?;
        }
        list.push(ptr::null_mut(), GFP_KERNEL)?;
        let mut group = KBox::new(bindings::attribute_group::default(), GFP_KERNEL)?;
        group.__bindgen_anon_2.attrs = list.as_mut_ptr();
        let mut groups = KVec::with_capacity(2, GFP_KERNEL)?;
        groups.push(ptr::from_ref(&*group), GFP_KERNEL)?;
        groups.push(ptr::null(), GFP_KERNEL)?;
        // INVARIANT: As built above; the heap blocks stay where they are when the vectors and the box move.
        Ok(Self {
            raw,
            list,
            group,
            groups,
        })
    }

    /// Returns what `struct bus_type` points to; valid as long as `self`.
    pub(super) fn groups(&self) -> *const *const bindings::attribute_group {
        self.groups.as_ptr()
    }
}

/// # Safety
///
/// Called by the driver core with a device of the bus `B`, one of our files, and a page for its content.
unsafe extern "C" fn show_callback<B: Bus>(
    dev: *mut bindings::device,
    attr: *mut bindings::device_attribute,
    buf: *mut c_char,
) -> isize {
    // SAFETY: By the safety requirements.
    let device = unsafe { Device::<B>::from_raw(dev) };
    // SAFETY: The file is the field of a `Raw<B>` that lives as long as the bus.
    let show = unsafe { (*attr.byte_sub(offset_of!(Raw<B>, attr)).cast::<Raw<B>>()).show };
    // SAFETY: The buffer is a page that belongs to us until we return.
    let page = unsafe { slice::from_raw_parts_mut(buf.cast::<u8>(), PAGE_SIZE - 1) };
    let mut text = Formatter::new(page);
    if show(device, &mut text)
        .and_then(|()| text.write_str("\n"))
        .is_err()
    {
        return EIO.to_errno() as isize;
    }
    text.bytes_written().min(PAGE_SIZE) as isize
}
