// SPDX-License-Identifier: GPL-2.0

//! A page whose other owner acts between any two of our accesses.

use abi::shared::Memory;
use std::cell::{Cell, RefCell};

/// What we are about to do to the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read these bytes: offset and length.
    Load(usize, usize),
    /// The same, before whatever follows.
    Acquire(usize, usize),
    /// Write these bytes: offset and length.
    Store(usize, usize),
    /// The same, after whatever came before.
    Release(usize, usize),
    /// A barrier.
    Fence,
}

/// The other owner of a page.
pub trait Adversary {
    /// Acts before an access of ours.
    fn act(&mut self, page: &mut [u8], access: Access);
}

impl<F: FnMut(&mut [u8], Access)> Adversary for F {
    fn act(&mut self, page: &mut [u8], access: Access) {
        self(page, access);
    }
}

/// Does nothing.
pub struct Idle;

impl Adversary for Idle {
    fn act(&mut self, _: &mut [u8], _: Access) {}
}

/// Writes bytes out of `input` to places out of `input`, as long as there are any: what a fuzzer drives.
pub struct Scribbler<I> {
    /// Where chance comes from.
    pub input: I,
    /// Places of four bytes that matter, written to every other time.
    pub targets: &'static [usize],
}

impl<I: Iterator<Item = u8>> Adversary for Scribbler<I> {
    fn act(&mut self, page: &mut [u8], _: Access) {
        let Some(kind) = self.input.next() else {
            return;
        };
        let mut next = || self.input.next().unwrap_or(0);
        match kind % 8 {
            // An index that moves by a little, either way.
            0 | 1 if !self.targets.is_empty() => {
                let at = self.targets[usize::from(next()) % self.targets.len()];
                let word = u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
                let word = word.wrapping_add(i32::from(next() as i8) as u32);
                page[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
            // An index that is anything.
            2 if !self.targets.is_empty() => {
                let at = self.targets[usize::from(next()) % self.targets.len()];
                page[at..at + 4].copy_from_slice(&[next(), next(), next(), next()]);
            }
            // A byte anywhere.
            3 | 4 => {
                let at = usize::from(u16::from_le_bytes([next(), next()])) % page.len();
                page[at] = next();
            }
            _ => {}
        }
    }
}

/// Shared memory with an adversary behind it. Panics when an access is not inside and aligned: nothing unvalidated may
/// become an offset or a length.
pub struct Peer<A> {
    page: RefCell<Vec<u8>>,
    adversary: RefCell<A>,
    accesses: Cell<u64>,
}

impl<A: Adversary> Peer<A> {
    /// Makes a zeroed page.
    pub fn new(size: usize, adversary: A) -> Self {
        Self {
            page: RefCell::new(vec![0; size]),
            adversary: RefCell::new(adversary),
            accesses: Cell::new(0),
        }
    }

    /// Acts as the other owner, now.
    pub fn with<R>(&self, act: impl FnOnce(&mut [u8]) -> R) -> R {
        act(&mut self.page.borrow_mut())
    }

    /// Writes a word as the other owner.
    pub fn poke(&self, offset: usize, value: u32) {
        self.with(|page| page[offset..offset + 4].copy_from_slice(&value.to_le_bytes()));
    }

    /// Reads a word as the other owner.
    pub fn peek(&self, offset: usize) -> u32 {
        self.with(|page| u32::from_le_bytes(page[offset..offset + 4].try_into().unwrap()))
    }

    /// The adversary.
    pub fn adversary(&self) -> std::cell::RefMut<'_, A> {
        self.adversary.borrow_mut()
    }

    /// How many accesses we have made.
    pub fn accesses(&self) -> u64 {
        self.accesses.get()
    }

    fn enter(&self, access: Access) -> std::cell::RefMut<'_, Vec<u8>> {
        self.accesses.set(self.accesses.get() + 1);
        let mut page = self.page.borrow_mut();
        self.adversary.borrow_mut().act(&mut page, access);
        page
    }

    fn get<const N: usize>(&self, offset: usize, access: fn(usize, usize) -> Access) -> [u8; N] {
        assert_eq!(
            offset % N,
            0,
            "load of {N} bytes at {offset} is not aligned"
        );
        self.enter(access(offset, N))[offset..offset + N]
            .try_into()
            .unwrap()
    }

    fn put<const N: usize>(
        &self,
        offset: usize,
        value: [u8; N],
        access: fn(usize, usize) -> Access,
    ) {
        assert_eq!(
            offset % N,
            0,
            "store of {N} bytes at {offset} is not aligned"
        );
        self.enter(access(offset, N))[offset..offset + N].copy_from_slice(&value);
    }

    /// One atomic change: the adversary acts before it, not in the middle.
    fn change<const N: usize>(
        &self,
        offset: usize,
        new: impl FnOnce([u8; N]) -> Option<[u8; N]>,
    ) -> [u8; N] {
        assert_eq!(
            offset % N,
            0,
            "change of {N} bytes at {offset} is not aligned"
        );
        let mut page = self.enter(Access::Store(offset, N));
        let old = page[offset..offset + N].try_into().unwrap();
        if let Some(new) = new(old) {
            page[offset..offset + N].copy_from_slice(&new);
        }
        old
    }
}

macro_rules! change {
    ($($name:ident: $ty:ty = |$old:ident, $arg:ident| $new:expr;)*) => {
        $(fn $name(&self, offset: usize, $arg: $ty) -> $ty {
            <$ty>::from_le_bytes(self.change(offset, |old| {
                let $old = <$ty>::from_le_bytes(old);
                let _ = $old;
                Some(<$ty>::to_le_bytes($new))
            }))
        })*
    };
}

macro_rules! exchange {
    ($($name:ident: $ty:ty;)*) => {
        $(fn $name(&self, offset: usize, current: $ty, new: $ty) -> Result<$ty, $ty> {
            let old = <$ty>::from_le_bytes(self.change(offset, |old| {
                (<$ty>::from_le_bytes(old) == current).then_some(new.to_le_bytes())
            }));
            if old == current { Ok(old) } else { Err(old) }
        })*
    };
}

impl<A: Adversary> Memory for Peer<A> {
    fn size(&self) -> usize {
        self.page.borrow().len()
    }

    /// Byte by byte, so that the adversary can act half-way.
    fn read(&self, offset: usize, into: &mut [u8]) {
        for (at, byte) in into.iter_mut().enumerate() {
            *byte = self.enter(Access::Load(offset + at, 1))[offset + at];
        }
    }

    fn write(&self, offset: usize, from: &[u8]) {
        for (at, byte) in from.iter().enumerate() {
            self.enter(Access::Store(offset + at, 1))[offset + at] = *byte;
        }
    }

    fn load_u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.get(offset, Access::Load))
    }

    fn store_release_u16(&self, offset: usize, value: u16) {
        self.put(offset, value.to_le_bytes(), Access::Release);
    }

    fn load_u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.get(offset, Access::Load))
    }

    fn load_acquire_u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.get(offset, Access::Acquire))
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.put(offset, value.to_le_bytes(), Access::Store);
    }

    fn store_release_u32(&self, offset: usize, value: u32) {
        self.put(offset, value.to_le_bytes(), Access::Release);
    }

    fn load_4_u64_and_first(&self, offset: usize) -> [u64; 5] {
        [0, 8, 16, 24, 0].map(|at| u64::from_le_bytes(self.get(offset + at, Access::Acquire)))
    }

    fn load_u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.get(offset, Access::Load))
    }

    fn store_u64(&self, offset: usize, value: u64) {
        self.put(offset, value.to_le_bytes(), Access::Store);
    }

    exchange! {
        compare_exchange_u16: u16;
        compare_exchange_u32: u32;
    }

    change! {
        fetch_or_u32: u32 = |old, mask| old | mask;
        fetch_and_u32: u32 = |old, mask| old & mask;
        swap_u32: u32 = |old, value| value;
        fetch_or_u64: u64 = |old, mask| old | mask;
        fetch_and_u64: u64 = |old, mask| old & mask;
        swap_u64: u64 = |old, value| value;
    }

    fn fence(&self) {
        drop(self.enter(Access::Fence));
    }
}
