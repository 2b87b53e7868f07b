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
    AtomicU64,
    Ordering, //
};
use kernel::{
    prelude::*,
    sync::SetOnce, //
};
use linux::vec::filled;

type Chunk = KVec<AtomicU64>;

/// The interrupt of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) irq: u32,
    /// The CPU that it never leaves, if it has one.
    pub(crate) cpu: Option<u32>,
}

impl Entry {
    /// As one number, of which 0 is no interrupt: the irq below, one more than the CPU above.
    fn packed(self) -> u64 {
        let cpu = self.cpu.map_or(0, |cpu| u64::from(cpu).wrapping_add(1));
        cpu << 32 | u64::from(self.irq)
    }

    fn unpacked(packed: u64) -> Option<Self> {
        // CAST: The lower half.
        let irq = packed as u32;
        let cpu = (packed >> 32).checked_sub(1).map(|cpu| cpu as u32);
        (irq != 0).then_some(Self { irq, cpu })
    }
}

/// An entry for each port.
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
        Ok(Self {
            chunks: filled(PAGES, SetOnce::new)?,
        })
    }

    fn place(&self, port: Port) -> Option<&AtomicU64> {
        let chunk = self.chunks.get((port.0 / WORDS_PER_PAGE) as usize)?;
        chunk.as_ref()?.get((port.0 % WORDS_PER_PAGE) as usize)
    }

    /// The interrupt of `port`.
    #[inline]
    pub(crate) fn get(&self, port: Port) -> Option<Entry> {
        Entry::unpacked(self.place(port)?.load(Ordering::Acquire))
    }

    /// Whether there is room for `port`.
    pub(crate) fn has(&self, port: Port) -> bool {
        self.place(port).is_some()
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
            // If somebody else was faster, theirs is as good.
            slot.populate(filled(WORDS_PER_PAGE as usize, || AtomicU64::new(0))?);
        }
        Ok(())
    }

    /// Sets the interrupt of `port`.
    pub(crate) fn set(&self, port: Port, entry: Option<Entry>) {
        if let Some(place) = self.place(port) {
            place.store(entry.map_or(0, Entry::packed), Ordering::Release);
        }
    }
}

#[kunit_tests(oxen_evtchn_map)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_what_was_set() -> Result {
        let (map, port) = (Map::new()?, Port(5));
        let local = Entry {
            irq: 7,
            cpu: Some(0),
        };
        map.set(port, Some(local));
        assert_eq!(map.get(port), None);
        map.admit(port)?;
        for entry in [
            local,
            Entry {
                irq: u32::MAX,
                cpu: Some(31),
            },
            Entry { irq: 1, cpu: None },
        ] {
            map.set(port, Some(entry));
            assert_eq!(map.get(port), Some(entry));
        }
        map.set(port, None);
        assert_eq!(map.get(port), None);
        assert_eq!(map.get(Port(u32::MAX)), None);
        Ok(())
    }
}
