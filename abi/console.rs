// SPDX-License-Identifier: GPL-2.0

//! The console's shared page: a ring of input and a ring of output, with our side of the indices.
//!
//! Every character that is not yet consumed lies between a consumer and a producer index; both run freely and are
//! masked on use. We own `in_cons` and `out_prod` and keep them to ourselves: what the page says they are is never read
//! back. The two others are the backend's word, good only if they are no further from ours than the ring is long.
//!
//! Implements Xen's public header `io/console.h`. [`patience`] bounds how long a writer waits for a slow backend,
//! [`notice`] says when it waits and when the backend is notified.

pub mod keys;
pub mod notice;
pub mod patience;

use crate::shared::Memory;

/// Bytes of the input ring, which lies at the start of the page.
pub const IN_SIZE: u32 = 1024;
/// Bytes of the output ring.
pub const OUT_SIZE: u32 = 2048;
/// Where the output ring starts.
pub const OUT: usize = 1024;
/// Where our input index lies.
pub const IN_CONS: usize = 3072;
/// Where the backend's input index lies.
pub const IN_PROD: usize = 3076;
/// Where the backend's output index lies.
pub const OUT_CONS: usize = 3080;
/// Where our output index lies.
pub const OUT_PROD: usize = 3084;
/// Where newer backends say whether somebody serves the ring (a byte).
pub const CONNECTION: usize = 3088;
/// Bytes of the whole interface.
pub const SIZE: usize = 3092;

/// [`CONNECTION`]: nobody empties the ring for now. Older backends leave it 0, which means connected.
pub const DISCONNECTED: u8 = 1;

/// An index of the backend is further from ours than the ring is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadIndex {
    /// Our index.
    pub ours: u32,
    /// What the backend wrote.
    pub theirs: u32,
}

/// One piece of a range of a ring: offset in the ring, and length.
type Piece = (usize, usize);

/// Splits `len` bytes from the free-running index `from` on at the end of a ring of `size` bytes (a power of two).
fn pieces(from: u32, len: u32, size: u32) -> [Piece; 2] {
    let start = from & size.wrapping_sub(1);
    let first = len.min(size.wrapping_sub(start));
    [
        (start as usize, first as usize),
        (0, len.wrapping_sub(first) as usize),
    ]
}

/// A count of bytes as an index distance; more than a ring holds is cut to what every ring is shorter than.
fn distance(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The frontend's side of a console page.
#[derive(Debug)]
pub struct Ring<M> {
    memory: M,
    in_cons: u32,
    out_prod: u32,
}

impl<M: Memory> Ring<M> {
    /// Takes up the page where the last frontend (firmware, or this module before it was reloaded) left it.
    ///
    /// Returns `None` if the memory is too small. A page with impossible indices is started afresh by the first
    /// [`read`](Self::read) and the first [`write`](Self::write).
    pub fn attach(memory: M) -> Option<Self> {
        if memory.size() < SIZE {
            return None;
        }
        let ring = Self {
            in_cons: memory.load_u32(IN_CONS),
            out_prod: memory.load_u32(OUT_PROD),
            memory,
        };
        Some(ring)
    }

    /// Takes up a page that was made anew with the domain, as [`attach`](Self::attach) does.
    pub fn renew(&mut self) {
        self.in_cons = self.memory.load_u32(IN_CONS);
        self.out_prod = self.memory.load_u32(OUT_PROD);
    }

    /// How many bytes of input there are.
    ///
    /// # Errors
    ///
    /// [`BadIndex`].
    pub fn input(&self) -> Result<u32, BadIndex> {
        // Acquire: the bytes are read after the index that covers them.
        let theirs = self.memory.load_acquire_u32(IN_PROD);
        let filled = theirs.wrapping_sub(self.in_cons);
        if filled > IN_SIZE {
            return Err(BadIndex {
                ours: self.in_cons,
                theirs,
            });
        }
        Ok(filled)
    }

    /// How many bytes of output fit.
    ///
    /// # Errors
    ///
    /// [`BadIndex`].
    pub fn room(&self) -> Result<u32, BadIndex> {
        // Acquire: we write over bytes only after the backend has said that it read them.
        let theirs = self.memory.load_acquire_u32(OUT_CONS);
        let filled = self.out_prod.wrapping_sub(theirs);
        OUT_SIZE.checked_sub(filled).ok_or(BadIndex {
            ours: self.out_prod,
            theirs,
        })
    }

    /// Moves input to `into`; returns how many bytes. The backend wants to know if there were any.
    ///
    /// # Errors
    ///
    /// [`BadIndex`]: the input is dropped, and what arrives from here on can be read.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, BadIndex> {
        let filled = match self.input() {
            Ok(filled) => filled,
            Err(error) => {
                self.in_cons = error.theirs;
                self.memory.store_release_u32(IN_CONS, self.in_cons);
                return Err(error);
            }
        };
        let len = filled.min(distance(into.len()));
        let [(offset, first), (wrapped, second)] = pieces(self.in_cons, len, IN_SIZE);
        if let Some((piece, rest)) = into.split_at_mut_checked(first) {
            self.memory.read(offset, piece);
            if let Some(piece) = rest.get_mut(..second) {
                self.memory.read(wrapped, piece);
            }
        }
        if len > 0 {
            self.in_cons = self.in_cons.wrapping_add(len);
            // Release: the backend may write over the bytes once it sees the index.
            self.memory.store_release_u32(IN_CONS, self.in_cons);
        }
        Ok(len as usize)
    }

    /// Moves as much of `from` to the ring as fits; returns how many bytes. The backend wants to know if there were any.
    ///
    /// # Errors
    ///
    /// [`BadIndex`]: nothing was written, and what follows goes where the backend reads.
    pub fn write(&mut self, from: &[u8]) -> Result<usize, BadIndex> {
        let room = match self.room() {
            Ok(room) => room,
            Err(error) => {
                // A backend empties no ring whose indices cannot be, so its own would never come back.
                self.out_prod = error.theirs;
                self.memory.store_release_u32(OUT_PROD, self.out_prod);
                return Err(error);
            }
        };
        let len = room.min(distance(from.len()));
        let [(offset, first), (wrapped, second)] = pieces(self.out_prod, len, OUT_SIZE);
        if let Some((piece, rest)) = from.split_at_checked(first) {
            self.memory.write(OUT.wrapping_add(offset), piece);
            if let Some(piece) = rest.get(..second) {
                self.memory.write(OUT.wrapping_add(wrapped), piece);
            }
        }
        if len > 0 {
            self.out_prod = self.out_prod.wrapping_add(len);
            // Release: the backend sees the bytes before the index that covers them.
            self.memory.store_release_u32(OUT_PROD, self.out_prod);
        }
        Ok(len as usize)
    }

    /// Tells whether no output waits for the backend. With an impossible index none ever will be taken.
    pub fn is_drained(&self) -> bool {
        !matches!(self.room(), Ok(room) if room < OUT_SIZE)
    }

    /// Tells whether somebody empties the output ring, as far as the backend says.
    pub fn is_served(&self) -> bool {
        let mut connection = [0];
        self.memory.read(CONNECTION, &mut connection);
        connection != [DISCONNECTED]
    }

    /// The backend's two indices, to find out whether an event meant anything.
    pub fn progress(&self) -> Progress {
        Progress {
            in_prod: self.memory.load_u32(IN_PROD),
            out_cons: self.memory.load_u32(OUT_CONS),
        }
    }
}

/// What the backend has done so far; differs from an earlier one if it did something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    in_prod: u32,
    out_cons: u32,
}

#[cfg(test)]
mod tests;
