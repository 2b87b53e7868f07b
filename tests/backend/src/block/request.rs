// SPDX-License-Identifier: GPL-2.0

//! Requests of the block protocol, read as the layouts of [`abi::block::request`] from a backend's side.

use crate::guest::{Guest, Piece};
use abi::block::request::{Direct, Discard, Indirect, Operation, Segment};
use abi::shared::{bytes_of, bytes_of_mut, zeroed, Pod};
use abi::types::PAGE_SIZE;
use anyhow::{bail, ensure, Context, Result};

/// A slot of the ring.
pub type Slot = [u8; 112];

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Work {
    /// Reads the disk into the pages.
    Read(Vec<Piece>),
    /// Writes the pages to the disk.
    Write(Vec<Piece>),
    /// Makes durable what was written.
    Flush,
    /// The same before and after the pages, of which there may be none, are written to the disk.
    Barrier(Vec<Piece>),
    /// Forgets so many sectors, unrecoverably or not.
    Discard(u64, bool),
}

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Repeated in the response.
    pub id: u64,
    /// Repeated in the response: for an indirect request what it is around.
    pub operation: u8,
    /// First sector on the disk, in units of 512 bytes.
    pub sector: u64,
    /// What to do.
    pub work: Work,
}

/// Where the id lies, in all layouts.
const ID: std::ops::Range<usize> = 8..16;

/// What the response has to repeat: the id and the operation.
pub fn names(slot: &Slot) -> (u64, u8) {
    let mut id = [0; 8];
    id.copy_from_slice(&slot[ID]);
    let operation = match slot[0] {
        code if code == Operation::Indirect.code() => slot[1],
        code => code,
    };
    (u64::from_le_bytes(id), operation)
}

impl Request {
    /// Reads a slot, and through `guest` the pages of indirect descriptors; takes at most `most` segments there.
    ///
    /// # Errors
    ///
    /// When it is no request of the protocol.
    pub fn decode(slot: &Slot, guest: &mut dyn Guest, most: u16) -> Result<Self> {
        let (id, operation) = names(slot);
        let is = |known: Operation| slot[0] == known.code();
        let (sector, work) = if is(Operation::Discard) {
            let discard: Discard = view(slot);
            let secure = discard.flag & 1 != 0;
            (
                discard.sector_number,
                Work::Discard(discard.nr_sectors, secure),
            )
        } else if is(Operation::Indirect) {
            let indirect: Indirect = view(slot);
            let count = indirect.nr_segments;
            ensure!(count > 0 && count <= most, "{count} indirect segments");
            let pieces = pieces(&fetch_segments(&indirect, guest)?)?;
            (
                indirect.sector_number,
                data(indirect.indirect_op, pieces)
                    .context("an indirect request of another kind")?,
            )
        } else {
            let direct: Direct = view(slot);
            let segments = direct
                .seg
                .get(..direct.nr_segments.into())
                .context("more segments than a request has")?;
            let pieces = pieces(segments)?;
            let work = if is(Operation::Flush) {
                Work::Flush
            } else if is(Operation::WriteBarrier) {
                Work::Barrier(pieces)
            } else {
                ensure!(!pieces.is_empty(), "a request without a segment");
                data(operation, pieces).context("an unknown operation")?
            };
            (direct.sector_number, work)
        };
        Ok(Self {
            id,
            operation,
            sector,
            work,
        })
    }
}

fn data(operation: u8, pieces: Vec<Piece>) -> Option<Work> {
    if operation == Operation::Read.code() {
        Some(Work::Read(pieces))
    } else if operation == Operation::Write.code() {
        Some(Work::Write(pieces))
    } else {
        None
    }
}

/// The first bytes of a slot as one of its layouts.
fn view<T: Pod>(slot: &Slot) -> T {
    let mut layout: T = zeroed();
    let bytes = bytes_of_mut(&mut layout);
    bytes.copy_from_slice(&slot[..bytes.len()]);
    layout
}

/// Reads the segments out of the pages that an indirect request names.
fn fetch_segments(request: &Indirect, guest: &mut dyn Guest) -> Result<Vec<Segment>> {
    let count = usize::from(request.nr_segments);
    let pages = count.div_ceil(PAGE_SIZE / Segment::SIZE);
    let grefs = request
        .indirect_grefs
        .get(..pages)
        .context("more pages of segments than a request has")?;
    let mut bytes = vec![0; count * Segment::SIZE];
    let mut left = bytes.len();
    let pieces: Vec<Piece> = grefs
        .iter()
        .map(|&gref| {
            let len = left.min(4096);
            left -= len;
            Piece {
                gref,
                offset: 0,
                len: len as u16,
            }
        })
        .collect();
    guest.fetch(&pieces, &mut bytes)?;
    Ok(bytes
        .chunks_exact(Segment::SIZE)
        .map(|bytes| {
            let mut segment = Segment::EMPTY;
            bytes_of_mut(&mut segment).copy_from_slice(bytes);
            segment
        })
        .collect())
}

/// The bytes of the pages that segments name.
fn pieces(segments: &[Segment]) -> Result<Vec<Piece>> {
    segments
        .iter()
        .map(|segment| {
            let (first, last) = (u16::from(segment.first_sect), u16::from(segment.last_sect));
            if first > last || last > 7 {
                bail!("a segment from sector {first} to {last} of a page");
            }
            Ok(Piece {
                gref: segment.gref,
                offset: first * 512,
                len: (last - first + 1) * 512,
            })
        })
        .collect()
}

/// A request of the frontend's as the bytes of its slot.
pub fn slot_of(request: &abi::block::request::Request) -> Slot {
    let mut slot = [0; 112];
    slot.copy_from_slice(bytes_of(request));
    slot
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::block::request::{Direction, Header, Request as Sent};
    use abi::types::GrantRef;

    const HEADER: Header = Header {
        id: 0x1122_3344_5566_7788,
        handle: 51744,
        sector: 99,
    };

    /// One page of indirect segments.
    struct Page(Vec<u8>);

    impl Guest for Page {
        fn fetch(&mut self, pieces: &[Piece], into: &mut [u8]) -> Result<()> {
            let [piece] = pieces else { bail!("one page") };
            ensure!(piece.gref == 5 && usize::from(piece.len) == into.len());
            into.copy_from_slice(&self.0[..into.len()]);
            Ok(())
        }

        fn store(&mut self, _: &[Piece], _: &[u8]) -> Result<()> {
            bail!("nothing is to be written")
        }
    }

    fn segment(gref: u32) -> Segment {
        Segment::new(GrantRef(gref), 512, 1024).expect("a segment")
    }

    fn piece(gref: u32) -> Piece {
        Piece {
            gref,
            offset: 512,
            len: 1024,
        }
    }

    #[test]
    fn what_the_frontend_builds_is_read() {
        let decode = |sent: Option<Sent>| {
            let slot = slot_of(&sent.expect("a request"));
            let request = Request::decode(&slot, &mut Page(Vec::new()), 256).expect("a request");
            assert_eq!((request.id, request.operation), names(&slot));
            assert_eq!(request.id, HEADER.id);
            (request.operation, request.sector, request.work)
        };
        let segments = [segment(9), segment(10)];
        assert_eq!(
            decode(Sent::direct(HEADER, Direction::Write, &segments)),
            (1, 99, Work::Write(vec![piece(9), piece(10)]))
        );
        assert_eq!(
            decode(Sent::direct(HEADER, Direction::Read, &segments[..1])),
            (0, 99, Work::Read(vec![piece(9)]))
        );
        assert_eq!(decode(Sent::flush(HEADER, false)), (3, 99, Work::Flush));
        assert_eq!(
            decode(Sent::flush(HEADER, true)),
            (2, 99, Work::Barrier(Vec::new()))
        );
        assert_eq!(
            decode(Some(Sent::discard(HEADER, 77, false))),
            (5, 99, Work::Discard(77, false))
        );
        assert_eq!(
            decode(Some(Sent::discard(HEADER, 78, true))),
            (5, 99, Work::Discard(78, true))
        );
    }

    #[test]
    fn indirect_segments_are_in_their_page() {
        let mut page = Page(
            (0..300)
                .flat_map(|gref| bytes_of(&segment(gref)).to_vec())
                .collect(),
        );
        let sent = Sent::indirect(HEADER, Direction::Read, 300, &[GrantRef(5)]);
        let slot = slot_of(&sent.expect("a request"));
        let request = Request::decode(&slot, &mut page, 512).expect("a request");
        let expected: Vec<Piece> = (0..300).map(piece).collect();
        assert_eq!((request.operation, request.work), (0, Work::Read(expected)));
        assert!(Request::decode(&slot, &mut page, 299).is_err());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let sent = Sent::direct(HEADER, Direction::Read, &[segment(9)]).expect("a request");
        for (at, byte) in [(0, 4), (0, 7), (0, 255), (1, 0), (1, 12), (28, 4), (29, 8)] {
            let mut slot = slot_of(&sent);
            slot[at] = byte;
            let refused = Request::decode(&slot, &mut Page(Vec::new()), 256);
            assert!(refused.is_err(), "byte {at} is {byte}: {refused:?}");
        }
    }
}
