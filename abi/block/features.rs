// SPDX-License-Identifier: GPL-2.0

//! What a backend offers, and what we make of it.
//!
//! The backend writes numbers into its xenstore directory (see "Backend XenBus Nodes" in Xen's
//! `io/blkif.h`). [`Offer`] is those numbers as they were read, [`Agreed`] what a connection uses: each
//! value lies within our own limits, whatever was read.

use super::{
    geometry::SECTOR,
    request::DIRECT_SEGMENTS, //
};

/// The largest ring order and the largest number of queues and segments we ever use.
pub const MAX_RING_ORDER: u8 = 4;
/// See [`MAX_RING_ORDER`].
pub const MAX_QUEUES: u16 = 16;
/// See [`MAX_RING_ORDER`]. One page of indirect descriptors is enough for it.
pub const MAX_SEGMENTS: u16 = 256;

/// Tells whether a key of the frontend's directory is one that frontends write, of this driver or another.
pub fn is_frontend_key(key: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 4] = [b"event-channel", b"feature-", b"queue-", b"ring-"];
    const NAMES: [&[u8]; 3] = [b"multi-queue-num-queues", b"num-ring-pages", b"protocol"];
    NAMES.contains(&key) || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

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
    /// `max-ring-pages`, the older name for the same, in pages
    pub max_ring_pages: Option<u64>,
    /// `multi-queue-max-queues`
    pub max_queues: Option<u64>,
    /// `feature-persistent`
    pub persistent: Option<u64>,
    /// `feature-discard`
    pub discard: Option<u64>,
    /// `discard-granularity`
    pub discard_granularity: Option<u64>,
    /// `discard-alignment`
    pub discard_alignment: Option<u64>,
    /// `discard-secure`
    pub discard_secure: Option<u64>,
}

impl Offer {
    /// Reads every key with `number`, which gives `None` for what is missing or malformed.
    pub fn read(mut number: impl FnMut(&'static str) -> Option<u64>) -> Self {
        Self {
            flush_cache: number("feature-flush-cache"),
            barrier: number("feature-barrier"),
            max_indirect_segments: number("feature-max-indirect-segments"),
            max_ring_page_order: number("max-ring-page-order"),
            max_ring_pages: number("max-ring-pages"),
            max_queues: number("multi-queue-max-queues"),
            persistent: number("feature-persistent"),
            discard: number("feature-discard"),
            discard_granularity: number("discard-granularity"),
            discard_alignment: number("discard-alignment"),
            discard_secure: number("discard-secure"),
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
    /// Grants that the backend may keep mapped.
    pub persistent: bool,
    /// The backend may see the pages of requests.
    pub trusted: bool,
}

impl Default for Wanted {
    /// What any backend can do.
    fn default() -> Self {
        Self {
            segments: DIRECT_SEGMENTS,
            ring_order: 0,
            queues: 1,
            persistent: false,
            trusted: true,
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

/// How the backend forgets sectors.
///
/// # Invariants
///
/// `granularity` is 0 or a power of two from 512 to 2^30; `alignment` is a multiple of 512 below it, or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    granularity: u32,
    alignment: u32,
    secure: bool,
}

impl Discard {
    /// Checks an offer; `None` when there is none. Numbers that make no sense are hints that went wrong: the unit is a
    /// sector then.
    fn settle(offer: &Offer) -> Option<Self> {
        if !is_set(offer.discard) {
            return None;
        }
        let granularity = offer
            .discard_granularity
            .and_then(|bytes| u32::try_from(bytes).ok())
            .filter(|bytes| bytes.is_power_of_two() && (SECTOR..=1 << 30).contains(bytes))
            .unwrap_or(0);
        let alignment = offer
            .discard_alignment
            .and_then(|bytes| u32::try_from(bytes).ok())
            .filter(|bytes| *bytes < granularity && bytes & (SECTOR - 1) == 0)
            .unwrap_or(0);
        // INVARIANT: checked just now.
        Some(Self {
            granularity,
            alignment,
            secure: is_set(offer.discard_secure),
        })
    }

    /// Unit in bytes; 0 when it is a sector.
    pub fn granularity(&self) -> u32 {
        self.granularity
    }

    /// Where the first unit begins, in bytes.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Whether data can be made unrecoverable.
    pub fn secure(&self) -> bool {
        self.secure
    }
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
    old_rings: bool,
    queues: u16,
    cache: Cache,
    discard: Option<Discard>,
    wanted_persistent: bool,
    trusted: bool,
    persistent: bool,
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
            ring_order: clamp(offered_order(offer), ring_order)
                .try_into()
                .unwrap_or(0),
            old_rings: offer.max_ring_pages.is_some(),
            queues: clamp(offer.max_queues, wanted.queues.min(MAX_QUEUES)).max(1),
            cache: cache(offer),
            discard: Discard::settle(offer),
            wanted_persistent: wanted.persistent,
            trusted: wanted.trusted,
            persistent: wanted.persistent && is_set(offer.persistent),
        }
    }

    /// The same, with what a backend offers only once it has connected: how its cache is written back, discards, and
    /// whether it keeps grants mapped.
    pub fn connected(self, offer: &Offer) -> Self {
        Self {
            cache: cache(offer),
            discard: Discard::settle(offer),
            persistent: self.wanted_persistent && is_set(offer.persistent),
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

    /// Whether the backend looks for the size of a larger ring by its older name, too.
    pub fn old_rings(&self) -> bool {
        self.old_rings && self.ring_order > 0
    }

    /// The same with rings of half the size; with one queue less, when they have one page. `None` when there is one such
    /// queue.
    pub(super) fn smaller(self) -> Option<Self> {
        if let Some(ring_order) = self.ring_order.checked_sub(1) {
            return Some(Self { ring_order, ..self });
        }
        let queues = self.queues.checked_sub(1).filter(|queues| *queues > 0)?;
        // INVARIANT: At least one queue is left.
        Some(Self { queues, ..self })
    }

    /// Number of rings.
    pub fn queues(&self) -> u16 {
        self.queues
    }

    /// How writes are made durable.
    pub fn cache(&self) -> Cache {
        self.cache
    }

    /// Whether the backend is told that it may keep grants mapped. It says whether it does when it connects.
    pub fn offers_persistent(&self) -> bool {
        self.wanted_persistent
    }

    /// Whether data goes through pages of our own: for a backend that keeps them mapped, or that may not see others.
    pub fn buffers(&self) -> bool {
        self.persistent || !self.trusted
    }

    /// How sectors are forgotten, if they can be.
    pub fn discard(&self) -> Option<Discard> {
        self.discard
    }
}

/// The larger of what is offered by either name.
fn offered_order(offer: &Offer) -> Option<u64> {
    let pages = offer.max_ring_pages.and_then(u64::checked_ilog2);
    offer.max_ring_page_order.max(pages.map(u64::from))
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

    #[test]
    fn keys_of_the_toolstack_are_left_alone() {
        for key in [
            "ring-ref",
            "ring-ref3",
            "ring-page-order",
            "num-ring-pages",
            "event-channel",
            "queue-1",
            "multi-queue-num-queues",
            "feature-persistent",
            "protocol",
        ] {
            assert!(is_frontend_key(key.as_bytes()), "{key}");
        }
        for key in [
            "backend",
            "backend-id",
            "state",
            "virtual-device",
            "device-type",
            "trusted",
            "",
        ] {
            assert!(!is_frontend_key(key.as_bytes()), "{key}");
        }
    }

    const MUCH: Wanted = Wanted {
        segments: 32,
        ring_order: 2,
        queues: 4,
        persistent: true,
        trusted: true,
    };

    #[test]
    fn buffers_serve_who_keeps_them_and_who_may_not_see_more() {
        let offer = |persistent| Offer {
            persistent,
            ..Offer::default()
        };
        let buffers = |wanted: Wanted, persistent| {
            // The backend says it with the connection.
            let before = Agreed::settle(&Offer::default(), &wanted);
            assert_eq!(before.offers_persistent(), wanted.persistent);
            before.connected(&offer(persistent)).buffers()
        };
        assert!(buffers(MUCH, Some(1)));
        assert!(!buffers(MUCH, Some(0)) && !buffers(MUCH, None));
        let off = Wanted {
            persistent: false,
            ..MUCH
        };
        assert!(!buffers(off, Some(1)));
        let untrusted = Wanted {
            trusted: false,
            ..off
        };
        assert!(buffers(untrusted, None) && buffers(untrusted, Some(1)));
    }

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
    fn rings_have_an_older_name() {
        let order = |order, pages| {
            let offer = Offer {
                max_ring_page_order: order,
                max_ring_pages: pages,
                ..Offer::default()
            };
            Agreed::settle(&offer, &MUCH).ring_order()
        };
        assert_eq!(
            [0, 1, 2, 3, 4].map(|n| order(None, Some(n))),
            [0, 0, 1, 1, 2]
        );
        assert_eq!(order(None, Some(u64::MAX)), 2);
        assert_eq!(order(Some(1), Some(1)), 1);
        assert_eq!(order(Some(0), Some(4)), 2);
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
                    ..MUCH
                };
                let agreed = Agreed::settle(&offer, &wanted);
                assert!((DIRECT_SEGMENTS..=MAX_SEGMENTS).contains(&agreed.segments()));
                assert!((1..=MAX_QUEUES).contains(&agreed.queues()));
                assert!(agreed.ring_order() <= MAX_RING_ORDER && agreed.ring_pages() <= 16);
            }
        }
    }

    #[test]
    fn discards_come_with_the_connection_and_odd_units_are_none() {
        let offer = |granularity, alignment| Offer {
            discard: Some(1),
            discard_granularity: granularity,
            discard_alignment: alignment,
            ..Offer::default()
        };
        let settled = |granularity, alignment| {
            let before = Agreed::settle(&Offer::default(), &MUCH);
            assert_eq!(before.discard(), None);
            let after = before.connected(&offer(granularity, alignment));
            let discard = after.discard().unwrap();
            assert!(!discard.secure());
            (discard.granularity(), discard.alignment())
        };
        assert_eq!(settled(None, None), (0, 0));
        assert_eq!(settled(Some(4096), Some(1024)), (4096, 1024));
        assert_eq!(settled(Some(4096), Some(4096)), (4096, 0));
        assert_eq!(settled(Some(4096), Some(100)), (4096, 0));
        assert_eq!(settled(Some(1 << 30), Some(512)), (1 << 30, 512));
        for odd in [0, 1, 256, 511, 513, 3000, 1 << 31, 1 << 32, u64::MAX] {
            assert_eq!(settled(Some(odd), Some(odd)), (0, 0), "{odd}");
        }
        let secure = Offer {
            discard_secure: Some(1),
            ..offer(None, None)
        };
        let discard = Agreed::settle(&secure, &MUCH).discard().unwrap();
        assert!(discard.secure());
        // It says how, not whether.
        let alone = Offer {
            discard: None,
            ..secure
        };
        assert_eq!(Agreed::settle(&alone, &MUCH).discard(), None);
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
