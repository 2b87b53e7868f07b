// SPDX-License-Identifier: GPL-2.0

//! What a backend offers, and what we make of it.
//!
//! The backend writes numbers into its xenstore directory (see "Backend XenBus Nodes" in Xen's
//! `io/blkif.h`). [`Offer`] is those numbers as they were read, [`Agreed`] what a connection uses: each
//! value lies within our own limits, whatever was read.

use super::DIRECT_SEGMENTS;

/// Segments that one page of indirect descriptors can hold.
pub const SEGMENTS_PER_PAGE: u16 = 512;

/// The largest ring order and the largest number of queues and segments we ever use.
pub const MAX_RING_ORDER: u8 = 4;
/// See [`MAX_RING_ORDER`].
pub const MAX_QUEUES: u16 = 16;
/// See [`MAX_RING_ORDER`]. One page of indirect descriptors is enough for it.
pub const MAX_SEGMENTS: u16 = 256;

/// What the backend's directory says. A key that is missing or is no number is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// `feature-flush-cache`
    pub flush_cache: Option<u64>,
    /// `feature-barrier`
    pub barrier: Option<u64>,
    /// `feature-max-indirect-segments`
    pub max_indirect_segments: Option<u64>,
    /// `max-ring-page-order`
    pub max_ring_page_order: Option<u64>,
    /// `multi-queue-max-queues`
    pub max_queues: Option<u64>,
    /// `feature-persistent`
    pub persistent: Option<u64>,
    /// `feature-discard`
    pub discard: Option<u64>,
}

impl Offer {
    /// Reads every key with `number`, which gives `None` for what is missing or malformed.
    pub fn read(mut number: impl FnMut(&'static str) -> Option<u64>) -> Self {
        Self {
            flush_cache: number("feature-flush-cache"),
            barrier: number("feature-barrier"),
            max_indirect_segments: number("feature-max-indirect-segments"),
            max_ring_page_order: number("max-ring-page-order"),
            max_queues: number("multi-queue-max-queues"),
            persistent: number("feature-persistent"),
            discard: number("feature-discard"),
        }
    }
}

/// The most we want of each negotiable thing: module parameters, CPUs, memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Data segments per request.
    pub segments: u16,
    /// Ring size, as a power of two of pages.
    pub ring_order: u8,
    /// Rings.
    pub queues: u16,
}

impl Default for Wanted {
    /// What any backend can do.
    fn default() -> Self {
        Self {
            segments: DIRECT_SEGMENTS,
            ring_order: 0,
            queues: 1,
        }
    }
}

/// How the backend makes completed writes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// It offers no way: a completed write is durable.
    WriteThrough,
    /// `BLKIF_OP_FLUSH_DISKCACHE` writes the cache back.
    Flush,
    /// An empty `BLKIF_OP_WRITE_BARRIER` has to serve as a flush.
    Barrier,
}

/// What a connection uses.
///
/// # Invariants
///
/// `segments` is at least [`DIRECT_SEGMENTS`] and at most [`MAX_SEGMENTS`], `queues` is at least 1 and at
/// most [`MAX_QUEUES`], `ring_order` at most [`MAX_RING_ORDER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    segments: u16,
    ring_order: u8,
    queues: u16,
    cache: Cache,
}

impl Agreed {
    /// Settles on the lesser of what is offered, what is wanted and what we can do.
    pub fn settle(offer: &Offer, wanted: &Wanted) -> Self {
        let indirect = clamp(
            offer.max_indirect_segments,
            wanted.segments.min(MAX_SEGMENTS),
        );
        let ring_order = u16::from(wanted.ring_order.min(MAX_RING_ORDER));
        // INVARIANT: both bounds are applied here.
        Self {
            // A request of up to eleven segments needs no offer.
            segments: indirect.max(DIRECT_SEGMENTS),
            ring_order: clamp(offer.max_ring_page_order, ring_order)
                .try_into()
                .unwrap_or(0),
            queues: clamp(offer.max_queues, wanted.queues.min(MAX_QUEUES)).max(1),
            cache: cache(offer),
        }
    }

    /// The same, with what a backend offers only once it has connected: how its cache is written back.
    pub fn connected(self, offer: &Offer) -> Self {
        Self {
            cache: cache(offer),
            ..self
        }
    }

    /// Data segments per request.
    pub fn segments(&self) -> u16 {
        self.segments
    }

    /// Whether requests with more segments than fit into the ring may be sent.
    pub fn indirect(&self) -> bool {
        self.segments > DIRECT_SEGMENTS
    }

    /// Pages per ring, as a power of two.
    pub fn ring_order(&self) -> u8 {
        self.ring_order
    }

    /// Pages per ring.
    pub fn ring_pages(&self) -> usize {
        1 << self.ring_order.min(MAX_RING_ORDER)
    }

    /// Number of rings.
    pub fn queues(&self) -> u16 {
        self.queues
    }

    /// How writes are made durable.
    pub fn cache(&self) -> Cache {
        self.cache
    }
}

fn cache(offer: &Offer) -> Cache {
    if is_set(offer.flush_cache) {
        Cache::Flush
    } else if is_set(offer.barrier) {
        Cache::Barrier
    } else {
        Cache::WriteThrough
    }
}

fn clamp(offered: Option<u64>, most: u16) -> u16 {
    u16::try_from(offered.unwrap_or(0).min(u64::from(most))).unwrap_or(most)
}

/// The keys are boolean; a backend that writes something else than 0 means yes.
fn is_set(value: Option<u64>) -> bool {
    value.is_some_and(|v| v != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: Wanted = Wanted {
        segments: 32,
        ring_order: 2,
        queues: 4,
    };

    #[test]
    fn the_cache_is_offered_with_the_connection() {
        let before = Agreed::settle(&Offer::default(), &MUCH);
        let after = before.connected(&Offer {
            flush_cache: Some(1),
            max_queues: Some(4),
            ..Offer::default()
        });
        assert_eq!(before.cache(), Cache::WriteThrough);
        assert_eq!(after.cache(), Cache::Flush);
        // What the rings were made for stays.
        assert_eq!(after.queues(), before.queues());
    }

    #[test]
    fn an_empty_offer_gives_the_base_protocol() {
        let agreed = Agreed::settle(&Offer::default(), &MUCH);
        assert_eq!(
            (agreed.segments(), agreed.queues(), agreed.ring_order()),
            (11, 1, 0)
        );
        assert_eq!(agreed.cache(), Cache::WriteThrough);
        assert!(!agreed.indirect());
    }

    #[test]
    fn the_lesser_of_offer_and_wish() {
        let offer = Offer {
            max_indirect_segments: Some(256),
            max_ring_page_order: Some(1),
            max_queues: Some(2),
            flush_cache: Some(1),
            barrier: Some(1),
            ..Offer::default()
        };
        let agreed = Agreed::settle(&offer, &MUCH);
        assert_eq!(
            (agreed.segments(), agreed.queues(), agreed.ring_order()),
            (32, 2, 1)
        );
        assert_eq!((agreed.ring_pages(), agreed.cache()), (2, Cache::Flush));
        assert!(agreed.indirect());
    }

    #[test]
    fn huge_and_zero_offers_stay_in_bounds() {
        for value in [0, 1, 10, 11, 12, 255, 256, 65535, 65536, 1 << 32, u64::MAX] {
            let offer = Offer::read(|_| Some(value));
            for segments in [0, 11, 32, u16::MAX] {
                let wanted = Wanted {
                    segments,
                    ring_order: u8::MAX,
                    queues: u16::MAX,
                };
                let agreed = Agreed::settle(&offer, &wanted);
                assert!((DIRECT_SEGMENTS..=MAX_SEGMENTS).contains(&agreed.segments()));
                assert!((1..=MAX_QUEUES).contains(&agreed.queues()));
                assert!(agreed.ring_order() <= MAX_RING_ORDER && agreed.ring_pages() <= 16);
            }
        }
    }

    #[test]
    fn a_barrier_serves_when_there_is_no_flush() {
        let offer = Offer::read(|key| (key == "feature-barrier").then_some(1));
        assert_eq!(Agreed::settle(&offer, &MUCH).cache(), Cache::Barrier);
    }

    #[test]
    fn fewer_indirect_segments_than_direct_ones_are_not_indirect() {
        let offer = Offer::read(|key| (key == "feature-max-indirect-segments").then_some(4));
        assert!(!Agreed::settle(&offer, &MUCH).indirect());
    }
}
