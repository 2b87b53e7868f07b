// SPDX-License-Identifier: GPL-2.0

//! Requests, built in our own memory and copied into the ring whole.
//!
//! Xen's `io/blkif.h` has three layouts for one slot of the ring. Nothing is ever read back from the ring.

use crate::{
    shared::{
        bytes_of,
        wire,
        Pod, //
    },
    types::{
        GrantRef,
        PAGE_SIZE, //
    },
};

/// Data segments that a request holds in the ring itself (`BLKIF_MAX_SEGMENTS_PER_REQUEST`).
pub const DIRECT_SEGMENTS: u16 = 11;

/// Pages of indirect descriptors per request (`BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST`).
pub const INDIRECT_PAGES: u16 = 8;

/// Segments that one page of indirect descriptors can hold.
const SEGMENTS_PER_PAGE: usize = PAGE_SIZE / core::mem::size_of::<Segment>();

const PAGE: u32 = PAGE_SIZE as u32;
const SECTOR: u32 = 512;
/// Number of sectors in a page.
const PAGE_SECTORS: u32 = PAGE / SECTOR;

/// What a request asks for (`BLKIF_OP_*`), as its response has to repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `BLKIF_OP_READ`
    Read,
    /// `BLKIF_OP_WRITE`
    Write,
    /// `BLKIF_OP_WRITE_BARRIER`
    WriteBarrier,
    /// `BLKIF_OP_FLUSH_DISKCACHE`
    Flush,
    /// `BLKIF_OP_DISCARD`
    Discard,
    /// `BLKIF_OP_INDIRECT`, around a read or a write.
    Indirect,
}

impl Operation {
    /// The number in the ring.
    pub const fn code(self) -> u8 {
        match self {
            Operation::Read => 0,
            Operation::Write => 1,
            Operation::WriteBarrier => 2,
            Operation::Flush => 3,
            Operation::Discard => 5,
            Operation::Indirect => 6,
        }
    }
}

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the disk: the backend writes our pages.
    Read,
    /// To the disk: the backend reads our pages.
    Write,
}

impl Direction {
    /// The operation that moves data this way.
    pub const fn operation(self) -> Operation {
        match self {
            Direction::Read => Operation::Read,
            Direction::Write => Operation::Write,
        }
    }
}

wire! {
    /// Part of one granted page (`struct blkif_request_segment`).
    pub struct Segment {
        /// The granted page.
        pub gref: u32,
        /// First sector in the page.
        pub first_sect: u8,
        /// Last sector in the page, inclusive.
        pub last_sect: u8,
        /// Padding.
        pub pad: [u8; 2],
    }

    /// A request with its segments in the ring (`struct blkif_request`).
    pub struct Direct {
        /// [`Operation::code`].
        pub operation: u8,
        /// How many of `seg` count.
        pub nr_segments: u8,
        /// The virtual device.
        pub handle: u16,
        /// Padding.
        pub pad: u32,
        /// Comes back in the response.
        pub id: u64,
        /// First sector on the disk, in units of 512 bytes.
        pub sector_number: u64,
        /// The data.
        pub seg: [Segment; DIRECT_SEGMENTS as usize],
    }

    /// A request with its segments in pages of their own (`struct blkif_request_indirect`).
    pub struct Indirect {
        /// [`Operation::Indirect`].
        pub operation: u8,
        /// Read or write.
        pub indirect_op: u8,
        /// How many segments the pages hold.
        pub nr_segments: u16,
        /// Padding.
        pub pad: u32,
        /// Comes back in the response.
        pub id: u64,
        /// First sector on the disk, in units of 512 bytes.
        pub sector_number: u64,
        /// The virtual device.
        pub handle: u16,
        /// Padding.
        pub pad2: u16,
        /// The pages that hold the segments.
        pub indirect_grefs: [u32; INDIRECT_PAGES as usize],
        /// Padding.
        pub pad3: u32,
    }

    /// A request to forget sectors (`struct blkif_request_discard`).
    pub struct Discard {
        /// [`Operation::Discard`].
        pub operation: u8,
        /// 1 to make the data unrecoverable.
        pub flag: u8,
        /// The virtual device.
        pub handle: u16,
        /// Padding.
        pub pad: u32,
        /// Comes back in the response.
        pub id: u64,
        /// First sector on the disk, in units of 512 bytes.
        pub sector_number: u64,
        /// How many sectors.
        pub nr_sectors: u64,
    }

    /// One slot of the ring, as large as the largest request.
    pub struct Request {
        words: [u64; 14],
    }
}

impl Segment {
    /// Bytes of one segment in a page of indirect descriptors.
    pub const SIZE: usize = core::mem::size_of::<Self>();

    /// No data.
    pub const EMPTY: Self = Self {
        gref: 0,
        first_sect: 0,
        last_sect: 0,
        pad: [0; 2],
    };

    /// Describes `len` bytes from `offset` on in the page that `gref` grants.
    ///
    /// Gives `None` unless it is one or more whole sectors inside the page.
    pub fn new(gref: GrantRef, offset: u32, len: u32) -> Option<Self> {
        let end = offset.checked_add(len)?;
        if len == 0 || offset % SECTOR != 0 || len % SECTOR != 0 || end > PAGE {
            return None;
        }
        let last = (end / SECTOR).checked_sub(1)?;
        debug_assert!(last < PAGE_SECTORS);
        Some(Self {
            gref: gref.0,
            first_sect: u8::try_from(offset / SECTOR).ok()?,
            last_sect: u8::try_from(last).ok()?,
            pad: [0; 2],
        })
    }
}

/// What is common to all requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Our name for the request; the response carries it.
    pub id: u64,
    /// Low bits of the virtual device number.
    pub handle: u16,
    /// First sector on the disk, in units of 512 bytes.
    pub sector: u64,
}

impl Request {
    /// A read or write of up to [`DIRECT_SEGMENTS`] segments; `None` if there are more, or none.
    pub fn direct(header: Header, direction: Direction, segments: &[Segment]) -> Option<Self> {
        if segments.is_empty() {
            return None;
        }
        Self::with_segments(header, direction.operation(), segments)
    }

    /// A request to write back the backend's cache: a flush, or an empty barrier.
    pub fn flush(header: Header, barrier: bool) -> Option<Self> {
        let operation = if barrier {
            Operation::WriteBarrier
        } else {
            Operation::Flush
        };
        Self::with_segments(header, operation, &[])
    }

    fn with_segments(header: Header, operation: Operation, segments: &[Segment]) -> Option<Self> {
        let mut seg = [Segment::EMPTY; DIRECT_SEGMENTS as usize];
        seg.get_mut(..segments.len())?.copy_from_slice(segments);
        Some(Self::slot(&Direct {
            operation: operation.code(),
            nr_segments: u8::try_from(segments.len()).ok()?,
            handle: header.handle,
            pad: 0,
            id: header.id,
            sector_number: header.sector,
            seg,
        }))
    }

    /// A read or write whose `count` segments are in the granted `pages`; `None` if they cannot all be.
    pub fn indirect(
        header: Header,
        direction: Direction,
        count: u16,
        pages: &[GrantRef],
    ) -> Option<Self> {
        let room = pages.len().checked_mul(SEGMENTS_PER_PAGE)?;
        if count == 0 || usize::from(count) > room {
            return None;
        }
        let mut indirect_grefs = [0; INDIRECT_PAGES as usize];
        for (to, from) in indirect_grefs.get_mut(..pages.len())?.iter_mut().zip(pages) {
            *to = from.0;
        }
        Some(Self::slot(&Indirect {
            operation: Operation::Indirect.code(),
            indirect_op: direction.operation().code(),
            nr_segments: count,
            pad: 0,
            id: header.id,
            sector_number: header.sector,
            handle: header.handle,
            pad2: 0,
            indirect_grefs,
            pad3: 0,
        }))
    }

    /// A request to forget `sectors` sectors, unrecoverably if `secure`.
    pub fn discard(header: Header, sectors: u64, secure: bool) -> Self {
        Self::slot(&Discard {
            operation: Operation::Discard.code(),
            flag: secure.into(),
            handle: header.handle,
            pad: 0,
            id: header.id,
            sector_number: header.sector,
            nr_sectors: sectors,
        })
    }

    /// Puts a layout into a slot; the rest of the slot is zero.
    fn slot<T: Pod>(layout: &T) -> Self {
        const { assert!(core::mem::size_of::<T>() <= core::mem::size_of::<Self>()) };
        let mut slot = Self { words: [0; 14] };
        let to = crate::shared::bytes_of_mut(&mut slot);
        if let Some(to) = to.get_mut(..core::mem::size_of::<T>()) {
            to.copy_from_slice(bytes_of(layout));
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    const HEADER: Header = Header {
        id: 0x1122_3344_5566_7788,
        handle: 51712,
        sector: 0x99,
    };

    fn bytes(request: &Request) -> &[u8] {
        bytes_of(request)
    }

    #[test]
    fn layouts_are_those_of_blkif_h() {
        assert_eq!(size_of::<Request>(), 112);
        assert_eq!(size_of::<Segment>(), 8);
        assert_eq!(size_of::<Direct>(), 112);
        assert_eq!((offset_of!(Direct, id), offset_of!(Direct, seg)), (8, 24));
        assert_eq!(size_of::<Indirect>(), 64);
        assert_eq!(
            (offset_of!(Indirect, nr_segments), offset_of!(Indirect, id)),
            (2, 8)
        );
        assert_eq!(
            (
                offset_of!(Indirect, handle),
                offset_of!(Indirect, indirect_grefs)
            ),
            (24, 28)
        );
        assert_eq!(
            (size_of::<Discard>(), offset_of!(Discard, nr_sectors)),
            (32, 24)
        );
    }

    #[test]
    fn segments_stay_in_their_page() {
        let gref = GrantRef(9);
        let sectors = |o, l| Segment::new(gref, o, l).map(|s| (s.first_sect, s.last_sect));
        assert_eq!(sectors(0, 4096), Some((0, 7)));
        assert_eq!(sectors(512, 512), Some((1, 1)));
        assert_eq!(sectors(3584, 512), Some((7, 7)));
        for (offset, len) in [
            (0, 0),
            (1, 512),
            (0, 513),
            (3584, 1024),
            (4096, 512),
            (u32::MAX, 512),
            (0, 8192),
        ] {
            assert_eq!(sectors(offset, len), None, "{offset}+{len}");
        }
    }

    #[test]
    fn direct_request() {
        let segment = Segment::new(GrantRef(0x0102_0304), 512, 1024).unwrap();
        let request = Request::direct(HEADER, Direction::Write, &[segment; 2]).unwrap();
        let b = bytes(&request);
        assert_eq!(b[..4], [1, 2, 0x00, 0xca]);
        assert_eq!(b[8..16], HEADER.id.to_le_bytes());
        assert_eq!(b[16..24], 0x99u64.to_le_bytes());
        assert_eq!(b[32..40], [4, 3, 2, 1, 1, 2, 0, 0]);
        assert!(b[40..].iter().all(|&b| b == 0));
    }

    #[test]
    fn eleven_segments_are_the_most() {
        let segment = Segment::new(GrantRef(8), 0, 4096).unwrap();
        assert!(Request::direct(HEADER, Direction::Read, &[segment; 11]).is_some());
        assert!(Request::direct(HEADER, Direction::Read, &[segment; 12]).is_none());
        assert!(Request::direct(HEADER, Direction::Read, &[]).is_none());
    }

    #[test]
    fn indirect_request() {
        let request = Request::indirect(HEADER, Direction::Read, 300, &[GrantRef(5)]).unwrap();
        let b = bytes(&request);
        assert_eq!(b[..4], [6, 0, 44, 1]);
        assert_eq!(b[24..28], [0x00, 0xca, 0, 0]);
        assert_eq!(b[28..36], [5, 0, 0, 0, 0, 0, 0, 0]);
        assert!(Request::indirect(HEADER, Direction::Read, 513, &[GrantRef(5)]).is_none());
        assert!(Request::indirect(HEADER, Direction::Read, 0, &[GrantRef(5)]).is_none());
        assert!(Request::indirect(HEADER, Direction::Read, 1, &[GrantRef(5); 9]).is_none());
    }

    #[test]
    fn flush_and_discard() {
        assert_eq!(bytes(&Request::flush(HEADER, false).unwrap())[..2], [3, 0]);
        assert_eq!(bytes(&Request::flush(HEADER, true).unwrap())[..2], [2, 0]);
        let discard = Request::discard(HEADER, 77, true);
        assert_eq!(bytes(&discard)[..2], [5, 1]);
        assert_eq!(bytes(&discard)[24..32], 77u64.to_le_bytes());
    }
}
