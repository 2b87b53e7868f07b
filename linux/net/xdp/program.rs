// SPDX-License-Identifier: GPL-2.0

//! A program, and the place where a poll finds it (C header: `include/linux/bpf.h`).

use crate::bindings;
use core::{
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};

/// A program.
///
/// # Invariants
///
/// `raw` is a valid program to which this value holds a reference.
pub struct Program {
    raw: NonNull<bindings::bpf_prog>,
}

// SAFETY: A program is not bound to a thread.
unsafe impl Send for Program {}
// SAFETY: As above; nothing is changed through a shared reference but its count, which is atomic.
unsafe impl Sync for Program {}

impl Program {
    /// Takes a reference to a program.
    ///
    /// # Safety
    ///
    /// `raw` is a valid program, and stays one during the call.
    pub(in crate::net) unsafe fn get(raw: NonNull<bindings::bpf_prog>) -> Self {
        // SAFETY: By the safety requirements.
        unsafe { bindings::bpf_prog_hold(raw.as_ptr()) };
        // INVARIANT: The reference was taken above.
        Self { raw }
    }
}

impl Clone for Program {
    fn clone(&self) -> Self {
        // SAFETY: Valid by the type invariant.
        unsafe { Self::get(self.raw) }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariant. A poll that still runs the program may go on: its memory is
        // freed after a grace period.
        unsafe { bindings::bpf_prog_release(self.raw.as_ptr()) }
    }
}

/// The place of the program of a queue.
///
/// # Invariants
///
/// The pointer is null, or that of a program to which this value holds a reference.
pub(in crate::net) struct Place(AtomicPtr<bindings::bpf_prog>);

impl Place {
    /// A place without a program.
    pub(in crate::net) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Puts a program there, or none, and takes away the one that was there.
    pub(in crate::net) fn put(&self, program: Option<Program>) {
        let new = program.map_or(ptr::null_mut(), |program| {
            let raw = program.raw.as_ptr();
            // Its reference goes with the pointer.
            core::mem::forget(program);
            raw
        });
        // Who sees the pointer has to see the program.
        let old = self.0.swap(new, Ordering::AcqRel);
        // INVARIANT: The reference to the new one is the place's, that to the old one is this value's.
        drop(NonNull::new(old).map(|raw| Program { raw }));
    }

    /// The program that is there. It stays valid until the end of the poll that asks, as it is freed after a grace period.
    pub(in crate::net) fn get(&self) -> Option<NonNull<bindings::bpf_prog>> {
        NonNull::new(self.0.load(Ordering::Acquire))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.put(None);
    }
}
