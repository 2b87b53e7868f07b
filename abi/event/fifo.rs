// SPDX-License-Identifier: GPL-2.0

//! The FIFO layout: a word per port, linked by the hypervisor into queues per vCPU and priority.
//!
//! Implements `event_channel.h` and the design "FIFO-based event channel ABI". The hypervisor appends at the tail of a
//! queue, we take from its head; the `LINKED` bit tells that a word is in some queue.

use crate::{
    shared::Memory,
    types::Port, //
};

/// How many ports there are at most (`EVTCHN_FIFO_NR_CHANNELS`).
pub const PORTS: u32 = 1 << 17;
/// How many event words lie in a page.
pub const WORDS_PER_PAGE: u32 = 1024;
/// How many pages of event words there can be.
pub const PAGES: usize = (PORTS / WORDS_PER_PAGE) as usize;
/// How many queues a vCPU has (`EVTCHN_FIFO_MAX_QUEUES`).
pub const QUEUES: usize = 16;

/// The event has happened.
pub const PENDING: u32 = 1 << 31;
/// The event is not announced.
pub const MASKED: u32 = 1 << 30;
/// The word is in a queue.
pub const LINKED: u32 = 1 << 29;
/// The hypervisor is about to unmask or link.
pub const BUSY: u32 = 1 << 28;
/// The port that follows in the queue.
pub const LINK: u32 = PORTS - 1;

/// Offset of the bit map of queues that are not empty, in the control block.
const READY: usize = 0;
/// Offset of the heads of the queues, in the control block.
const HEADS: usize = 8;

/// Fills a page of event words before the hypervisor sees it: all masked.
pub fn prepare<M: Memory>(page: &M) {
    for word in 0..WORDS_PER_PAGE as usize {
        page.store_u32(word.wrapping_mul(4), MASKED);
    }
}

/// Empties a control block before the hypervisor sees it again: nothing is queued.
pub fn prepare_control<M: Memory>(control: &M) {
    control.store_u32(READY, 0);
    for queue in 0..QUEUES {
        control.store_u32(HEADS.wrapping_add(queue.wrapping_mul(4)), 0);
    }
}

/// The event words, as far as the array has grown.
pub trait Words {
    /// The memory that holds a page of words.
    type Page: Memory;

    /// Page `index` of the array.
    fn page(&self, index: usize) -> Option<&Self::Page>;

    /// The page of the word of `port` and the word's offset in it.
    fn word(&self, port: Port) -> Option<(&Self::Page, usize)> {
        let page = self.page((port.0 / WORDS_PER_PAGE) as usize)?;
        Some((page, ((port.0 % WORDS_PER_PAGE) as usize).wrapping_mul(4)))
    }

    /// Masks `port`.
    fn mask(&self, port: Port) {
        if let Some((page, at)) = self.word(port) {
            page.fetch_or_u32(at, MASKED);
        }
    }

    /// Unmasks `port`. Returns whether the hypervisor has to do it, since the port is pending or its word is in use; it is
    /// still masked then.
    #[must_use = "a pending port gets no upcall otherwise"]
    fn unmask(&self, port: Port) -> bool {
        self.word(port).is_some_and(|(page, at)| {
            let word = page.load_u32(at);
            if word & MASKED == 0 {
                return false;
            }
            // Also a word that is busy, or that changes under us, is left to the hypervisor: it unmasks a port in any state.
            word & (PENDING | BUSY) != 0
                || page.compare_exchange_u32(at, word, word & !MASKED).is_err()
        })
    }

    /// Takes the pending bit of `port` down and masks it.
    fn ack(&self, port: Port) {
        if let Some((page, at)) = self.word(port) {
            let mut word = page.load_u32(at);
            for _ in 0..WORDS_PER_PAGE {
                match page.compare_exchange_u32(at, word, (word | MASKED) & !PENDING) {
                    Ok(_) => return,
                    Err(found) => word = found,
                }
            }
            page.fetch_or_u32(at, MASKED);
            page.fetch_and_u32(at, !PENDING);
        }
    }

    /// Tells whether `port` is masked.
    fn is_masked(&self, port: Port) -> bool {
        self.word(port)
            .is_none_or(|(page, at)| page.load_u32(at) & MASKED != 0)
    }

    /// Tells whether `port` is pending.
    fn is_pending(&self, port: Port) -> bool {
        self.word(port)
            .is_some_and(|(page, at)| page.load_u32(at) & PENDING != 0)
    }

    /// Makes `port` pending. No upcall follows until the hypervisor unmasks it.
    fn set_pending(&self, port: Port) {
        if let Some((page, at)) = self.word(port) {
            page.fetch_or_u32(at, PENDING);
        }
    }

    /// Takes the pending bit of `port` down.
    fn clear_pending(&self, port: Port) {
        if let Some((page, at)) = self.word(port) {
            page.fetch_and_u32(at, !PENDING);
        }
    }
}

/// The taking end of one vCPU's queues.
#[derive(Debug, Default)]
pub struct Queues {
    heads: [u32; QUEUES],
}

impl Queues {
    /// All queues empty.
    pub const fn new() -> Self {
        Self { heads: [0; QUEUES] }
    }

    /// Goes on where [`heads`](Self::heads) was.
    pub const fn from_heads(heads: [u32; QUEUES]) -> Self {
        Self { heads }
    }

    /// The next port in each queue, 0 where it has to be read from the control block.
    pub const fn heads(&self) -> [u32; QUEUES] {
        self.heads
    }

    /// Calls `handle` for each pending and unmasked port in the queues of the vCPU that owns `control`.
    ///
    /// Takes at most `budget` words. Returns whether it was enough: if not, the hypervisor raises no upcall for what is left,
    /// and the caller has to come again by itself. A port is taken off its queue before it is handled, so that it can be
    /// linked again at once; its pending bit is left to the handler.
    pub fn scan<W: Words, C: Memory>(
        &mut self,
        words: &W,
        control: &C,
        budget: u32,
        mut handle: impl FnMut(Port),
    ) -> bool {
        let mut ready = control.swap_u32(READY, 0);
        for _ in 0..budget {
            let queue = ready.trailing_zeros();
            let Some(head) = self.heads.get_mut(queue as usize) else {
                return true;
            };
            if *head == 0 {
                // The head is written before the ready bit, which was read with a full barrier.
                *head = control.load_u32(HEADS.wrapping_add((queue as usize).wrapping_mul(4)));
            }
            let port = Port(*head);
            let next = words.word(port).map_or(0, |(page, at)| unlink(page, at));
            *head = next;
            if next == 0 {
                ready &= !(1 << queue);
            }
            if let Some((page, at)) = words.word(port) {
                if page.load_u32(at) & (PENDING | MASKED) == PENDING {
                    handle(port);
                }
            }
            ready |= control.swap_u32(READY, 0);
        }
        // What is left must be found the next time.
        control.fetch_or_u32(READY, ready);
        ready == 0
    }
}

/// Takes a word off its queue. Returns the port that follows, 0 for none.
fn unlink<M: Memory>(page: &M, at: usize) -> u32 {
    let mut word = page.load_u32(at);
    // The hypervisor changes a word a few times at most before it links it.
    for _ in 0..WORDS_PER_PAGE {
        match page.compare_exchange_u32(at, word, word & !(LINKED | LINK)) {
            Ok(old) => return old & LINK,
            Err(found) => word = found,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::testing::page, shared::RawMemory};

    struct Array(std::vec::Vec<RawMemory>);

    impl Words for Array {
        type Page = RawMemory;

        fn page(&self, index: usize) -> Option<&RawMemory> {
            self.0.get(index)
        }
    }

    /// The hypervisor's end.
    struct Xen<'a> {
        array: &'a Array,
        control: &'a RawMemory,
        tails: [u32; QUEUES],
    }

    impl Xen<'_> {
        fn raise(&mut self, port: u32, queue: usize) {
            let (page, at) = self.array.word(Port(port)).unwrap();
            let old = page.fetch_or_u32(at, PENDING);
            if old & (MASKED | LINKED) != 0 {
                return;
            }
            page.fetch_or_u32(at, LINKED);
            // A tail that was taken is no tail any more.
            let tail = if self.tails[queue] == port {
                0
            } else {
                self.tails[queue]
            };
            let linked = tail != 0 && {
                let (page, at) = self.array.word(Port(tail)).unwrap();
                let word = page.load_u32(at);
                word & LINKED != 0
                    && page
                        .compare_exchange_u32(at, word, (word & !LINK) | port)
                        .is_ok()
            };
            if !linked {
                self.control.store_u32(HEADS + queue * 4, port);
            }
            self.tails[queue] = port;
            self.control.fetch_or_u32(READY, 1 << queue);
        }
    }

    fn setup(test: impl FnOnce(&Array, &RawMemory, &mut Xen<'_>)) {
        let array = Array(std::vec![page(), page()]);
        array.0.iter().for_each(prepare);
        let control = page();
        let mut xen = Xen {
            array: &array,
            control: &control,
            tails: [0; QUEUES],
        };
        test(&array, &control, &mut xen);
    }

    #[test]
    fn the_bits_of_a_word() {
        assert_eq!(PAGES, 128);
        setup(|array, _, _| {
            let port = Port(1029);
            let word = || {
                let (page, at) = array.word(port).unwrap();
                page.load_u32(at)
            };
            assert_eq!((word(), array.is_masked(port)), (MASKED, true));
            assert!(!array.unmask(port));
            assert_eq!((word(), array.is_masked(port)), (0, false));
            array.set_pending(port);
            assert_eq!((word(), array.is_masked(port)), (PENDING, false));
            // It was not masked, so it has been announced.
            assert!(!array.unmask(port));
            array.mask(port);
            assert_eq!((word(), array.is_masked(port)), (PENDING | MASKED, true));
            array.clear_pending(port);
            assert_eq!(word(), MASKED);
            array.set_pending(port);
            assert!(array.unmask(port), "pending");
            assert_eq!(word(), PENDING | MASKED, "the hypervisor unmasks it");
            array.ack(port);
            assert_eq!(word(), MASKED);
            array.ack(Port(4096));
        });
    }

    #[test]
    fn a_busy_word_is_left_to_the_hypervisor() {
        setup(|array, _, _| {
            let (page, at) = array.word(Port(7)).unwrap();
            page.store_u32(at, MASKED | BUSY);
            assert!(array.unmask(Port(7)));
            assert_eq!(page.load_u32(at), MASKED | BUSY);
            page.store_u32(at, MASKED | LINKED | 3);
            assert!(!array.unmask(Port(7)));
            assert_eq!(page.load_u32(at), LINKED | 3);
        });
    }

    #[test]
    fn takes_in_order_and_by_priority() {
        setup(|array, control, xen| {
            for port in [5, 1030, 7, 9] {
                assert!(!array.unmask(Port(port)));
            }
            xen.raise(5, 7);
            xen.raise(1030, 7);
            xen.raise(7, 7);
            xen.raise(9, 1);
            let mut queues = Queues::new();
            let mut seen = std::vec::Vec::new();
            assert!(queues.scan(array, control, 100, |port| {
                array.clear_pending(port);
                seen.push(port.0);
            }));
            assert_eq!(seen, [9, 5, 1030, 7]);
            // And again, from an empty queue.
            xen.raise(7, 7);
            seen.clear();
            assert!(queues.scan(array, control, 100, |port| {
                array.clear_pending(port);
                seen.push(port.0);
            }));
            assert_eq!(seen, [7]);
        });
    }

    #[test]
    fn masked_while_queued_is_not_reported() {
        setup(|array, control, xen| {
            assert!(!array.unmask(Port(5)));
            xen.raise(5, 0);
            array.mask(Port(5));
            let mut queues = Queues::new();
            assert!(queues.scan(array, control, 10, |_| panic!()));
            // Its pending bit is kept for the hypervisor.
            assert!(array.unmask(Port(5)));
        });
    }

    #[test]
    fn budget_ends_a_flood_and_nothing_is_lost() {
        setup(|array, control, xen| {
            for port in 1..=20 {
                let _ = array.unmask(Port(port));
                xen.raise(port, 7);
            }
            let mut queues = Queues::new();
            let mut seen = 0;
            assert!(!queues.scan(array, control, 15, |port| {
                array.clear_pending(port);
                seen += 1;
            }));
            // Another owner of the same queues goes on.
            let mut queues = Queues::from_heads(queues.heads());
            assert!(queues.scan(array, control, 15, |port| {
                array.clear_pending(port);
                seen += 1;
            }));
            assert_eq!(seen, 20);
        });
    }

    #[test]
    fn what_was_queued_is_forgotten_with_the_array() {
        setup(|array, control, xen| {
            for port in [5, 7] {
                let _ = array.unmask(Port(port));
                xen.raise(port, port as usize);
            }
            prepare_control(control);
            array.0.iter().for_each(prepare);
            xen.tails = [0; QUEUES];
            let mut queues = Queues::new();
            assert!(queues.scan(array, control, 10, |_| panic!()));
            assert!(!array.unmask(Port(7)), "it is pending");
            // The new hypervisor's first event is found.
            xen.raise(7, 7);
            let mut seen = std::vec::Vec::new();
            assert!(queues.scan(array, control, 10, |port| {
                array.clear_pending(port);
                seen.push(port.0);
            }));
            assert_eq!(seen, [7]);
        });
    }

    #[test]
    fn loop_of_links_ends() {
        setup(|array, control, _| {
            // A word that names itself, again and again.
            let (page, at) = array.word(Port(3)).unwrap();
            control.store_u32(HEADS, 3);
            control.store_u32(READY, 1);
            let mut queues = Queues::new();
            let mut seen = 0;
            page.store_u32(at, PENDING | LINKED | 3);
            let done = queues.scan(array, control, 50, |_| {
                page.store_u32(at, PENDING | LINKED | 3);
                seen += 1;
            });
            assert!(!done);
            assert_eq!(seen, 50);
        });
    }

    #[test]
    fn ports_beyond_the_array_do_nothing() {
        setup(|array, control, _| {
            array.mask(Port(2048));
            assert!(!array.unmask(Port(u32::MAX)));
            assert!(array.is_masked(Port(2048)));
            control.store_u32(HEADS, 2048);
            control.store_u32(READY, 1);
            assert!(Queues::new().scan(array, control, 10, |_| panic!()));
        });
    }
}
