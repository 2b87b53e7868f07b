// SPDX-License-Identifier: GPL-2.0

//! The only way to memory that another domain can write.
//!
//! The other side of a shared page may write any byte of it at any time. A Rust reference to such memory would let the
//! compiler read a field twice and believe that both reads agree. So protocol code is written over the trait [`Memory`]:
//! every access copies once into a value that we own, and that value is then checked.
//!
//! [`RawMemory`] is the implementation over a real page. Host tests bring their own: a hostile peer that acts between
//! any two accesses, or a model checker's atomics.
//!
//! # Ranges
//!
//! Offsets are in bytes. Callers compute them from masked indices and constants, never from unchecked peer data. An
//! access that does not fit or is not aligned reads as zero and writes nothing; host builds assert that none happens.

use core::{
    mem::size_of,
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{fence, AtomicU16, AtomicU32, AtomicU64, AtomicU8, Ordering},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Plain old data: a type that can be copied to and from a peer byte by byte.
///
/// It has no padding, no invalid bit pattern and no pointer or interior mutability: the compiler knows, by the kernel's
/// `zerocopy`.
pub trait Pod: FromBytes + IntoBytes + Immutable + Copy + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> Pod for T {}

/// Defines `#[repr(C)]` structures as Xen's headers lay them out, which are [`Pod`].
///
/// Padding has to be written as a field; a structure with a hidden gap does not compile.
macro_rules! wire {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$fmeta:meta])* $fvis:vis $field:ident: $ty:ty,)*
    })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(
            Clone,
            Copy,
            Debug,
            PartialEq,
            Eq,
            ::zerocopy_derive::FromBytes,
            ::zerocopy_derive::IntoBytes,
            ::zerocopy_derive::Immutable,
        )]
        $vis struct $name {
            $($(#[$fmeta])* $fvis $field: $ty,)*
        }
    )*};
}
pub(crate) use wire;

/// Returns the bytes of `value`.
#[inline]
pub fn bytes_of<T: Pod>(value: &T) -> &[u8] {
    value.as_bytes()
}

/// Returns the bytes of `value`, to be written.
#[inline]
pub fn bytes_of_mut<T: Pod>(value: &mut T) -> &mut [u8] {
    value.as_mut_bytes()
}

/// Returns a value with all bytes zero.
#[inline]
pub fn zeroed<T: Pod>() -> T {
    T::new_zeroed()
}

/// Memory that a peer can read and write while we do.
///
/// Loads and stores are relaxed unless the name says otherwise. Each access of 1, 2, 4 or 8 aligned bytes is a single
/// one; `read` and `write` of more bytes are not atomic as a whole, and a peer may change them half-way.
pub trait Memory {
    /// Size in bytes.
    fn size(&self) -> usize;

    /// Copies bytes from `offset` on into `into`.
    fn read(&self, offset: usize, into: &mut [u8]);

    /// Copies `from` to `offset`.
    fn write(&self, offset: usize, from: &[u8]);

    /// Loads 2 aligned bytes.
    fn load_u16(&self, offset: usize) -> u16;

    /// Stores 2 aligned bytes, ordered after all earlier accesses.
    fn store_release_u16(&self, offset: usize, value: u16);

    /// Replaces 2 aligned bytes if they are `current`; fully ordered. Returns the old value, as `Err` if it differed.
    ///
    /// # Errors
    ///
    /// The value found, when it was not `current`; nothing was written then.
    fn compare_exchange_u16(&self, offset: usize, current: u16, new: u16) -> Result<u16, u16>;

    /// Loads 4 aligned bytes.
    fn load_u32(&self, offset: usize) -> u32;

    /// Loads 4 aligned bytes, ordered before all later accesses.
    fn load_acquire_u32(&self, offset: usize) -> u32;

    /// Stores 4 aligned bytes.
    fn store_u32(&self, offset: usize, value: u32);

    /// Stores 4 aligned bytes, ordered after all earlier accesses.
    fn store_release_u32(&self, offset: usize, value: u32);

    /// Replaces 4 aligned bytes if they are `current`; fully ordered. Returns the old value, as `Err` if it differed.
    ///
    /// # Errors
    ///
    /// The value found, when it was not `current`; nothing was written then.
    fn compare_exchange_u32(&self, offset: usize, current: u32, new: u32) -> Result<u32, u32>;

    /// Sets the bits of `mask` in 4 aligned bytes; fully ordered. Returns the old value.
    fn fetch_or_u32(&self, offset: usize, mask: u32) -> u32;

    /// Keeps only the bits of `mask` in 4 aligned bytes; fully ordered. Returns the old value.
    fn fetch_and_u32(&self, offset: usize, mask: u32) -> u32;

    /// Exchanges 4 aligned bytes; fully ordered. Returns the old value.
    fn swap_u32(&self, offset: usize, value: u32) -> u32;

    /// Loads four times 8 aligned bytes and the first of them once more, one after the other.
    fn load_4_u64_and_first(&self, offset: usize) -> [u64; 5];

    /// Loads 8 aligned bytes.
    fn load_u64(&self, offset: usize) -> u64;

    /// Stores 8 aligned bytes.
    fn store_u64(&self, offset: usize, value: u64);

    /// Sets the bits of `mask` in 8 aligned bytes; fully ordered. Returns the old value.
    fn fetch_or_u64(&self, offset: usize, mask: u64) -> u64;

    /// Keeps only the bits of `mask` in 8 aligned bytes; fully ordered. Returns the old value.
    fn fetch_and_u64(&self, offset: usize, mask: u64) -> u64;

    /// Exchanges 8 aligned bytes; fully ordered. Returns the old value.
    fn swap_u64(&self, offset: usize, value: u64) -> u64;

    /// Full barrier: orders all earlier accesses, stores too, before all later ones, loads too.
    fn fence(&self);

    /// Copies a value out, once.
    #[inline]
    fn read_value<T: Pod>(&self, offset: usize) -> T
    where
        Self: Sized,
    {
        let mut value = zeroed();
        self.read(offset, bytes_of_mut(&mut value));
        value
    }

    /// Copies a value in.
    #[inline]
    fn write_value<T: Pod>(&self, offset: usize, value: &T)
    where
        Self: Sized,
    {
        self.write(offset, bytes_of(value));
    }
}

/// Forwards the methods of [`Memory`] to the target of a smart pointer, so that a ring can own its pages.
macro_rules! forward {
    ($($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {
        impl<P> Memory for P
        where
            P: Deref,
            P::Target: Memory,
        {
            $(#[inline] fn $name(&self, $($arg: $ty),*) $(-> $ret)? { (**self).$name($($arg),*) })*
        }
    };
}

forward! {
    size() -> usize;
    read(offset: usize, into: &mut [u8]);
    write(offset: usize, from: &[u8]);
    load_u16(offset: usize) -> u16;
    store_release_u16(offset: usize, value: u16);
    compare_exchange_u16(offset: usize, current: u16, new: u16) -> Result<u16, u16>;
    load_u32(offset: usize) -> u32;
    load_acquire_u32(offset: usize) -> u32;
    store_u32(offset: usize, value: u32);
    store_release_u32(offset: usize, value: u32);
    compare_exchange_u32(offset: usize, current: u32, new: u32) -> Result<u32, u32>;
    fetch_or_u32(offset: usize, mask: u32) -> u32;
    fetch_and_u32(offset: usize, mask: u32) -> u32;
    swap_u32(offset: usize, value: u32) -> u32;
    load_4_u64_and_first(offset: usize) -> [u64; 5];
    load_u64(offset: usize) -> u64;
    store_u64(offset: usize, value: u64);
    fetch_or_u64(offset: usize, mask: u64) -> u64;
    fetch_and_u64(offset: usize, mask: u64) -> u64;
    swap_u64(offset: usize, value: u64) -> u64;
    fence();
}

/// Shared memory behind a pointer.
///
/// # Invariants
///
/// `base` is aligned to 8 bytes, and `size` bytes from it on are mapped readable and writable as long as the value lives.
#[derive(Debug)]
pub struct RawMemory {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: All accesses are atomic, and the memory may be used from any CPU.
unsafe impl Send for RawMemory {}
// SAFETY: As above.
unsafe impl Sync for RawMemory {}

impl RawMemory {
    /// Makes shared memory out of a mapping.
    ///
    /// # Safety
    ///
    /// `base` is aligned to 8 bytes; `size` bytes from it on stay mapped readable and writable until the value is
    /// dropped; this kernel makes no non-atomic access to them meanwhile.
    #[inline]
    pub const unsafe fn new(base: NonNull<u8>, size: usize) -> Self {
        // INVARIANT: By the safety requirements.
        Self { base, size }
    }

    /// Another value for the same mapping.
    ///
    /// # Safety
    ///
    /// The mapping stays until that is dropped too.
    #[inline]
    pub const unsafe fn again(&self) -> Self {
        // INVARIANT: By the invariant of the type and the safety requirement.
        Self { ..*self }
    }

    /// Returns a pointer to the `T` at `offset` if it lies inside and is aligned.
    #[inline]
    fn at<T>(&self, offset: usize) -> Option<NonNull<T>> {
        let end = offset.checked_add(size_of::<T>());
        let inside = matches!(end, Some(end) if end <= self.size)
            && offset & align_of::<T>().wrapping_sub(1) == 0;
        debug_assert!(
            inside,
            "access of {} bytes at {offset} in {}",
            size_of::<T>(),
            self.size
        );
        if !inside {
            return None;
        }
        // SAFETY: The offset lies inside the mapping by the check above and the invariant of the type.
        Some(unsafe { self.base.add(offset) }.cast())
    }

    /// Tells whether `len` bytes from `offset` on lie inside.
    #[inline]
    fn holds(&self, offset: usize, len: usize) -> bool {
        let inside = matches!(offset.checked_add(len), Some(end) if end <= self.size);
        debug_assert!(inside, "access of {len} bytes at {offset} in {}", self.size);
        inside
    }

    /// Walks `len` bytes from `offset` on in the widest aligned steps: calls `step(offset in the slice, width)`.
    #[inline]
    fn steps(offset: usize, len: usize, mut step: impl FnMut(usize, usize)) {
        let mut done = 0usize;
        while done < len {
            let at = offset.wrapping_add(done);
            let left = len.wrapping_sub(done);
            let width = if at % 8 == 0 && left >= 8 {
                8
            } else if at % 4 == 0 && left >= 4 {
                4
            } else if at % 2 == 0 && left >= 2 {
                2
            } else {
                1
            };
            step(done, width);
            done = done.wrapping_add(width);
        }
    }
}

/// Defines single accesses through an atomic type; one that does not fit is skipped.
macro_rules! atomics {
    ($($atomic:ident: $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = |$cell:ident| $body:expr, else $default:expr;)*) => {
        $(
            #[inline]
            fn $name(&self, offset: usize, $($arg: $ty),*) $(-> $ret)? {
                match self.at::<$atomic>(offset) {
                    // SAFETY: By the invariant of the type the pointer is valid and aligned; an atomic may be shared
                    // with a peer that uses atomic accesses too, as every CPU access of this width is.
                    Some(pointer) => { let $cell = unsafe { pointer.as_ref() }; $body }
                    None => $default,
                }
            }
        )*
    };
}

impl Memory for RawMemory {
    #[inline]
    fn size(&self) -> usize {
        self.size
    }

    #[inline]
    fn read(&self, offset: usize, into: &mut [u8]) {
        if !self.holds(offset, into.len()) {
            into.fill(0);
            return;
        }
        Self::steps(offset, into.len(), |done, width| {
            // SAFETY: `holds` checked the range, and `steps` gives only aligned pieces inside it.
            let source = unsafe { self.base.add(offset.wrapping_add(done)) };
            // SAFETY: `done + width <= into.len()`.
            let target = unsafe { into.as_mut_ptr().add(done) };
            // SAFETY: Aligned and inside the mapping; the target has `width` bytes and need not be aligned.
            unsafe {
                match width {
                    8 => target.cast::<u64>().write_unaligned(
                        source.cast::<AtomicU64>().as_ref().load(Ordering::Relaxed),
                    ),
                    4 => target.cast::<u32>().write_unaligned(
                        source.cast::<AtomicU32>().as_ref().load(Ordering::Relaxed),
                    ),
                    2 => target.cast::<u16>().write_unaligned(
                        source.cast::<AtomicU16>().as_ref().load(Ordering::Relaxed),
                    ),
                    _ => target.write(source.cast::<AtomicU8>().as_ref().load(Ordering::Relaxed)),
                }
            }
        });
    }

    #[inline]
    fn write(&self, offset: usize, from: &[u8]) {
        if !self.holds(offset, from.len()) {
            return;
        }
        Self::steps(offset, from.len(), |done, width| {
            // SAFETY: `holds` checked the range, and `steps` gives only aligned pieces inside it.
            let target = unsafe { self.base.add(offset.wrapping_add(done)) };
            // SAFETY: `done + width <= from.len()`.
            let source = unsafe { from.as_ptr().add(done) };
            // SAFETY: Aligned and inside the mapping; the source has `width` bytes and need not be aligned.
            unsafe {
                match width {
                    8 => target
                        .cast::<AtomicU64>()
                        .as_ref()
                        .store(source.cast::<u64>().read_unaligned(), Ordering::Relaxed),
                    4 => target
                        .cast::<AtomicU32>()
                        .as_ref()
                        .store(source.cast::<u32>().read_unaligned(), Ordering::Relaxed),
                    2 => target
                        .cast::<AtomicU16>()
                        .as_ref()
                        .store(source.cast::<u16>().read_unaligned(), Ordering::Relaxed),
                    _ => target
                        .cast::<AtomicU8>()
                        .as_ref()
                        .store(source.read(), Ordering::Relaxed),
                }
            }
        });
    }

    atomics! {
        AtomicU16: load_u16() -> u16 = |cell| cell.load(Ordering::Relaxed), else 0;
        AtomicU16: store_release_u16(value: u16) = |cell| cell.store(value, Ordering::Release), else ();
        AtomicU16: compare_exchange_u16(current: u16, new: u16) -> Result<u16, u16> =
            |cell| cell.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst), else Err(0);
        AtomicU32: load_u32() -> u32 = |cell| cell.load(Ordering::Relaxed), else 0;
        AtomicU32: load_acquire_u32() -> u32 = |cell| cell.load(Ordering::Acquire), else 0;
        AtomicU32: store_u32(value: u32) = |cell| cell.store(value, Ordering::Relaxed), else ();
        AtomicU32: store_release_u32(value: u32) = |cell| cell.store(value, Ordering::Release), else ();
        AtomicU32: compare_exchange_u32(current: u32, new: u32) -> Result<u32, u32> =
            |cell| cell.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst), else Err(0);
        AtomicU32: fetch_or_u32(mask: u32) -> u32 = |cell| cell.fetch_or(mask, Ordering::SeqCst), else 0;
        AtomicU32: fetch_and_u32(mask: u32) -> u32 = |cell| cell.fetch_and(mask, Ordering::SeqCst), else 0;
        AtomicU32: swap_u32(value: u32) -> u32 = |cell| cell.swap(value, Ordering::SeqCst), else 0;
        AtomicU64: load_u64() -> u64 = |cell| cell.load(Ordering::Relaxed), else 0;
        AtomicU64: store_u64(value: u64) = |cell| cell.store(value, Ordering::Relaxed), else ();
        AtomicU64: fetch_or_u64(mask: u64) -> u64 = |cell| cell.fetch_or(mask, Ordering::SeqCst), else 0;
        AtomicU64: fetch_and_u64(mask: u64) -> u64 = |cell| cell.fetch_and(mask, Ordering::SeqCst), else 0;
        AtomicU64: swap_u64(value: u64) -> u64 = |cell| cell.swap(value, Ordering::SeqCst), else 0;
    }

    #[inline]
    fn load_4_u64_and_first(&self, offset: usize) -> [u64; 5] {
        let Some(pointer) = self.at::<[AtomicU64; 4]>(offset) else {
            return [0; 5];
        };
        // SAFETY: By the invariant of the type the pointer is valid for all four and aligned; atomics may be shared with a
        // peer.
        let [first, second, third, fourth] = unsafe { pointer.as_ref() };
        [first, second, third, fourth, first].map(|cell| cell.load(Ordering::Acquire))
    }

    #[inline]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of shared memory on the heap.
    fn with_page(test: impl FnOnce(&RawMemory)) {
        let mut page = std::vec![0u64; 512];
        let base = NonNull::new(page.as_mut_ptr().cast()).unwrap();
        // SAFETY: The vector is aligned to 8, outlives the memory and is not touched meanwhile.
        test(&unsafe { RawMemory::new(base, 4096) });
    }

    #[test]
    fn copies_any_range_exactly() {
        with_page(|memory| {
            let pattern: std::vec::Vec<u8> = (0u8..40).collect();
            for offset in 0usize..17 {
                for len in 0usize..40 {
                    memory.write(0, &[0xff; 64]);
                    memory.write(offset, &pattern[..len]);
                    let mut all = [0u8; 64];
                    memory.read(0, &mut all);
                    assert!(all[..offset].iter().all(|b| *b == 0xff));
                    assert_eq!(&all[offset..offset + len], &pattern[..len]);
                    assert!(all[offset + len..].iter().all(|b| *b == 0xff));
                    let mut back = std::vec![0u8; len];
                    memory.read(offset, &mut back);
                    assert_eq!(back, &pattern[..len]);
                }
            }
        });
    }

    #[test]
    fn single_accesses_do_what_they_say() {
        with_page(|memory| {
            memory.store_u32(8, 0xf0);
            assert_eq!(memory.fetch_or_u32(8, 0x0f), 0xf0);
            assert_eq!(memory.fetch_and_u32(8, 0x3c), 0xff);
            assert_eq!(memory.swap_u32(8, 7), 0x3c);
            assert_eq!(memory.compare_exchange_u32(8, 7, 9), Ok(7));
            assert_eq!(memory.compare_exchange_u32(8, 7, 1), Err(9));
            assert_eq!(memory.load_acquire_u32(8), 9);
            memory.store_release_u32(8, 1 << 16);
            assert_eq!((memory.load_u16(8), memory.load_u16(10)), (0, 1));
            assert_eq!(memory.compare_exchange_u16(10, 1, 3), Ok(1));
            assert_eq!(memory.compare_exchange_u16(10, 1, 4), Err(3));
            memory.store_release_u16(10, 5);
            assert_eq!(memory.load_u32(8), 5 << 16);
            memory.store_u64(16, 1 << 40);
            assert_eq!(memory.fetch_or_u64(16, 1), 1 << 40);
            assert_eq!(memory.fetch_and_u64(16, 1), (1 << 40) | 1);
            assert_eq!(memory.swap_u64(16, 2), 1);
            assert_eq!(memory.load_u64(16), 2);
        });
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "access of 8 bytes"))]
    fn outside_is_seen_in_host_builds() {
        with_page(|memory| assert_eq!(memory.load_u64(4096), 0));
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "access of 9 bytes"))]
    fn copies_outside_are_seen_in_host_builds() {
        with_page(|memory| memory.write(4088, &[0; 9]));
    }

    #[test]
    fn a_copy_takes_the_widest_steps() {
        let steps = |offset, len| {
            let mut all = std::vec![];
            RawMemory::steps(offset, len, |at, width| all.push((at, width)));
            all
        };
        assert_eq!(steps(8, 16), [(0, 8), (8, 8)]);
        assert_eq!(steps(1, 15), [(0, 1), (1, 2), (3, 4), (7, 8)]);
        assert_eq!(steps(16, 7), [(0, 4), (4, 2), (6, 1)]);
        assert_eq!(steps(4, 5), [(0, 4), (4, 1)]);
        assert_eq!(steps(2, 3), [(0, 2), (2, 1)]);
    }

    crate::shared::wire! {
        struct Sample {
            a: u32,
            b: u16,
            c: [u8; 2],
        }
    }

    #[test]
    fn values_round_trip() {
        with_page(|memory| {
            let sample = Sample {
                a: 0x0102_0304,
                b: 5,
                c: [6, 7],
            };
            memory.write_value(4, &sample);
            assert_eq!(memory.read_value::<Sample>(4), sample);
            assert_eq!(bytes_of(&sample), [4, 3, 2, 1, 5, 0, 6, 7]);
        });
    }
}
