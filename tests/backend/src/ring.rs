// SPDX-License-Identifier: GPL-2.0

//! The backend's half of a shared ring, as the macros of Xen's `io/ring.h` have it.
//!
//! [`abi::ring`] is the other half. This one can also be made to lie: see [`BackRing::force`].

use abi::ring::{HEADER, REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD};
use abi::shared::{Memory, Pod};
use anyhow::{ensure, Context, Result};

/// What [`BackRing::scribble`] leaves behind.
const SCRIBBLE: u32 = 0xa5a5_a5a5;

/// The backend's half of a ring in the memory `M`.
pub struct BackRing<M> {
    memory: M,
    slots: u32,
    slot: usize,
    req_cons: u32,
    rsp_prod: u32,
    rsp_published: u32,
    scribbled: bool,
    /// The index that is shown was a lie: nothing more is said.
    forced: bool,
}

impl<M: Memory> BackRing<M> {
    /// Takes up the ring that a frontend has laid out in `memory`, for requests and responses of these sizes in bytes.
    ///
    /// # Errors
    ///
    /// When not even one slot fits.
    pub fn new(memory: M, request: usize, response: usize) -> Result<Self> {
        let slots = abi::ring::slots(memory.size(), request, response);
        ensure!(slots > 0, "the ring has no room for a request");
        // What an earlier backend has answered is answered.
        let start = memory.load_acquire_u32(RSP_PROD);
        Ok(Self {
            memory,
            slots,
            slot: request.max(response),
            req_cons: start,
            rsp_prod: start,
            rsp_published: start,
            scribbled: false,
            forced: false,
        })
    }

    /// Number of slots.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// The memory of the ring.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Ends the ring and gives its memory back.
    pub fn into_memory(self) -> M {
        self.memory
    }

    /// One past the last response that was written, published or not.
    pub fn rsp_prod(&self) -> u32 {
        self.rsp_prod
    }

    /// One past the last request that was taken.
    pub fn req_cons(&self) -> u32 {
        self.req_cons
    }

    /// One past the last request that the frontend shows.
    pub fn req_prod(&self) -> u32 {
        self.memory.load_acquire_u32(REQ_PROD)
    }

    /// Byte offset of the slot of `index`.
    pub fn offset(&self, index: u32) -> usize {
        HEADER + (index & (self.slots - 1)) as usize * self.slot
    }

    /// Number of requests that can be taken.
    ///
    /// # Errors
    ///
    /// When the frontend's index is impossible.
    pub fn waiting(&self) -> Result<u32> {
        let req_prod = self.req_prod();
        if self.forced || self.scribbled && req_prod == SCRIBBLE {
            return Ok(0);
        }
        let waiting = req_prod.wrapping_sub(self.req_cons);
        let unanswered = self.req_cons.wrapping_sub(self.rsp_prod);
        ensure!(
            waiting <= self.slots - unanswered,
            "the frontend moved the request index by {waiting}"
        );
        Ok(waiting)
    }

    /// Takes the next request.
    ///
    /// # Errors
    ///
    /// When the frontend's index is impossible.
    pub fn take<T: Pod>(&mut self) -> Result<Option<T>> {
        if self.waiting()? == 0 {
            return Ok(None);
        }
        let request = self.memory.read_value(self.offset(self.req_cons));
        self.req_cons = self.req_cons.wrapping_add(1);
        Ok(Some(request))
    }

    /// Writes a response; the frontend sees it after [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// When every request that was taken is answered.
    pub fn put<T: Pod>(&mut self, response: &T) -> Result<()> {
        ensure!(
            self.req_cons != self.rsp_prod,
            "no request is left to answer"
        );
        self.put_at(self.rsp_prod, response);
        self.rsp_prod = self.rsp_prod.wrapping_add(1);
        Ok(())
    }

    /// Writes a response into the slot of `index`, whatever is there.
    pub fn put_at<T: Pod>(&self, index: u32, response: &T) {
        self.memory.write_value(self.offset(index), response);
    }

    /// Shows all responses. Returns whether the frontend wants an event.
    #[must_use = "the frontend sleeps until it gets an event"]
    pub fn publish(&mut self) -> bool {
        if self.forced {
            return false;
        }
        let old = self.rsp_published;
        self.memory.store_release_u32(RSP_PROD, self.rsp_prod);
        self.memory.fence();
        let event = self.memory.load_u32(RSP_EVENT);
        self.rsp_published = self.rsp_prod;
        self.rsp_prod.wrapping_sub(event) < self.rsp_prod.wrapping_sub(old)
    }

    /// Asks for an event with the next request. Returns whether there is one already.
    ///
    /// # Errors
    ///
    /// When the frontend's index is impossible.
    pub fn arm(&mut self) -> Result<bool> {
        self.arm_after(0)
    }

    /// Asks for an event with the next request after the `waiting` that are seen. Returns whether it has come already.
    ///
    /// # Errors
    ///
    /// When the frontend's index is impossible.
    pub fn arm_after(&mut self, waiting: u32) -> Result<bool> {
        let event = self.req_cons.wrapping_add(waiting).wrapping_add(1);
        self.memory.store_u32(REQ_EVENT, event);
        self.memory.fence();
        Ok(self.waiting()? > waiting)
    }

    /// Shows `rsp_prod` to the frontend, true or not, and takes no request and shows no response any more.
    pub fn force(&mut self, rsp_prod: u32) {
        self.forced = true;
        self.memory.store_release_u32(RSP_PROD, rsp_prod);
    }

    /// Writes over all that is the frontend's: its indices, and every slot that holds neither a request for us nor a
    /// response for it. Returns false, and does nothing, while a request waits.
    ///
    /// # Errors
    ///
    /// When the frontend's indices are impossible.
    pub fn scribble(&mut self) -> Result<bool> {
        if self.waiting()? > 0 {
            return Ok(false);
        }
        // It asks for the response after the last that it took.
        let taken = self.memory.load_u32(RSP_EVENT).wrapping_sub(1);
        let used = self.req_cons.wrapping_sub(taken);
        let free = self
            .slots
            .checked_sub(used)
            .context("the frontend asks for an event of long ago")?;
        // Its next request has to tell of itself, whatever it makes of the index.
        self.memory
            .store_u32(REQ_EVENT, self.req_cons.wrapping_add(1));
        let shown = self
            .memory
            .compare_exchange_u32(REQ_PROD, self.req_cons, SCRIBBLE);
        if shown.is_err() {
            return Ok(false);
        }
        self.scribbled = true;
        self.memory.store_u32(RSP_EVENT, SCRIBBLE);
        for index in 0..free {
            let slot = self.offset(self.req_cons.wrapping_add(index));
            for at in (0..self.slot).step_by(4) {
                self.memory.store_u32(slot + at, SCRIBBLE);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_page;
    use abi::ring::FrontRing;
    use abi::shared::RawMemory;

    fn with_both(test: impl FnOnce(FrontRing<u64, u64, &RawMemory>, BackRing<&RawMemory>)) {
        with_page(|memory| {
            let front = FrontRing::new(memory).expect("a ring");
            let back = BackRing::new(memory, 8, 8).expect("its other half");
            test(front, back);
        });
    }

    #[test]
    fn requests_go_there_and_responses_back() {
        with_both(|mut front, mut back| {
            for round in 0..1000u64 {
                front.write(&round).expect("room");
                assert!(front.publish());
                assert_eq!(back.take().expect("an index"), Some(round));
                assert_eq!(back.take::<u64>().expect("an index"), None);
                assert!(!back.arm().expect("an index"));
                back.put(&(round + 7)).expect("a request to answer");
                assert!(back.put(&0u64).is_err());
                assert!(back.publish());
                assert_eq!(front.take(), Ok(Some(round + 7)));
                assert_eq!(front.arm(1), Ok(false));
            }
        });
    }

    #[test]
    fn a_frontend_that_lies_is_refused() {
        with_both(|_, mut back| {
            back.memory().store_u32(REQ_PROD, back.slots() + 1);
            assert!(back.take::<u64>().is_err() && back.arm().is_err());
            back.memory().store_u32(REQ_PROD, u32::MAX);
            assert!(back.take::<u64>().is_err());
        });
    }

    #[test]
    fn what_is_written_over_is_not_needed() {
        with_both(|mut front, mut back| {
            for round in 0..600u64 {
                front.write(&round).expect("room");
                assert!(front.publish());
                assert_eq!(back.take().expect("an index"), Some(round));
                assert!(back.scribble().expect("an index"));
                assert!(!back.arm().expect("nothing waits"));
                back.put(&round).expect("a request to answer");
                let _ = back.publish();
                assert_eq!(front.take(), Ok(Some(round)));
                assert_eq!(front.arm(1), Ok(false));
            }
            front.write(&1).expect("room");
            let _ = front.publish();
            assert!(!back.scribble().expect("an index"));
        });
    }

    #[test]
    fn a_forced_index_breaks_the_other_half() {
        with_both(|mut front, mut back| {
            front.write(&1).expect("room");
            let _ = front.publish();
            assert_eq!(back.take().expect("an index"), Some(1u64));
            back.force(back.rsp_prod().wrapping_sub(1));
            assert!(front.take().is_err());
        });
    }
}
