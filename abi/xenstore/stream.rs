// SPDX-License-Identifier: GPL-2.0

//! Messages out of a stream of bytes that arrives in pieces.

use core::borrow::BorrowMut;

use super::wire::{Header, PAYLOAD_MAX};

/// A length beyond [`PAYLOAD_MAX`]: where the next message begins is unknown from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong(pub u32);

/// One whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its head.
    pub header: Header,
    /// Its body, `header.length` bytes.
    pub body: &'a [u8],
}

/// Collects the bytes of one message after another, in memory of the caller's.
///
/// # Invariants
///
/// `head_fill <= Header::SIZE`. While the head is complete, `body_fill <= length <= PAYLOAD_MAX`.
#[derive(Debug)]
pub struct Assembler<B> {
    head: [u8; Header::SIZE],
    head_fill: usize,
    body: B,
    body_fill: usize,
    length: usize,
}

impl<B: BorrowMut<[u8]>> Assembler<B> {
    /// Starts at the beginning of a message. A body that is longer than `body` ends the collecting as one that is
    /// too long.
    pub fn new(body: B) -> Self {
        Self {
            head: [0; Header::SIZE],
            head_fill: 0,
            body,
            body_fill: 0,
            length: 0,
        }
    }

    /// Forgets what was collected; the next byte begins a message.
    pub fn reset(&mut self) {
        self.head_fill = 0;
        self.body_fill = 0;
        self.length = 0;
    }

    /// Tells whether a message has begun and is not whole.
    pub fn is_midway(&self) -> bool {
        self.head_fill != 0
    }

    /// Takes bytes from `source`, which fills a part of the given buffer from its start and returns how much, and 0 when
    /// there is nothing now. Returns a message once one is whole, `None` when `source` has run dry.
    ///
    /// # Errors
    ///
    /// [`TooLong`] when a head announces more than [`PAYLOAD_MAX`] bytes; collects nothing more until [`Self::reset`].
    pub fn step(
        &mut self,
        mut source: impl FnMut(&mut [u8]) -> usize,
    ) -> Result<Option<Message<'_>>, TooLong> {
        while self.head_fill < Header::SIZE {
            let rest = self.head.get_mut(self.head_fill..).unwrap_or_default();
            let got = source(rest).min(rest.len());
            if got == 0 {
                return Ok(None);
            }
            self.head_fill = self.head_fill.saturating_add(got);
            if self.head_fill == Header::SIZE {
                self.body_fill = 0;
                let length = Header::decode(&self.head).length;
                self.length = usize::try_from(length).unwrap_or(usize::MAX);
            }
        }
        let header = Header::decode(&self.head);
        if self.length > self.body.borrow().len().min(PAYLOAD_MAX) {
            return Err(TooLong(header.length));
        }
        while self.body_fill < self.length {
            let rest = self
                .body
                .borrow_mut()
                .get_mut(self.body_fill..self.length)
                .unwrap_or_default();
            let got = source(rest).min(rest.len());
            if got == 0 {
                return Ok(None);
            }
            self.body_fill = self.body_fill.saturating_add(got);
        }
        self.head_fill = 0;
        let body = self.body.borrow().get(..self.length).unwrap_or_default();
        Ok(Some(Message { header, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{boxed::Box, vec::Vec};

    fn message(kind: u32, body: &[u8]) -> Vec<u8> {
        let header = Header {
            kind,
            request: 7,
            transaction: 9,
            length: body.len() as u32,
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    /// Feeds the bytes in pieces of the given size and returns the bodies of the messages that came out.
    fn feed(
        assembler: &mut Assembler<[u8; PAYLOAD_MAX]>,
        bytes: &[u8],
        piece: usize,
    ) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut out = Vec::new();
        for chunk in bytes.chunks(piece) {
            let mut left = chunk;
            while let Some(message) = assembler.step(|into| {
                let n = into.len().min(left.len());
                into[..n].copy_from_slice(&left[..n]);
                left = &left[n..];
                n
            })? {
                out.push(message.body.to_vec());
            }
        }
        Ok(out)
    }

    #[test]
    fn any_cut_gives_the_same_messages() {
        let mut bytes = message(2, b"a body");
        bytes.extend(message(16, b""));
        bytes.extend(message(15, &[5; 300]));
        for piece in 1..bytes.len() {
            let mut assembler = Box::new(Assembler::new([0; PAYLOAD_MAX]));
            let bodies = feed(&mut assembler, &bytes, piece).unwrap();
            assert_eq!(bodies, [b"a body".to_vec(), Vec::new(), std::vec![5; 300]]);
            assert!(!assembler.is_midway());
        }
    }

    #[test]
    fn truncation_at_every_byte_gives_no_message() {
        let bytes = message(2, b"a body");
        for end in 0..bytes.len() {
            let mut assembler = Box::new(Assembler::new([0; PAYLOAD_MAX]));
            assert!(feed(&mut assembler, &bytes[..end], 3.max(end))
                .unwrap()
                .is_empty());
            assert_eq!(assembler.is_midway(), end != 0);
        }
    }

    #[test]
    fn length_over_4096_is_refused_until_reset() {
        let mut assembler = Box::new(Assembler::new([0; PAYLOAD_MAX]));
        assert_eq!(
            feed(&mut assembler, &message(2, &[1; 4096]), 1000).unwrap()[0].len(),
            4096
        );
        for length in [4097, 65536, u32::MAX] {
            let header = Header {
                kind: 2,
                request: 0,
                transaction: 0,
                length,
            };
            let bytes = header.encode();
            assert_eq!(feed(&mut assembler, &bytes, 16), Err(TooLong(length)));
            assert_eq!(feed(&mut assembler, &bytes, 16), Err(TooLong(length)));
            assembler.reset();
            assert_eq!(feed(&mut assembler, &message(2, b"x"), 5).unwrap(), [b"x"]);
        }
    }

    #[test]
    fn a_source_that_lies_about_its_count_is_cut() {
        let mut assembler = Box::new(Assembler::new([0; PAYLOAD_MAX]));
        let mut calls = 0;
        let message = assembler.step(|into| {
            calls += 1;
            into.fill(0);
            usize::MAX
        });
        assert!(message.unwrap().unwrap().body.is_empty());
        assert_eq!(calls, 1);
    }
}
