// SPDX-License-Identifier: GPL-2.0

//! The functions of Debian's libxengnttab, libxenevtchn and libxenstore that we use, as `xengnttab.h`, `xenevtchn.h`,
//! `xenstore.h` and `xenstore_lib.h` declare them.

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

/// `struct xs_permissions`
#[repr(C)]
pub(super) struct Permissions {
    /// Domain.
    pub(super) id: c_uint,
    /// `XS_PERM_*`
    pub(super) perms: c_uint,
}

/// `union xengnttab_copy_ptr`
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union CopyPointer {
    /// Our side.
    pub(super) virt: *mut c_void,
    /// The other domain's side.
    pub(super) foreign: Foreign,
}

/// A place in a granted page.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Foreign {
    /// Grant reference.
    pub(super) gref: u32,
    /// First byte.
    pub(super) offset: u16,
    /// Who granted it.
    pub(super) domain: u16,
}

/// `struct xengnttab_grant_copy_segment`
#[repr(C)]
pub(super) struct CopySegment {
    /// From.
    pub(super) source: CopyPointer,
    /// To.
    pub(super) dest: CopyPointer,
    /// Bytes.
    pub(super) len: u16,
    /// `GNTCOPY_*`
    pub(super) flags: u16,
    /// `GNTST_*`, written by the call.
    pub(super) status: i16,
}

/// `GNTCOPY_source_gref`
pub(super) const SOURCE_GREF: u16 = 1;
/// `GNTCOPY_dest_gref`
pub(super) const DEST_GREF: u16 = 2;
/// `XS_PERM_READ`
pub(super) const PERM_READ: c_uint = 1;
/// `XS_PERM_NONE`
pub(super) const PERM_NONE: c_uint = 0;

// As `c/layout.c` has them of the headers.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Permissions>() == 8 && offset_of!(Permissions, perms) == 4);
    assert!(size_of::<Foreign>() == 8 && offset_of!(Foreign, offset) == 4);
    assert!(offset_of!(Foreign, domain) == 6);
    assert!(size_of::<CopySegment>() == 24 && offset_of!(CopySegment, dest) == 8);
    assert!(offset_of!(CopySegment, len) == 16 && offset_of!(CopySegment, flags) == 18);
    assert!(offset_of!(CopySegment, status) == 20);
};

#[link(name = "xengnttab")]
extern "C" {
    pub(super) fn xengnttab_open(logger: *mut c_void, flags: c_uint) -> *mut c_void;
    pub(super) fn xengnttab_close(handle: *mut c_void) -> c_int;
    pub(super) fn xengnttab_map_domain_grant_refs(
        handle: *mut c_void,
        count: u32,
        domain: u32,
        refs: *mut u32,
        protection: c_int,
    ) -> *mut c_void;
    pub(super) fn xengnttab_unmap(handle: *mut c_void, start: *mut c_void, count: u32) -> c_int;
    pub(super) fn xengnttab_grant_copy(
        handle: *mut c_void,
        count: u32,
        segments: *mut CopySegment,
    ) -> c_int;
}

#[link(name = "xenevtchn")]
extern "C" {
    pub(super) fn xenevtchn_open(logger: *mut c_void, flags: c_uint) -> *mut c_void;
    pub(super) fn xenevtchn_close(handle: *mut c_void) -> c_int;
    pub(super) fn xenevtchn_fd(handle: *mut c_void) -> c_int;
    pub(super) fn xenevtchn_notify(handle: *mut c_void, port: u32) -> c_int;
    pub(super) fn xenevtchn_bind_interdomain(
        handle: *mut c_void,
        domain: u32,
        remote: u32,
    ) -> c_int;
    pub(super) fn xenevtchn_unbind(handle: *mut c_void, port: u32) -> c_int;
    pub(super) fn xenevtchn_pending(handle: *mut c_void) -> c_int;
    pub(super) fn xenevtchn_unmask(handle: *mut c_void, port: u32) -> c_int;
}

#[link(name = "xenstore")]
extern "C" {
    pub(super) fn xs_open(flags: c_ulong) -> *mut c_void;
    pub(super) fn xs_close(handle: *mut c_void);
    pub(super) fn xs_fileno(handle: *mut c_void) -> c_int;
    pub(super) fn xs_read(
        handle: *mut c_void,
        transaction: u32,
        path: *const c_char,
        len: *mut c_uint,
    ) -> *mut c_void;
    pub(super) fn xs_write(
        handle: *mut c_void,
        transaction: u32,
        path: *const c_char,
        data: *const c_void,
        len: c_uint,
    ) -> bool;
    pub(super) fn xs_rm(handle: *mut c_void, transaction: u32, path: *const c_char) -> bool;
    pub(super) fn xs_set_permissions(
        handle: *mut c_void,
        transaction: u32,
        path: *const c_char,
        permissions: *mut Permissions,
        count: c_uint,
    ) -> bool;
    pub(super) fn xs_watch(handle: *mut c_void, path: *const c_char, token: *const c_char) -> bool;
    pub(super) fn xs_check_watch(handle: *mut c_void) -> *mut *mut c_char;
    pub(super) fn xs_transaction_start(handle: *mut c_void) -> u32;
    pub(super) fn xs_transaction_end(handle: *mut c_void, transaction: u32, abort: bool) -> bool;
}
