// SPDX-License-Identifier: GPL-2.0

//! What the unit tests share: pages by their grants, and memory for a ring.

use crate::guest::{Guest, Piece};
use abi::shared::RawMemory;
use anyhow::{bail, Result};
use std::collections::HashMap;
use std::ptr::NonNull;

/// Pages by their grants.
#[derive(Default)]
pub(crate) struct Pages(pub(crate) HashMap<u32, Vec<u8>>);

impl Pages {
    fn each(&mut self, pieces: &[Piece], mut with: impl FnMut(&mut [u8])) -> Result<()> {
        for piece in pieces {
            let Some(page) = self.0.get_mut(&piece.gref) else {
                bail!("no grant {}", piece.gref);
            };
            with(&mut page[piece.offset.into()..][..piece.len.into()]);
        }
        Ok(())
    }
}

impl Guest for Pages {
    fn fetch(&mut self, pieces: &[Piece], into: &mut [u8]) -> Result<()> {
        let mut rest = into;
        self.each(pieces, |page| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(page.len());
            now.copy_from_slice(page);
            rest = later;
        })
    }

    fn store(&mut self, pieces: &[Piece], from: &[u8]) -> Result<()> {
        let mut rest = from;
        self.each(pieces, |page| {
            let (now, later) = rest.split_at(page.len());
            page.copy_from_slice(now);
            rest = later;
        })
    }
}

/// Calls `test` with a page of shared memory.
pub(crate) fn with_page(test: impl FnOnce(&RawMemory)) {
    let mut page = vec![0u64; 512];
    let base = NonNull::new(page.as_mut_ptr().cast()).expect("a page");
    // SAFETY: The vector is aligned to 8, outlives the memory and is not touched meanwhile.
    let memory = unsafe { RawMemory::new(base, 4096) };
    test(&memory);
}
