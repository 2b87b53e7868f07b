// SPDX-License-Identifier: GPL-2.0

//! Grant table operations: `grant_table.h`.

use super::call;
use abi::{
    hypercall::{
        grant::{
            self,
            Copy,
            CopyPointer,
            GetVersion,
            MapGrantRef,
            QuerySize,
            SetVersion,
            UnmapGrantRef, //
        },
        Hypercall,
    },
    shared::{
        zeroed,
        Pod, //
    },
    types::{
        DomainId,
        Gfn,
        GrantRef,
        PAGE_SIZE, //
    },
    userdev::gntdev::Foreign,
};
use kernel::prelude::*;
use linux::mm::pages::OwnedPages;

/// How long the grant table is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Frames that it has.
    pub frames: u32,
    /// Frames that it may have.
    pub max_frames: u32,
}

/// Makes one grant table operation.
fn operation<T: Pod>(number: usize, argument: &mut T) -> Result {
    let address = core::ptr::from_mut(argument) as usize;
    // SAFETY: The callers below pair numbers with structures, of which there is one. What a frame becomes is told by the caller of
    // `map` and `unmap`; `copy` writes to no page of ours but one that is shared memory; the others touch no memory.
    unsafe { call(Hypercall::GrantTableOp, [number, address, 1]) }.map(|_| ())
}

/// Asks for the size of our grant table.
///
/// # Errors
///
/// `EIO` when Xen refuses.
pub fn query_size() -> Result<Size> {
    let mut argument = QuerySize {
        domain: DomainId::SELF,
        ..zeroed()
    };
    operation(grant::QUERY_SIZE, &mut argument)?;
    if argument.status != 0 {
        return Err(EIO);
    }
    Ok(Size {
        frames: argument.frames,
        max_frames: argument.max_frames,
    })
}

/// Asks for the version of our grant table.
///
/// # Errors
///
/// As Xen says.
pub fn version() -> Result<u32> {
    let mut argument = GetVersion {
        domain: DomainId::SELF,
        ..zeroed()
    };
    operation(grant::GET_VERSION, &mut argument)?;
    Ok(argument.version)
}

/// Makes our grant table one of version 1.
///
/// # Errors
///
/// `EBUSY` when an entry is in use.
pub fn set_version_1() -> Result {
    operation(grant::SET_VERSION, &mut SetVersion { version: 1 })
}

/// What Xen says of an operation, as an error.
fn checked(status: i16) -> Result {
    match status {
        grant::OKAY => Ok(()),
        grant::NO_SPACE => Err(ENOSPC),
        grant::TRY_AGAIN => Err(EAGAIN),
        _ => Err(EINVAL),
    }
}

/// Maps the page of another domain at `gfn`. Returns what unmaps it.
///
/// # Errors
///
/// `EINVAL` when it is not granted to us as it is wanted, `ENOSPC` when Xen maps no more for us, `EAGAIN` when it is swapped
/// out.
///
/// # Safety
///
/// Nothing lies at `gfn`, and its owner reaches it only as shared memory.
pub(crate) unsafe fn map(
    gfn: Gfn,
    domain: DomainId,
    gref: GrantRef,
    is_writable: bool,
) -> Result<u32> {
    let mut argument = MapGrantRef {
        address: address(gfn),
        flags: if is_writable {
            grant::MAP_HOST
        } else {
            grant::MAP_HOST | grant::MAP_READONLY
        },
        gref,
        domain,
        ..zeroed()
    };
    operation(grant::MAP_GRANT_REF, &mut argument)?;
    checked(argument.status)?;
    Ok(argument.handle)
}

/// Leaves nothing at `gfn`, where [`map`] has mapped a page.
///
/// # Errors
///
/// `EINVAL` when it is not mapped there.
///
/// # Safety
///
/// What is read there means nothing until something lies there again.
pub(crate) unsafe fn unmap(gfn: Gfn, handle: u32) -> Result {
    let mut argument = UnmapGrantRef {
        address: address(gfn),
        handle,
        ..zeroed()
    };
    operation(grant::UNMAP_GRANT_REF, &mut argument)?;
    checked(argument.status)
}

fn address(gfn: Gfn) -> u64 {
    gfn.0.wrapping_mul(PAGE_SIZE as u64)
}

/// An end of a [`copy`].
#[derive(Clone, Copy)]
pub enum End<'a> {
    /// The beginning of a page of ours.
    Own(&'a OwnedPages),
    /// A place in a page of another domain.
    Foreign(Foreign),
}

impl End<'_> {
    fn pointer(&self) -> CopyPointer {
        match self {
            Self::Own(pages) => CopyPointer {
                page: pages.gfns().next().unwrap_or_default().0,
                domain: DomainId::SELF,
                ..zeroed()
            },
            Self::Foreign(place) => CopyPointer {
                page: place.gref.0.into(),
                domain: place.domain,
                offset: place.offset,
                ..zeroed()
            },
        }
    }

    fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign(_))
    }
}

/// Has Xen copy within a page each. Returns what it says: 0 when all is well.
///
/// # Errors
///
/// As Xen says; then nothing was copied.
pub fn copy(source: End<'_>, target: End<'_>, length: u16) -> Result<i16> {
    let flag = |end: End<'_>, flag| if end.is_foreign() { flag } else { 0 };
    let mut argument = Copy {
        source: source.pointer(),
        target: target.pointer(),
        length,
        flags: flag(source, grant::COPY_SOURCE_GREF) | flag(target, grant::COPY_TARGET_GREF),
        ..zeroed()
    };
    // A page of ours is reached as shared memory only, so Xen may write to it.
    operation(grant::COPY, &mut argument)?;
    Ok(argument.status)
}
