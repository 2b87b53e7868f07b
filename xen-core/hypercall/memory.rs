// SPDX-License-Identifier: GPL-2.0

//! Where frames of this guest lie: `memory.h`. Only [`crate::frame`] uses it.

use super::command;
use abi::{
    hypercall::{
        memory::{
            self,
            AddToPhysmap,
            RemoveFromPhysmap,
            Reservation,
            Space, //
        },
        Hypercall,
    },
    types::{
        DomainId,
        Gfn, //
    },
};
use kernel::prelude::*;

/// Replaces what lies at `gfn` by a frame of Xen; what was there is freed.
///
/// # Safety
///
/// Nothing is kept at `gfn`, and its owner reaches it only as shared memory from now on.
pub(crate) unsafe fn add_to_physmap(space: Space, index: u64, gfn: Gfn) -> Result {
    let mut argument = AddToPhysmap {
        domain: DomainId::SELF,
        size: 0,
        space: space as u32,
        index,
        gfn,
    };
    // SAFETY: Number and structure belong together; the frame is the caller's to replace.
    unsafe { command(Hypercall::MemoryOp, memory::ADD_TO_PHYSMAP, &mut argument) }.map(|_| ())
}

/// Leaves nothing at `gfn`.
///
/// # Safety
///
/// Nobody reads or writes there until it is populated again.
pub(crate) unsafe fn remove_from_physmap(gfn: Gfn) -> Result {
    let mut argument = RemoveFromPhysmap {
        domain: DomainId::SELF,
        pad: [0; 3],
        gfn,
    };
    // SAFETY: Number and structure belong together; the frame is the caller's to remove.
    unsafe {
        command(
            Hypercall::MemoryOp,
            memory::REMOVE_FROM_PHYSMAP,
            &mut argument,
        )
    }
    .map(|_| ())
}

/// Puts RAM at `gfn`, where nothing lies.
pub(crate) fn populate_physmap(gfn: Gfn) -> Result {
    let mut extent = gfn.0;
    let mut argument = Reservation {
        extent_start: core::ptr::from_mut(&mut extent) as u64,
        extents: 1,
        order: 0,
        flags: 0,
        domain: DomainId::SELF,
        pad: [0; 3],
    };
    // SAFETY: Number and structure belong together; the one extent lives through the call. Memory that appears where
    // none was is no harm.
    match unsafe { command(Hypercall::MemoryOp, memory::POPULATE_PHYSMAP, &mut argument) }? {
        1 => Ok(()),
        _ => Err(ENOMEM),
    }
}
