// SPDX-License-Identifier: GPL-2.0

//! The page that a guest and the xenstore share: `struct xenstore_domain_interface` of `io/xs_wire.h`, with the
//! reconnection described in `misc/xenstore-ring.txt`.
//!
//! Two byte rings, one for each direction, whose indices count freely. Our own indices are kept here and only ever
//! written to the page, so the server can move its own two and nothing else.

use crate::shared::Memory;

/// Bytes in each ring (`XENSTORE_RING_SIZE`).
pub const RING_SIZE: u32 = 1024;

/// Bytes of the page that the protocol uses.
pub const INTERFACE_SIZE: usize = 2076;

const REQUESTS: usize = 0;
const REPLIES: usize = 1024;
const REQ_CONS: usize = 2048;
const REQ_PROD: usize = 2052;
const RSP_CONS: usize = 2056;
const RSP_PROD: usize = 2060;
const FEATURES: usize = 2064;
const CONNECTION: usize = 2068;
const ERROR: usize = 2072;

const FEATURE_RECONNECTION: u32 = 1;
const FEATURE_ERROR: u32 = 2;
const CONNECTED: u32 = 0;
const RECONNECT: u32 = 1;

/// The server's index lies further from ours than the ring is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// In the ring of requests.
    Requests {
        /// Our producer.
        producer: u32,
        /// The server's consumer.
        consumer: u32,
    },
    /// In the ring of replies.
    Replies {
        /// The server's producer.
        producer: u32,
        /// Our consumer.
        consumer: u32,
    },
}

/// What moved, and whether the server has to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes copied.
    pub bytes: usize,
    /// Send an event: the server may be waiting for this move.
    pub notify: bool,
}

/// Our end of the page.
#[derive(Debug)]
pub struct Ring<M> {
    memory: M,
    req_prod: u32,
    rsp_cons: u32,
}

/// Splits `count` bytes from free-running index `from` on into the two pieces `(offset, length)` in a ring.
fn pieces(from: u32, count: u32) -> [(usize, usize); 2] {
    let start = from % RING_SIZE;
    let first = count.min(RING_SIZE.saturating_sub(start));
    let second = count.saturating_sub(first);
    [(start as usize, first as usize), (0, second as usize)]
}

impl<M: Memory> Ring<M> {
    /// Takes over the page as it is: requests continue where our index stands, and replies that lie there are for us.
    pub fn new(memory: M) -> Self {
        Self {
            req_prod: memory.load_u32(REQ_PROD),
            rsp_cons: memory.load_u32(RSP_CONS),
            memory,
        }
    }

    /// Tells whether nothing is under way in either direction.
    pub fn is_quiet(&self) -> bool {
        self.memory.load_u32(REQ_CONS) == self.req_prod
            && self.memory.load_u32(RSP_PROD) == self.rsp_cons
    }

    /// Copies as much of `from` as there is room for into the ring of requests.
    ///
    /// # Errors
    ///
    /// [`Broken`] when the server's index is impossible; nothing is written then.
    pub fn write(&mut self, from: &[u8]) -> Result<Moved, Broken> {
        // The acquire orders our stores into the ring after the server's loads from it.
        let consumer = self.memory.load_acquire_u32(REQ_CONS);
        let used = self.req_prod.wrapping_sub(consumer);
        let free = RING_SIZE.checked_sub(used).ok_or(Broken::Requests {
            producer: self.req_prod,
            consumer,
        })?;
        let count = u32::try_from(from.len()).map_or(free, |len| len.min(free));
        if count == 0 {
            return Ok(Moved::default());
        }
        let mut rest = from;
        for (offset, length) in pieces(self.req_prod, count) {
            if let Some((now, later)) = rest.split_at_checked(length) {
                self.memory.write(REQUESTS.wrapping_add(offset), now);
                rest = later;
            }
        }
        self.req_prod = self.req_prod.wrapping_add(count);
        self.memory.store_release_u32(REQ_PROD, self.req_prod);
        Ok(Moved {
            bytes: count as usize,
            notify: true,
        })
    }

    /// Copies as many replies as there are and `into` holds.
    ///
    /// # Errors
    ///
    /// [`Broken`] when the server's index is impossible; nothing is read then.
    pub fn read(&mut self, into: &mut [u8]) -> Result<Moved, Broken> {
        // The acquire orders our loads from the ring after the server's stores into it.
        let producer = self.memory.load_acquire_u32(RSP_PROD);
        let ready = self.ready(producer)?;
        let count = u32::try_from(into.len()).map_or(ready, |len| len.min(ready));
        if count == 0 {
            return Ok(Moved::default());
        }
        let before = self.rsp_cons;
        let mut rest = into;
        for (offset, length) in pieces(before, count) {
            if let Some((now, later)) = rest.split_at_mut_checked(length) {
                self.memory.read(REPLIES.wrapping_add(offset), now);
                rest = later;
            } else {
                break;
            }
        }
        self.rsp_cons = before.wrapping_add(count);
        self.memory.store_release_u32(RSP_CONS, self.rsp_cons);
        // A server that found the ring full waits for room. It may have filled it up since the load above, so look
        // again, and after our index is visible.
        self.memory.fence();
        let full = self.memory.load_u32(RSP_PROD).wrapping_sub(before) >= RING_SIZE;
        Ok(Moved {
            bytes: count as usize,
            notify: full,
        })
    }

    fn ready(&self, producer: u32) -> Result<u32, Broken> {
        let ready = producer.wrapping_sub(self.rsp_cons);
        if ready > RING_SIZE {
            return Err(Broken::Replies {
                producer,
                consumer: self.rsp_cons,
            });
        }
        Ok(ready)
    }

    /// Tells whether there is something to read, or an index to complain about.
    pub fn has_input(&self) -> bool {
        self.memory.load_u32(RSP_PROD) != self.rsp_cons
    }

    /// Tells whether there is room to write, or an index to complain about.
    pub fn has_room(&self) -> bool {
        self.req_prod.wrapping_sub(self.memory.load_u32(REQ_CONS)) != RING_SIZE
    }

    /// Tells whether the server's two indices are possible.
    pub fn indices_fit(&self) -> bool {
        self.req_prod.wrapping_sub(self.memory.load_u32(REQ_CONS)) <= RING_SIZE
            && self.memory.load_u32(RSP_PROD).wrapping_sub(self.rsp_cons) <= RING_SIZE
    }

    /// Drops all replies that lie in the ring. Only right when none of them continues in bytes yet to come.
    pub fn discard_input(&mut self) {
        self.rsp_cons = self.memory.load_u32(RSP_PROD);
        self.memory.store_release_u32(RSP_CONS, self.rsp_cons);
    }

    /// Tells whether the server can start the page anew.
    pub fn can_reconnect(&self) -> bool {
        self.memory.load_u32(FEATURES) & FEATURE_RECONNECTION != 0
    }

    /// Asks the server to start the page anew; send an event afterwards. Until [`Self::reconnected`] says yes nothing may
    /// be read or written.
    pub fn begin_reconnect(&mut self) {
        self.memory.store_release_u32(CONNECTION, RECONNECT);
    }

    /// Tells whether the server has started the page anew, and takes it over then: both rings are empty, and every
    /// watch and transaction of this domain is gone.
    pub fn reconnected(&mut self) -> bool {
        if self.memory.load_acquire_u32(CONNECTION) != CONNECTED {
            return false;
        }
        self.req_prod = self.memory.load_u32(REQ_PROD);
        self.rsp_cons = self.memory.load_u32(RSP_CONS);
        true
    }

    /// Takes over a page that was made anew with the domain, as [`Self::new`] does.
    pub fn renew(&mut self) {
        self.req_prod = self.memory.load_u32(REQ_PROD);
        self.rsp_cons = self.memory.load_u32(RSP_CONS);
    }

    /// Returns why the server stopped to serve the page (`XENSTORE_ERROR_*`), or 0 when it has not or does not tell.
    pub fn server_error(&self) -> u32 {
        if self.memory.load_u32(FEATURES) & FEATURE_ERROR == 0 {
            return 0;
        }
        self.memory.load_u32(ERROR)
    }

    /// Returns the four indices for a report: request consumer and producer, reply consumer and producer.
    pub fn indices(&self) -> [u32; 4] {
        [
            self.memory.load_u32(REQ_CONS),
            self.req_prod,
            self.rsp_cons,
            self.memory.load_u32(RSP_PROD),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::RawMemory;
    use core::ptr::NonNull;
    use std::{vec, vec::Vec};

    /// Runs a test on our end and the server's view of the same page.
    fn with_page(start: u32, test: impl FnOnce(&mut Ring<&RawMemory>, &RawMemory)) {
        let mut page = vec![0u64; 512];
        let base = NonNull::new(page.as_mut_ptr().cast()).unwrap();
        // SAFETY: The vector is aligned to 8, outlives the memory and is not touched meanwhile.
        let memory = unsafe { RawMemory::new(base, 4096) };
        for index in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] {
            memory.store_u32(index, start);
        }
        test(&mut Ring::new(&memory), &memory);
    }

    /// The server takes all requests that lie in the ring.
    fn serve(memory: &RawMemory) -> Vec<u8> {
        let (mut cons, prod) = (memory.load_u32(REQ_CONS), memory.load_u32(REQ_PROD));
        let mut out = Vec::new();
        while cons != prod {
            let mut byte = [0];
            memory.read((cons % 1024) as usize, &mut byte);
            out.push(byte[0]);
            cons = cons.wrapping_add(1);
        }
        memory.store_u32(REQ_CONS, cons);
        out
    }

    /// The server answers.
    fn answer(memory: &RawMemory, bytes: &[u8]) {
        let mut prod = memory.load_u32(RSP_PROD);
        for byte in bytes {
            memory.write(1024 + (prod % 1024) as usize, &[*byte]);
            prod = prod.wrapping_add(1);
        }
        memory.store_u32(RSP_PROD, prod);
    }

    #[test]
    fn bytes_pass_through_at_every_offset() {
        for start in [0, 1, 511, 1000, 1023, u32::MAX - 100, u32::MAX] {
            with_page(start, |ring, memory| {
                assert!(ring.is_quiet());
                let pattern: Vec<u8> = (0..600u32).map(|n| n as u8).collect();
                for _ in 0..5 {
                    let moved = ring.write(&pattern).unwrap();
                    assert_eq!((moved.bytes, moved.notify), (600, true));
                    assert!(!ring.is_quiet());
                    assert_eq!(serve(memory), pattern);
                    answer(memory, &pattern);
                    assert!(ring.has_input());
                    let mut back = [0; 1000];
                    let moved = ring.read(&mut back).unwrap();
                    assert_eq!((moved.bytes, moved.notify), (600, false));
                    assert_eq!(&back[..600], pattern);
                    assert!(!ring.has_input() && ring.is_quiet());
                }
            });
        }
    }

    #[test]
    fn a_page_that_was_made_anew_is_taken_over() {
        with_page(5000, |ring, memory| {
            assert_eq!(ring.write(&[1; 20]).unwrap().bytes, 20);
            for index in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] {
                memory.store_u32(index, 0);
            }
            assert!(ring.write(&[2; 3]).is_err(), "the indices are not ours");
            ring.renew();
            assert!(ring.is_quiet());
            assert_eq!(ring.write(&[3; 5]).unwrap().bytes, 5);
            assert_eq!(serve(memory), [3; 5]);
            answer(memory, &[4; 7]);
            let mut back = [0; 10];
            assert_eq!(ring.read(&mut back).unwrap().bytes, 7);
        });
    }

    #[test]
    fn a_full_ring_takes_nothing_and_an_empty_gives_nothing() {
        with_page(77, |ring, memory| {
            assert_eq!(ring.write(&[1; 1500]).unwrap().bytes, 1024);
            assert_eq!(ring.write(&[1; 10]), Ok(Moved::default()));
            assert_eq!(ring.write(&[]), Ok(Moved::default()));
            assert!(!ring.has_room());
            assert_eq!(serve(memory).len(), 1024);
            assert!(ring.has_room());
            assert_eq!(ring.read(&mut [0; 10]), Ok(Moved::default()));
        });
    }

    #[test]
    fn a_server_that_waits_for_room_is_told() {
        with_page(5, |ring, memory| {
            answer(memory, &[3; 1024]);
            assert!(ring.read(&mut [0; 1]).unwrap().notify);
            assert!(!ring.read(&mut [0; 1]).unwrap().notify);
            answer(memory, &[3; 2]);
            assert!(ring.read(&mut [0; 1024]).unwrap().notify);
        });
    }

    #[test]
    fn indices_further_apart_than_1024_break_the_ring() {
        with_page(100, |ring, memory| {
            for wrong in [101, 2000, 100u32.wrapping_sub(1025)] {
                memory.store_u32(REQ_CONS, wrong);
                assert!(
                    matches!(ring.write(b"x"), Err(Broken::Requests { .. })),
                    "{wrong}"
                );
            }
            for wrong in [99, 1125, 100u32.wrapping_sub(1)] {
                memory.store_u32(RSP_PROD, wrong);
                assert!(ring.has_input());
                assert!(
                    matches!(ring.read(&mut [0; 4]), Err(Broken::Replies { .. })),
                    "{wrong}"
                );
            }
            assert_eq!(memory.load_u32(REQ_PROD), 100);
            assert_eq!(memory.load_u32(RSP_CONS), 100);
            assert!(!ring.indices_fit());
            memory.store_u32(REQ_CONS, 100);
            assert!(!ring.indices_fit());
            memory.store_u32(RSP_PROD, 100);
            assert!(ring.indices_fit());
            memory.store_u32(RSP_PROD, 1124);
            assert_eq!(ring.read(&mut [0; 2000]).unwrap().bytes, 1024);
        });
    }

    #[test]
    fn our_own_indices_on_the_page_are_never_believed() {
        with_page(0, |ring, memory| {
            memory.store_u32(REQ_PROD, 900);
            memory.store_u32(RSP_CONS, 900);
            assert_eq!(ring.write(b"abc").unwrap().bytes, 3);
            assert_eq!(memory.load_u32(REQ_PROD), 3);
            answer(memory, b"xy");
            let mut into = [0; 2];
            assert_eq!(ring.read(&mut into).unwrap().bytes, 2);
            assert_eq!(&into, b"xy");
            assert_eq!(memory.load_u32(RSP_CONS), 2);
        });
    }

    #[test]
    fn reconnection_takes_the_new_indices_over() {
        with_page(40, |ring, memory| {
            assert!(!ring.can_reconnect());
            assert_eq!(ring.server_error(), 0);
            memory.store_u32(ERROR, 2);
            assert_eq!(ring.server_error(), 0);
            memory.store_u32(FEATURES, 3);
            assert!(ring.can_reconnect());
            assert_eq!(ring.server_error(), 2);
            memory.store_u32(RSP_PROD, 40 + 2000);
            ring.begin_reconnect();
            assert!(!ring.reconnected());
            assert_eq!(memory.load_u32(CONNECTION), 1);
            for index in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD, CONNECTION] {
                memory.store_u32(index, 0);
            }
            assert!(ring.reconnected());
            assert_eq!(ring.indices(), [0; 4]);
            assert_eq!(ring.write(b"q").unwrap().bytes, 1);
        });
    }

    #[test]
    fn left_over_replies_can_be_dropped() {
        with_page(9, |ring, memory| {
            answer(memory, b"stale");
            ring.discard_input();
            assert!(ring.is_quiet());
            assert_eq!(memory.load_u32(RSP_CONS), 14);
        });
    }
}
