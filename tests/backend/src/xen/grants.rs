// SPDX-License-Identifier: GPL-2.0

//! Pages of the guest: mapped, or copied by Xen.

use super::{last, sys};
use abi::shared::{Memory, RawMemory};
use anyhow::{bail, ensure, Context, Result};
use backend::guest::{Guest, Piece};
use std::collections::HashMap;
use std::ffi::c_void;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;

const PAGE: usize = 4096;

/// An open `/dev/xen/gntdev`.
struct Handle(NonNull<c_void>);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: The handle is open, and nobody uses it any more.
        unsafe { sys::xengnttab_close(self.0.as_ptr()) };
    }
}

/// What one domain has granted us.
#[derive(Clone)]
pub(crate) struct Grants {
    handle: Rc<Handle>,
    domain: u16,
}

/// Granted pages in our address space, one after the other.
pub(crate) struct Mapping {
    handle: Rc<Handle>,
    base: NonNull<c_void>,
    pages: usize,
    writable: bool,
    memory: RawMemory,
}

impl Deref for Mapping {
    type Target = RawMemory;

    fn deref(&self) -> &RawMemory {
        &self.memory
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: The mapping was made through this handle, and the memory over it goes with `self`.
        let done = unsafe {
            sys::xengnttab_unmap(
                self.handle.0.as_ptr(),
                self.base.as_ptr(),
                self.pages as u32,
            )
        };
        if done != 0 {
            eprintln!("backend: a grant could not be unmapped: {}", last());
        }
    }
}

impl Grants {
    /// Opens the way to the grants of `domain`.
    ///
    /// # Errors
    ///
    /// When there is no `/dev/xen/gntdev`.
    pub(crate) fn open(domain: u16) -> Result<Self> {
        // SAFETY: A null logger asks for the library's own.
        let handle = unsafe { sys::xengnttab_open(std::ptr::null_mut(), 0) };
        let handle = NonNull::new(handle)
            .with_context(|| format!("/dev/xen/gntdev cannot be opened: {}", last()))?;
        Ok(Self {
            handle: Rc::new(Handle(handle)),
            domain,
        })
    }

    /// Maps pages for reading and, if `writable`, for writing.
    ///
    /// # Errors
    ///
    /// When Xen refuses one of them.
    pub(crate) fn map(&self, refs: &[u32], writable: bool) -> Result<Mapping> {
        let mut refs = refs.to_vec();
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: The handle is open; the library reads as many references as there are.
        let base = unsafe {
            sys::xengnttab_map_domain_grant_refs(
                self.handle.0.as_ptr(),
                u32::try_from(refs.len())?,
                self.domain.into(),
                refs.as_mut_ptr(),
                protection,
            )
        };
        let base = NonNull::new(base)
            .with_context(|| format!("grants {refs:?} cannot be mapped: {}", last()))?;
        // SAFETY: The library has mapped that many pages, and they stay until `Mapping` is dropped. What may only be
        // read is only read: `Pages` maps for writing what it writes to.
        let memory = unsafe { RawMemory::new(base.cast(), refs.len() * PAGE) };
        Ok(Mapping {
            handle: self.handle.clone(),
            base,
            pages: refs.len(),
            writable,
            memory,
        })
    }

    /// Has Xen copy between granted pages and `buffer`, in the order of the pieces; `write` is towards the pages.
    fn copy(&self, pieces: &[Piece], buffer: *mut u8, len: usize, write: bool) -> Result<()> {
        let mut segments = Vec::with_capacity(pieces.len());
        let mut at = 0;
        for piece in pieces {
            let end = at + usize::from(piece.len);
            ensure!(end <= len, "pieces longer than their data");
            let foreign = sys::CopyPointer {
                foreign: sys::Foreign {
                    gref: piece.gref,
                    offset: piece.offset,
                    domain: self.domain,
                },
            };
            let virt = sys::CopyPointer {
                virt: buffer.wrapping_add(at).cast(),
            };
            let (source, dest, flags) = if write {
                (virt, foreign, sys::DEST_GREF)
            } else {
                (foreign, virt, sys::SOURCE_GREF)
            };
            segments.push(sys::CopySegment {
                source,
                dest,
                len: piece.len,
                flags,
                status: 0,
            });
            at = end;
        }
        // SAFETY: Our side of every segment lies in the buffer, by the check above, and the buffer outlives the call.
        let done = unsafe {
            sys::xengnttab_grant_copy(
                self.handle.0.as_ptr(),
                u32::try_from(segments.len())?,
                segments.as_mut_ptr(),
            )
        };
        if done != 0 {
            return Err(last()).context("grants cannot be copied");
        }
        match segments.iter().find(|segment| segment.status != 0) {
            Some(segment) => bail!("Xen refuses to copy a grant: {}", segment.status),
            None => Ok(()),
        }
    }
}

/// How data pages are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Xen copies.
    Copy,
    /// They are mapped for the request.
    Map,
    /// They stay mapped, for the frontend uses the same ones again.
    Persistent,
}

/// The data pages of a guest.
pub(crate) struct Pages {
    grants: Grants,
    /// How they are reached.
    pub(crate) way: Way,
    /// What was mapped for a request stays mapped after it.
    pub(crate) keep: bool,
    kept: Vec<Mapping>,
    persistent: HashMap<u32, Mapping>,
    /// Times that something was mapped.
    pub(crate) maps: u64,
    /// Looks at all of what is mapped.
    pub(crate) peek: bool,
    /// Bytes that were not zero in mapped pages beside what was to be seen there.
    pub(crate) stray: u64,
}

impl Pages {
    pub(crate) fn new(grants: Grants, way: Way, keep: bool) -> Self {
        Self {
            grants,
            way,
            keep,
            kept: Vec::new(),
            persistent: HashMap::new(),
            maps: 0,
            peek: false,
            stray: 0,
        }
    }

    /// The connection ends: unmaps all but what is kept in spite of that.
    pub(crate) fn disconnect(&mut self) {
        self.persistent.clear();
    }

    /// Unmaps what was kept.
    pub(crate) fn release(&mut self) {
        self.kept.clear();
    }

    /// Writes over all that is kept and was mapped for writing.
    pub(crate) fn scrawl(&self) {
        for mapping in self.kept.iter().filter(|mapping| mapping.writable) {
            mapping.write(0, &vec![0xa5; mapping.pages * PAGE]);
        }
    }

    /// Pages that are kept.
    pub(crate) fn kept(&self) -> usize {
        self.kept.iter().map(|mapping| mapping.pages).sum()
    }

    /// Calls `with` for each piece: the memory it lies in, and where it begins there.
    fn mapped(
        &mut self,
        pieces: &[Piece],
        writable: bool,
        mut with: impl FnMut(&RawMemory, usize, usize),
    ) -> Result<()> {
        if self.way == Way::Persistent {
            for piece in pieces {
                let mapping = match self.persistent.entry(piece.gref) {
                    std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                    // The frontend grants them for both directions.
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        self.maps += 1;
                        entry.insert(self.grants.map(&[piece.gref], true)?)
                    }
                };
                if self.peek {
                    self.stray += stray(mapping, 0, piece);
                }
                with(mapping, piece.offset.into(), piece.len.into());
            }
            return Ok(());
        }
        let refs: Vec<u32> = pieces.iter().map(|piece| piece.gref).collect();
        self.maps += 1;
        let mapping = self.grants.map(&refs, writable)?;
        for (page, piece) in pieces.iter().enumerate() {
            if self.peek {
                self.stray += stray(&mapping, page * PAGE, piece);
            }
            with(
                &mapping,
                page * PAGE + usize::from(piece.offset),
                piece.len.into(),
            );
        }
        if self.keep {
            self.kept.push(mapping);
        }
        Ok(())
    }
}

/// Bytes that are not zero in the page at `base`, outside of the piece.
fn stray(memory: &RawMemory, base: usize, piece: &Piece) -> u64 {
    let mut page = [0; PAGE];
    memory.read(base, &mut page);
    let at = usize::from(piece.offset);
    page[at..at + usize::from(piece.len)].fill(0);
    page.iter().filter(|byte| **byte != 0).count() as u64
}

impl Guest for Pages {
    fn fetch(&mut self, pieces: &[Piece], into: &mut [u8]) -> Result<()> {
        if self.way == Way::Copy {
            return self
                .grants
                .copy(pieces, into.as_mut_ptr(), into.len(), false);
        }
        let mut rest = into;
        self.mapped(pieces, false, |memory, at, len| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(len);
            memory.read(at, now);
            rest = later;
        })
    }

    fn store(&mut self, pieces: &[Piece], from: &[u8]) -> Result<()> {
        if self.way == Way::Copy {
            // Xen only reads it in this direction.
            return self
                .grants
                .copy(pieces, from.as_ptr().cast_mut(), from.len(), true);
        }
        let mut rest = from;
        self.mapped(pieces, true, |memory, at, len| {
            let (now, later) = rest.split_at(len);
            memory.write(at, now);
            rest = later;
        })
    }
}
