// SPDX-License-Identifier: GPL-2.0

//! Shared memory out of loom's atomics: the protocol code runs over it unchanged, with the barriers it really asks for,
//! and loom tries the orders in which two CPUs may see each other's accesses.

use abi::shared::Memory;
use loom::sync::atomic::{fence, AtomicU16, AtomicU32, AtomicU64, AtomicU8, Ordering};
use std::collections::BTreeMap;

/// One piece of the page.
enum Cell {
    Byte(AtomicU8),
    Half(AtomicU16),
    Word(AtomicU32),
    Long(AtomicU64),
}

/// A page of which only the named places exist, each always accessed with the same width.
///
/// loom's time grows with the number of cells, so a model names the few that it needs. Any other access panics.
pub struct Cells {
    size: usize,
    cells: BTreeMap<usize, Cell>,
}

impl Cells {
    /// Makes an empty page that claims to have `size` bytes.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            cells: BTreeMap::new(),
        }
    }

    /// Adds a byte.
    pub fn byte(mut self, offset: usize, value: u8) -> Self {
        self.cells.insert(offset, Cell::Byte(AtomicU8::new(value)));
        self
    }

    /// Adds two bytes.
    pub fn half(mut self, offset: usize, value: u16) -> Self {
        self.cells.insert(offset, Cell::Half(AtomicU16::new(value)));
        self
    }

    /// Adds four bytes.
    pub fn word(mut self, offset: usize, value: u32) -> Self {
        self.cells.insert(offset, Cell::Word(AtomicU32::new(value)));
        self
    }

    /// Adds eight bytes.
    pub fn long(mut self, offset: usize, value: u64) -> Self {
        self.cells.insert(offset, Cell::Long(AtomicU64::new(value)));
        self
    }

    fn at16(&self, offset: usize) -> &AtomicU16 {
        match self.cells.get(&offset) {
            Some(Cell::Half(cell)) => cell,
            _ => panic!("the model has no two bytes at {offset}"),
        }
    }

    fn at32(&self, offset: usize) -> &AtomicU32 {
        match self.cells.get(&offset) {
            Some(Cell::Word(cell)) => cell,
            _ => panic!("the model has no four bytes at {offset}"),
        }
    }

    fn at64(&self, offset: usize) -> &AtomicU64 {
        match self.cells.get(&offset) {
            Some(Cell::Long(cell)) => cell,
            _ => panic!("the model has no eight bytes at {offset}"),
        }
    }
}

impl Memory for Cells {
    fn size(&self) -> usize {
        self.size
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            let piece = match self.cells.get(&(offset + done)) {
                Some(Cell::Byte(cell)) => cell.load(Ordering::Relaxed).to_le_bytes().to_vec(),
                Some(Cell::Half(cell)) => cell.load(Ordering::Relaxed).to_le_bytes().to_vec(),
                Some(Cell::Word(cell)) => cell.load(Ordering::Relaxed).to_le_bytes().to_vec(),
                Some(Cell::Long(cell)) => cell.load(Ordering::Relaxed).to_le_bytes().to_vec(),
                None => panic!("the model has nothing at {}", offset + done),
            };
            into[done..done + piece.len()].copy_from_slice(&piece);
            done += piece.len();
        }
    }

    /// Bytes that are no cell of the model are not kept.
    fn write(&self, offset: usize, from: &[u8]) {
        for (at, cell) in self.cells.range(offset..offset + from.len()) {
            let bytes = &from[at - offset..];
            match cell {
                Cell::Byte(cell) => cell.store(bytes[0], Ordering::Relaxed),
                Cell::Half(cell) => {
                    cell.store(
                        u16::from_le_bytes(bytes[..2].try_into().unwrap()),
                        Ordering::Relaxed,
                    );
                }
                Cell::Word(cell) => {
                    cell.store(
                        u32::from_le_bytes(bytes[..4].try_into().unwrap()),
                        Ordering::Relaxed,
                    );
                }
                Cell::Long(cell) => {
                    cell.store(
                        u64::from_le_bytes(bytes[..8].try_into().unwrap()),
                        Ordering::Relaxed,
                    );
                }
            }
        }
    }

    fn load_u16(&self, offset: usize) -> u16 {
        self.at16(offset).load(Ordering::Relaxed)
    }

    fn store_release_u16(&self, offset: usize, value: u16) {
        self.at16(offset).store(value, Ordering::Release);
    }

    fn compare_exchange_u16(&self, offset: usize, current: u16, new: u16) -> Result<u16, u16> {
        self.at16(offset)
            .compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst)
    }

    fn load_u32(&self, offset: usize) -> u32 {
        self.at32(offset).load(Ordering::Relaxed)
    }

    fn load_acquire_u32(&self, offset: usize) -> u32 {
        self.at32(offset).load(Ordering::Acquire)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.at32(offset).store(value, Ordering::Relaxed);
    }

    fn store_release_u32(&self, offset: usize, value: u32) {
        self.at32(offset).store(value, Ordering::Release);
    }

    fn compare_exchange_u32(&self, offset: usize, current: u32, new: u32) -> Result<u32, u32> {
        self.at32(offset)
            .compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst)
    }

    fn fetch_or_u32(&self, offset: usize, mask: u32) -> u32 {
        let old = self.at32(offset).fetch_or(mask, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        old
    }

    fn fetch_and_u32(&self, offset: usize, mask: u32) -> u32 {
        let old = self.at32(offset).fetch_and(mask, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        old
    }

    fn swap_u32(&self, offset: usize, value: u32) -> u32 {
        let old = self.at32(offset).swap(value, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        old
    }

    fn load_4_u64_and_first(&self, offset: usize) -> [u64; 5] {
        [0, 8, 16, 24, 0].map(|at| self.at64(offset + at).load(Ordering::Acquire))
    }

    fn load_u64(&self, offset: usize) -> u64 {
        self.at64(offset).load(Ordering::Relaxed)
    }

    fn store_u64(&self, offset: usize, value: u64) {
        self.at64(offset).store(value, Ordering::Relaxed);
    }

    fn fetch_or_u64(&self, offset: usize, mask: u64) -> u64 {
        let old = self.at64(offset).fetch_or(mask, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        old
    }

    fn fetch_and_u64(&self, offset: usize, mask: u64) -> u64 {
        let old = self.at64(offset).fetch_and(mask, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        old
    }

    fn swap_u64(&self, offset: usize, value: u64) -> u64 {
        let old = self.at64(offset).swap(value, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        old
    }

    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}
