// SPDX-License-Identifier: GPL-2.0

//! The block protocol, as Xen's public header `io/blkif.h` defines it.
//!
//! What goes into the ring ([`request`]), what may come out of it ([`response`]), what a backend can offer
//! and what we make of that ([`features`], [`geometry`]), and which disk a device is ([`vbd`]).

pub mod features;
pub mod geometry;
pub mod request;
pub mod response;
pub mod vbd;

/// Data segments that a request holds in the ring itself (`BLKIF_MAX_SEGMENTS_PER_REQUEST`).
pub const DIRECT_SEGMENTS: u16 = 11;

/// Pages of indirect descriptors per request (`BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST`).
pub const INDIRECT_PAGES: u16 = 8;

/// The front end's half of a block ring in the memory `M`.
pub type Ring<M> = crate::ring::FrontRing<request::Request, response::Response, M>;

/// Number of requests that a ring of `pages` pages holds.
pub const fn ring_slots(pages: usize) -> u32 {
    crate::ring::slots(
        pages.saturating_mul(4096),
        core::mem::size_of::<request::Request>(),
        core::mem::size_of::<response::Response>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_sizes() {
        assert_eq!([1, 2, 4, 8, 16].map(ring_slots), [32, 64, 128, 256, 512]);
    }
}
