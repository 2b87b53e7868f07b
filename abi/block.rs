// SPDX-License-Identifier: GPL-2.0

//! The block protocol, as Xen's public header `io/blkif.h` defines it.
//!
//! What goes into the ring ([`request`]), what may come out of it ([`response`]), what a backend can offer
//! and what we make of that ([`features`], [`geometry`], [`nodes`]), and which disk a device is ([`vbd`]).

pub mod features;
pub mod geometry;
pub mod nodes;
pub mod request;
pub mod response;
pub mod vbd;

pub use self::request::{
    DIRECT_SEGMENTS,
    INDIRECT_PAGES, //
};
use crate::types::PAGE_SIZE;

/// The front end's half of a block ring in the memory `M`.
pub type Ring<M> = crate::ring::FrontRing<request::Request, response::Response, M>;

/// Number of requests that a ring of `pages` pages holds.
pub const fn ring_slots(pages: usize) -> u32 {
    crate::ring::slots(
        pages.saturating_mul(PAGE_SIZE),
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
