// SPDX-License-Identifier: GPL-2.0

//! The front end's half of a shared request and response ring.
//!
//! A ring is one or more shared pages: a header of four indices and then a power of two of slots, each large enough
//! for a request and for a response. The front end produces requests, the back end consumes them and produces
//! responses into the slots it has consumed. Indices run freely over 32 bits and are masked for use.
//!
//! The back end is an adversary. It owns `rsp_prod` and `req_event` but can write every byte; so this side keeps its
//! own copy of every index that it produces and never reads one back, and it accepts `rsp_prod` only while that stays
//! within what was published and not yet answered. Implements `DEFINE_RING_TYPES` and the macros of Xen's public
//! header `io/ring.h`.

use crate::shared::{Memory, Pod};
use core::{fmt, marker::PhantomData, mem::size_of};

/// Offset of `req_prod`: one past the last request that the back end may take. Ours.
pub const REQ_PROD: usize = 0;
/// Offset of `req_event`: the back end wants a notification when `req_prod` reaches it. Theirs.
pub const REQ_EVENT: usize = 4;
/// Offset of `rsp_prod`: one past the last response that we may take. Theirs.
pub const RSP_PROD: usize = 8;
/// Offset of `rsp_event`: we want a notification when `rsp_prod` reaches it. Ours.
pub const RSP_EVENT: usize = 12;
/// Size of the header, and offset of the first slot.
pub const HEADER: usize = 64;

/// The back end broke the rules of the ring; nothing it says over this ring can be believed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The response producer index that it wrote.
    pub rsp_prod: u32,
    /// The next response that we would have taken.
    pub rsp_cons: u32,
    /// How many requests were waiting for a response.
    pub outstanding: u32,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "backend moved the response index to {:#x}, but only {} requests from {:#x} on are outstanding",
            self.rsp_prod, self.outstanding, self.rsp_cons
        )
    }
}

/// Every slot holds a request that has not been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// How many slots a ring of `bytes` bytes has for requests and responses of these sizes: a power of two, 0 if none.
pub const fn slots(bytes: usize, request: usize, response: usize) -> u32 {
    let slot = if request > response {
        request
    } else {
        response
    };
    match bytes.saturating_sub(HEADER).checked_div(slot) {
        None | Some(0) => 0,
        Some(fit) => 1 << if fit.ilog2() < 30 { fit.ilog2() } else { 30 },
    }
}

/// The front end's half of a ring of `Req` and `Rsp` in the memory `M`.
///
/// # Invariants
///
/// - `size` is a power of two, and `size` slots of `slot` bytes after the header fit in the memory.
/// - Going round the index space: `rsp_cons`, `rsp_seen`, `req_published`, `req_prod` follow each other in this order,
///   and `req_prod - rsp_cons <= size`.
pub struct FrontRing<Req, Rsp, M> {
    memory: M,
    size: u32,
    slot: usize,
    /// One past the last request written, published or not.
    req_prod: u32,
    /// What was last written to the shared `req_prod`.
    req_published: u32,
    /// The next response to take.
    rsp_cons: u32,
    /// The last shared `rsp_prod` that was accepted.
    rsp_seen: u32,
    /// What was last written to the shared `rsp_event`.
    rsp_event: u32,
    types: PhantomData<fn(Req) -> Rsp>,
}

impl<Req: Pod, Rsp: Pod, M: Memory> FrontRing<Req, Rsp, M> {
    /// Lays an empty ring out in `memory`, which must not be shared yet. Returns `None` if not even one slot fits.
    pub fn new(memory: M) -> Option<Self> {
        let size = slots(memory.size(), size_of::<Req>(), size_of::<Rsp>());
        if size == 0 {
            return None;
        }
        memory.write(0, &[0; HEADER]);
        memory.store_u32(REQ_EVENT, 1);
        memory.store_u32(RSP_EVENT, 1);
        // INVARIANT: `slots` made the size fit, and all indices are equal.
        Some(Self {
            memory,
            size,
            slot: size_of::<Req>().max(size_of::<Rsp>()),
            req_prod: 0,
            req_published: 0,
            rsp_cons: 0,
            rsp_seen: 0,
            rsp_event: 1,
            types: PhantomData,
        })
    }

    /// Lets a fresh ring's indices begin elsewhere than at 0: for tests of the wrap-around.
    #[cfg(any(test, feature = "test-utils"))]
    pub fn start_at(&mut self, index: u32) {
        // INVARIANT: All indices are equal.
        self.req_prod = index;
        self.req_published = index;
        self.rsp_cons = index;
        self.rsp_seen = index;
        self.rsp_event = index.wrapping_add(1);
        self.memory.store_u32(REQ_PROD, index);
        self.memory.store_u32(REQ_EVENT, index.wrapping_add(1));
        self.memory.store_u32(RSP_PROD, index);
        self.memory.store_u32(RSP_EVENT, index.wrapping_add(1));
    }

    /// Number of slots.
    #[inline]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Number of requests that can be written now.
    #[inline]
    pub fn free(&self) -> u32 {
        self.size
            .wrapping_sub(self.req_prod.wrapping_sub(self.rsp_cons))
    }

    /// Number of requests that were published and not yet answered, answers not yet taken included.
    #[inline]
    pub fn outstanding(&self) -> u32 {
        self.req_published.wrapping_sub(self.rsp_cons)
    }

    /// Number of requests that were written but not yet published.
    #[inline]
    pub fn unpublished(&self) -> u32 {
        self.req_prod.wrapping_sub(self.req_published)
    }

    /// Whether the back end has taken any request. Only until it has: later the indices may have come round.
    pub fn is_touched(&self) -> bool {
        self.memory.load_u32(REQ_EVENT) != 1 || self.memory.load_u32(RSP_PROD) != 0
    }

    /// The memory that the ring lies in.
    #[inline]
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Ends the ring and gives its memory back.
    pub fn into_memory(self) -> M {
        self.memory
    }

    /// Byte offset of the slot of `index`; inside the memory by the invariants.
    #[inline]
    fn offset(&self, index: u32) -> usize {
        let slot = index & self.size.wrapping_sub(1);
        HEADER.wrapping_add((slot as usize).wrapping_mul(self.slot))
    }

    /// Writes a request into the next slot; the back end sees it after [`publish`](Self::publish).
    ///
    /// Returns the slot's number, below [`size`](Self::size).
    ///
    /// # Errors
    ///
    /// [`Full`] if no slot is free; nothing was written.
    #[inline]
    pub fn write(&mut self, request: &Req) -> Result<u32, Full> {
        if self.free() == 0 {
            return Err(Full);
        }
        let index = self.req_prod;
        self.memory.write_value(self.offset(index), request);
        // INVARIANT: A slot was free, so the distance to `rsp_cons` stays within the size.
        self.req_prod = index.wrapping_add(1);
        Ok(index & self.size.wrapping_sub(1))
    }

    /// Takes back the last `count` requests that were written, as far as they are not published.
    pub fn unwrite(&mut self, count: u32) {
        // INVARIANT: Not below `req_published`.
        self.req_prod = self.req_prod.wrapping_sub(count.min(self.unpublished()));
    }

    /// Whether a response that is still to be taken brings a notification, if the back end keeps the rules.
    #[inline]
    pub fn armed(&self) -> bool {
        let ahead = self.rsp_event.wrapping_sub(self.rsp_cons);
        ahead != 0 && ahead <= self.outstanding()
    }

    /// Shows all written requests to the back end. Returns whether it wants to be notified.
    #[inline]
    #[must_use = "the back end sleeps until it is notified"]
    pub fn publish(&mut self) -> bool {
        self.publish_but(0)
    }

    /// Number of requests that were written and not yet answered, published or not.
    #[inline]
    pub fn written(&self) -> u32 {
        self.req_prod.wrapping_sub(self.rsp_cons)
    }

    /// As [`publish`](Self::publish), but holds the last `back` requests back, as far as they are not published.
    #[inline]
    #[must_use = "the back end sleeps until it is notified"]
    pub fn publish_but(&mut self, back: u32) -> bool {
        let old = self.req_published;
        let new = self.req_prod.wrapping_sub(back.min(self.unpublished()));
        // The requests themselves must be visible before the index that covers them.
        self.memory.store_release_u32(REQ_PROD, new);
        // And the index before we look whether the back end went to sleep in the meantime.
        self.memory.fence();
        let event = self.memory.load_u32(REQ_EVENT);
        // INVARIANT: Not beyond `req_prod`, and not back.
        self.req_published = new;
        new.wrapping_sub(event) < new.wrapping_sub(old)
    }

    /// Reads the back end's producer index and returns how many responses can be taken.
    ///
    /// # Errors
    ///
    /// [`Broken`] if the index went backwards or beyond the outstanding requests.
    #[inline]
    fn look(&mut self) -> Result<u32, Broken> {
        let rsp_prod = self.memory.load_acquire_u32(RSP_PROD);
        let ready = rsp_prod.wrapping_sub(self.rsp_cons);
        let seen = self.rsp_seen.wrapping_sub(self.rsp_cons);
        let outstanding = self.outstanding();
        if ready > outstanding || ready < seen {
            return Err(Broken {
                rsp_prod,
                rsp_cons: self.rsp_cons,
                outstanding,
            });
        }
        // INVARIANT: Between `rsp_cons` and `req_published` by the check.
        self.rsp_seen = rsp_prod;
        Ok(ready)
    }

    /// Takes the next response, if there is one. What is in it is not checked.
    ///
    /// # Errors
    ///
    /// [`Broken`] if the back end's index cannot be true.
    #[inline]
    pub fn take(&mut self) -> Result<Option<Rsp>, Broken> {
        if self.rsp_seen == self.rsp_cons && self.look()? == 0 {
            return Ok(None);
        }
        let response = self.memory.read_value(self.offset(self.rsp_cons));
        // INVARIANT: At most `rsp_seen`, since the two differed.
        self.rsp_cons = self.rsp_cons.wrapping_add(1);
        Ok(Some(response))
    }

    /// Asks for a notification after `after` more responses (1 for the next one), then looks once more.
    ///
    /// Returns whether a response has come meanwhile: then no notification may follow, and the caller goes on taking.
    ///
    /// # Errors
    ///
    /// [`Broken`] if the back end's index cannot be true.
    #[inline]
    pub fn arm(&mut self, after: u32) -> Result<bool, Broken> {
        self.rsp_event = self.rsp_cons.wrapping_add(after.max(1));
        self.memory.store_u32(RSP_EVENT, self.rsp_event);
        // The back end must see the wish before we look for the last time, or its response could slip through.
        self.memory.fence();
        Ok(self.look()? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::RawMemory;
    use core::ptr::NonNull;

    type Ring<'a> = FrontRing<u64, u64, &'a RawMemory>;

    /// A ring of 8-byte slots over one page.
    fn with_ring(test: impl FnOnce(Ring<'_>, &RawMemory)) {
        let mut page = std::vec![0u64; 512];
        let base = NonNull::new(page.as_mut_ptr().cast()).unwrap();
        // SAFETY: The vector is aligned to 8, outlives the memory and is not touched meanwhile.
        let memory = unsafe { RawMemory::new(base, 4096) };
        test(FrontRing::new(&memory).unwrap(), &memory);
    }

    #[test]
    fn sizes_are_those_of_xen() {
        assert_eq!(slots(4096, 12, 4), 256);
        assert_eq!(slots(4096, 8, 8), 256);
        assert_eq!(slots(4096, 112, 16), 32);
        assert_eq!(slots(16384, 112, 16), 128);
        assert_eq!(slots(64, 8, 8), 0);
        assert_eq!(slots(0, 8, 8), 0);
    }

    #[test]
    fn full_ring_refuses() {
        with_ring(|mut ring, _| {
            for value in 0..u64::from(ring.size()) {
                ring.write(&value).unwrap();
            }
            assert_eq!(ring.write(&0), Err(Full));
            assert_eq!((ring.free(), ring.unpublished()), (0, 256));
        });
    }

    #[test]
    fn answers_come_once_and_in_order() {
        with_ring(|mut ring, memory| {
            for round in 0u32..1000 {
                ring.write(&u64::from(round)).unwrap();
                assert!(ring.publish());
                assert_eq!(ring.take(), Ok(None));
                memory.store_u32(REQ_EVENT, round.wrapping_add(2));
                memory.store_u32(RSP_PROD, round.wrapping_add(1));
                assert_eq!(ring.take(), Ok(Some(u64::from(round))));
                assert_eq!(ring.take(), Ok(None));
                assert_eq!(ring.arm(1), Ok(false));
            }
        });
    }

    #[test]
    fn a_backend_that_takes_nothing_is_known() {
        with_ring(|mut ring, memory| {
            ring.write(&1).unwrap();
            assert!(ring.publish());
            // It looked before the request was there.
            memory.store_u32(REQ_EVENT, 1);
            assert!(!ring.is_touched());
            memory.store_u32(REQ_EVENT, 2);
            assert!(ring.is_touched());
            memory.store_u32(REQ_EVENT, 1);
            memory.store_u32(RSP_PROD, 1);
            assert!(ring.is_touched());
        });
    }

    #[test]
    fn what_is_held_back_is_shown_later() {
        with_ring(|mut ring, memory| {
            for _ in 0..3 {
                ring.write(&1).unwrap();
            }
            assert!(ring.publish_but(1));
            assert_eq!(memory.load_u32(REQ_PROD), 2);
            assert_eq!(
                (ring.outstanding(), ring.unpublished(), ring.written()),
                (2, 1, 3)
            );
            // What was published is not taken back.
            let _ = ring.publish_but(2);
            assert_eq!(memory.load_u32(REQ_PROD), 2);
            let _ = ring.publish();
            assert_eq!(memory.load_u32(REQ_PROD), 3);
        });
    }

    #[test]
    fn awake_backend_is_not_notified() {
        with_ring(|mut ring, memory| {
            memory.store_u32(REQ_EVENT, 5);
            ring.write(&1).unwrap();
            assert!(!ring.publish());
            for _ in 0..4 {
                ring.write(&1).unwrap();
            }
            assert!(ring.publish());
        });
    }

    #[test]
    fn impossible_indices_break_the_ring() {
        with_ring(|mut ring, memory| {
            ring.write(&1).unwrap();
            ring.write(&1).unwrap();
            let _ = ring.publish();
            ring.write(&1).unwrap();
            // Written but not published: not outstanding.
            memory.store_u32(RSP_PROD, 3);
            assert_eq!(
                ring.take(),
                Err(Broken {
                    rsp_prod: 3,
                    rsp_cons: 0,
                    outstanding: 2
                })
            );
            memory.store_u32(RSP_PROD, 2);
            assert!(matches!(ring.take(), Ok(Some(_))));
            // Backwards.
            memory.store_u32(RSP_PROD, 0);
            assert!(ring.arm(1).is_err());
            memory.store_u32(RSP_PROD, 1);
            assert!(ring.arm(1).is_err());
        });
    }

    #[test]
    fn it_is_armed_while_an_announced_response_is_to_come() {
        with_ring(|mut ring, memory| {
            // A new ring asks for its first response.
            assert!(!ring.armed());
            for _ in 0..4 {
                ring.write(&1).unwrap();
            }
            assert!(!ring.armed());
            assert!(ring.publish());
            assert!(ring.armed());
            memory.store_u32(RSP_PROD, 1);
            assert!(matches!(ring.take(), Ok(Some(_))));
            assert!(!ring.armed());
            assert_eq!(ring.arm(3), Ok(false));
            assert!(ring.armed());
            assert_eq!(ring.arm(4), Ok(false));
            assert!(!ring.armed(), "beyond what is outstanding");
        });
    }

    #[test]
    fn only_what_was_not_published_is_taken_back() {
        with_ring(|mut ring, _| {
            ring.write(&1).unwrap();
            assert!(ring.publish());
            for _ in 0..3 {
                ring.write(&2).unwrap();
            }
            ring.unwrite(2);
            assert_eq!((ring.unpublished(), ring.free()), (1, 254));
            ring.unwrite(9);
            assert_eq!((ring.unpublished(), ring.outstanding()), (0, 1));
            assert_eq!(ring.write(&3), Ok(1));
        });
    }

    #[test]
    fn arming_sees_a_late_response() {
        with_ring(|mut ring, memory| {
            ring.write(&1).unwrap();
            let _ = ring.publish();
            memory.store_u32(RSP_PROD, 1);
            assert_eq!(ring.arm(1), Ok(true));
            assert_eq!(memory.load_u32(RSP_EVENT), 1);
        });
    }
}
