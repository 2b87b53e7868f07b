// SPDX-License-Identifier: GPL-2.0

//! Which Linux interrupt a port is: read in every upcall, without a lock.

use abi::{
    event::fifo::{
        PAGES,
        WORDS_PER_PAGE, //
    },
    types::Port,
};
use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use kernel::{
    prelude::*,
    sync::SetOnce, //
};

type Chunk = KVec<AtomicU32>;

/// A number for each port, 0 for none.
pub(crate) struct Map {
    chunks: KVec<SetOnce<Chunk>>,
}

impl Map {
    /// An empty map.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let mut chunks = KVec::with_capacity(PAGES, GFP_KERNEL)?;
        for _ in 0..PAGES {
            chunks.push(SetOnce::new(), GFP_KERNEL)?;
        }
        Ok(Self { chunks })
    }

    fn place(&self, port: Port) -> Option<&AtomicU32> {
        let chunk = self.chunks.get((port.0 / WORDS_PER_PAGE) as usize)?;
        chunk.as_ref()?.get((port.0 % WORDS_PER_PAGE) as usize)
    }

    /// The interrupt of `port`.
    #[inline]
    pub(crate) fn get(&self, port: Port) -> Option<u32> {
        let irq = self.place(port)?.load(Ordering::Acquire);
        (irq != 0).then_some(irq)
    }

    /// Makes room for `port`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOSPC` for a number that is no port.
    pub(crate) fn admit(&self, port: Port) -> Result {
        let slot = self
            .chunks
            .get((port.0 / WORDS_PER_PAGE) as usize)
            .ok_or(ENOSPC)?;
        if slot.as_ref().is_none() {
            let mut chunk = KVec::with_capacity(WORDS_PER_PAGE as usize, GFP_KERNEL)?;
            for _ in 0..WORDS_PER_PAGE {
                chunk.push(AtomicU32::new(0), GFP_KERNEL)?;
            }
            // If somebody else was faster, theirs is as good.
            slot.populate(chunk);
        }
        Ok(())
    }

    /// Sets the interrupt of `port`, 0 for none.
    pub(crate) fn set(&self, port: Port, irq: u32) {
        if let Some(place) = self.place(port) {
            place.store(irq, Ordering::Release);
        }
    }
}
