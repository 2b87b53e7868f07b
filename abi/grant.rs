// SPDX-License-Identifier: GPL-2.0

//! Grant table entries, version 1: how access to a page is given to another domain and taken back.
//!
//! An entry is 8 bytes in a page that Xen shares with us. We write the domain and the frame, then the flags, and from
//! then on the domain may map the page or have Xen copy from or to it. Xen records a live mapping in the flags, so the
//! only safe way back is one compare-and-exchange of the flags to zero whose result is looked at: a domain that maps
//! the page between our look and our write makes it fail ([`InUse`]), and the page stays its to use.
//!
//! Implements Xen's public header `grant_table.h`. [`free`] hands out references, [`places`] those of one
//! queue, by [`slots`].

pub mod free;
pub mod places;
pub mod slots;

use crate::{
    shared::Memory,
    types::{
        DomainId,
        Gfn, //
    },
};

/// First reference that is ours: the toolstack fills the ones below (`GNTTAB_NR_RESERVED_ENTRIES`).
pub const RESERVED_ENTRIES: u32 = 8;

/// Bytes of one entry.
pub const ENTRY_SIZE: usize = 8;

/// Entries in one frame of the table.
pub const ENTRIES_PER_FRAME: u32 = 512;

/// The entry grants nothing (`GTF_invalid`).
pub const INVALID: u16 = 0;
/// The domain may use the frame (`GTF_permit_access`).
pub const PERMIT_ACCESS: u16 = 1;
/// Bits of an entry's type (`GTF_type_mask`).
pub const TYPE_MASK: u16 = 3;
/// The domain may only read (`GTF_readonly`).
pub const READONLY: u16 = 1 << 2;
/// Set by Xen while the frame is mapped for reading or being copied from (`GTF_reading`).
pub const READING: u16 = 1 << 3;
/// Set by Xen while the frame is mapped for writing or being copied to (`GTF_writing`).
pub const WRITING: u16 = 1 << 4;

crate::shared::wire! {
    /// One entry (`struct grant_entry_v1`).
    pub struct Entry {
        /// Type and state: written by both sides.
        pub flags: u16,
        /// Who gets access.
        pub domain: u16,
        /// Which frame.
        pub frame: u32,
    }
}

/// What the other domain may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

impl Access {
    /// The flags of an entry that gives this access.
    const fn flags(self) -> u16 {
        match self {
            Access::ReadOnly => PERMIT_ACCESS | READONLY,
            Access::ReadWrite => PERMIT_ACCESS,
        }
    }
}

/// The other domain still has the page mapped, or Xen is copying for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse;

/// A frame number that does not fit into a version 1 entry (2^32 and up: beyond 16 TiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooHigh;

/// How often [`Slot::revoke`] looks again when the flags change under it. A domain that maps and unmaps without pause
/// could else keep us here.
const REVOKE_ATTEMPTS: usize = 4;

/// One entry of a table frame.
#[derive(Clone, Copy, Debug)]
pub struct Slot<M> {
    memory: M,
    offset: usize,
}

impl<M: Memory> Slot<M> {
    /// The entry `index` (below [`ENTRIES_PER_FRAME`]; taken modulo that) of the frame in `memory`.
    #[inline]
    pub fn new(memory: M, index: u32) -> Self {
        let index = (index & (ENTRIES_PER_FRAME - 1)) as usize;
        Self {
            memory,
            offset: index.wrapping_mul(ENTRY_SIZE),
        }
    }

    /// The flags now.
    #[inline]
    pub fn flags(&self) -> u16 {
        self.memory.load_u16(self.offset)
    }

    /// Tells whether the entry grants anything now.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.flags() & TYPE_MASK != INVALID
    }

    /// Gives `domain` access to `frame`. The entry has to be inactive.
    ///
    /// # Errors
    ///
    /// [`FrameTooHigh`]; nothing is granted then.
    #[inline]
    pub fn permit(&self, domain: DomainId, frame: Gfn, access: Access) -> Result<(), FrameTooHigh> {
        let frame = u32::try_from(frame.0).map_err(|_| FrameTooHigh)?;
        self.memory
            .write(self.offset.wrapping_add(2), &domain.0.to_ne_bytes());
        self.memory.store_u32(self.offset.wrapping_add(4), frame);
        // Release: Xen must not see the permission before the domain and the frame. Also all that we wrote into the
        // page before, so the domain never sees what the page held earlier.
        self.memory.store_release_u16(self.offset, access.flags());
        Ok(())
    }

    /// Takes access back, unless it is in use.
    ///
    /// # Errors
    ///
    /// [`InUse`]: nothing has changed; the page must not be reused.
    #[inline]
    pub fn revoke(&self) -> Result<(), InUse> {
        let mut flags = self.flags();
        for _ in 0..REVOKE_ATTEMPTS {
            if flags & (READING | WRITING) != 0 {
                return Err(InUse);
            }
            // Fully ordered: what the domain wrote is seen by us after this, and what we write into the page from here
            // on is not seen by it.
            match self
                .memory
                .compare_exchange_u16(self.offset, flags, INVALID)
            {
                Ok(_) => return Ok(()),
                Err(now) => flags = now,
            }
        }
        Err(InUse)
    }
}

#[cfg(test)]
mod tests;
