// SPDX-License-Identifier: GPL-2.0

//! Where frames of this guest lie: `memory.h`. Only [`crate::frame`], [`crate::foreign`] and [`crate::balloon`] use it.

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

/// Frees what lies at the frames, from the first on; returns at how many.
///
/// # Safety
///
/// The frames are RAM, and nobody reads or writes there until it is populated again.
pub(crate) unsafe fn decrease_reservation(frames: &mut [Gfn]) -> Result<usize> {
    // SAFETY: By the requirements of this function.
    unsafe { reservation(memory::DECREASE_RESERVATION, frames) }
}

/// Puts RAM at the frames, where nothing lies, from the first on; returns at how many.
pub(crate) fn populate_physmap(frames: &mut [Gfn]) -> Result<usize> {
    // SAFETY: Memory that appears where none was is no harm.
    unsafe { reservation(memory::POPULATE_PHYSMAP, frames) }
}

/// # Safety
///
/// The command takes a reservation, and what it does at the frames breaks nothing that Rust relies on.
unsafe fn reservation(number: usize, frames: &mut [Gfn]) -> Result<usize> {
    let extents = frames.len();
    let mut argument = Reservation {
        extent_start: frames.as_mut_ptr() as u64,
        // CAST: `usize` has 64 bits.
        extents: extents as u64,
        order: 0,
        flags: 0,
        domain: DomainId::SELF,
        pad: [0; 3],
    };
    // SAFETY: Number and structure belong together; the extents live through the call. The rest by the requirements of
    // this function.
    let done = unsafe { command(Hypercall::MemoryOp, number, &mut argument) }?;
    Ok(done.min(extents))
}
