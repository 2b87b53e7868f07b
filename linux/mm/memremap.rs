// SPDX-License-Identifier: GPL-2.0

//! Mappings of frames that are not the kernel's RAM.
//!
//! C header: `include/linux/io.h`

use crate::bindings;
use abi::{
    shared::RawMemory,
    types::{
        Gfn,
        PAGE_SIZE, //
    },
};
use core::ptr::NonNull;
use kernel::prelude::*;

/// One frame mapped cached, unmapped on drop.
///
/// # Invariants
///
/// `base` is a mapping that `memremap` made and that belongs to this value.
pub struct MappedFrame {
    base: NonNull<u8>,
    memory: RawMemory,
}

// SAFETY: A mapping belongs to no thread.
unsafe impl Send for MappedFrame {}
// SAFETY: A shared value gives only `RawMemory`, whose accesses are atomic.
unsafe impl Sync for MappedFrame {}

impl MappedFrame {
    /// Maps a frame.
    ///
    /// # Safety
    ///
    /// The frame must be memory that a peer may write at any time; it must not be RAM that this kernel uses.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a frame beyond all memory, `ENOMEM`.
    pub unsafe fn new(gfn: Gfn) -> Result<Self> {
        let address = gfn.0.checked_mul(PAGE_SIZE as u64).ok_or(EINVAL)?;
        // SAFETY: The function checks what it maps.
        let base =
            unsafe { bindings::memremap(address, PAGE_SIZE, bindings::MEMREMAP_WB as usize) };
        let base = NonNull::new(base.cast::<u8>()).ok_or(ENOMEM)?;
        // SAFETY: A mapping of whole pages is aligned, and stays until the drop of this value.
        let memory = unsafe { RawMemory::new(base, PAGE_SIZE) };
        // INVARIANT: Just made.
        Ok(Self { base, memory })
    }

    /// The frame as shared memory.
    #[inline]
    pub fn memory(&self) -> &RawMemory {
        &self.memory
    }
}

impl Drop for MappedFrame {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the mapping is ours, and it is not used again.
        unsafe { bindings::memunmap(self.base.as_ptr().cast()) };
    }
}
