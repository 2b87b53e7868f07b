// SPDX-License-Identifier: GPL-2.0

//! The block protocol (Xen: `io/blkif.h`) from the backend's side.

pub mod request;
pub mod script;
pub mod status;

use crate::disk::Disk;
use crate::guest::{Guest, Piece};
use crate::ring::BackRing;
use abi::block::response::Response;
use abi::shared::Memory;
use anyhow::Result;
use request::{names, Request, Slot, Work};
use script::{Hostile, Script};

/// Bytes of a request and of a response.
pub const REQUEST: usize = size_of::<Slot>();
/// See [`REQUEST`].
pub const RESPONSE: usize = size_of::<Response>();

/// Requests that are answered together, at most.
const BATCH: usize = 64;

/// What a disk does with requests.
pub struct Block {
    /// The data.
    pub disk: Disk,
    /// Writes are refused.
    pub read_only: bool,
    /// Most segments of an indirect request.
    pub segments: u16,
    /// Flushes and barriers are done, not refused.
    pub flush: bool,
    /// Discards are done, not refused.
    pub discard: bool,
    /// Secure discards are, too.
    pub secure: bool,
    /// How it breaks the rules.
    pub script: Script,
    /// Takes no request any more, until it is told to go on.
    pub hung: bool,
    /// Hangs after so many requests.
    pub hang_after: Option<u64>,
    /// Dies after so many requests.
    pub die_after: Option<u64>,
    /// Requests so far.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Flushes and barriers that were done.
    pub flushes: u64,
    /// Discards that were done.
    pub discards: u64,
    /// Of these, secure ones.
    pub erased: u64,
}

/// What serving a ring has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// What there was is done.
    Waits,
    /// The program ends here.
    Die,
}

impl Block {
    /// An honest disk.
    pub fn new(disk: Disk) -> Self {
        Self {
            disk,
            read_only: false,
            segments: 256,
            flush: true,
            discard: true,
            secure: false,
            script: Script::default(),
            hung: false,
            hang_after: None,
            die_after: None,
            requests: 0,
            failed: 0,
            flushes: 0,
            discards: 0,
            erased: 0,
        }
    }

    /// Serves what is in a ring; `notify` gives the frontend an event.
    ///
    /// # Errors
    ///
    /// When the frontend breaks the rules of the ring.
    pub fn serve<M: Memory>(
        &mut self,
        ring: &mut BackRing<M>,
        guest: &mut dyn Guest,
        notify: &mut dyn FnMut(),
    ) -> Result<Served> {
        loop {
            let mut slots: Vec<Slot> = Vec::new();
            while slots.len() < BATCH && !self.rests() {
                let Some(slot) = ring.take()? else { break };
                if self.die_after.is_some_and(|most| self.requests >= most) {
                    return Ok(Served::Die);
                }
                self.requests += 1;
                slots.push(slot);
            }
            if slots.is_empty() {
                if !self.rests() && ring.arm()? {
                    continue;
                }
                return Ok(Served::Waits);
            }
            let answers: Vec<Response> = slots
                .iter()
                .map(|slot| {
                    let (id, operation) = names(slot);
                    Response::forge(id, operation, self.carry_out(slot, guest))
                })
                .collect();
            if self.script.answer(ring, &answers, notify)? {
                notify();
            }
        }
    }

    /// Whether it takes no request.
    fn rests(&mut self) -> bool {
        self.hung |= self.hang_after.is_some_and(|most| self.requests >= most);
        self.hung
    }

    /// Takes requests again.
    pub fn resume(&mut self) {
        (self.hung, self.hang_after) = (false, None);
    }

    /// Does what one request asks for. Gives the status of its response.
    fn carry_out(&mut self, slot: &Slot, guest: &mut dyn Guest) -> i16 {
        let done = Request::decode(slot, guest, self.segments)
            .and_then(|request| self.work(request, guest));
        done.unwrap_or_else(|_| {
            self.failed += 1;
            status::ERROR
        })
    }

    fn work(&mut self, request: Request, guest: &mut dyn Guest) -> Result<i16> {
        let sector = request.sector;
        let length = |pieces: &[Piece]| pieces.iter().map(|piece| usize::from(piece.len)).sum();
        match request.work {
            Work::Read(pieces) => {
                let mut data = vec![0; length(&pieces)];
                self.disk.read(sector, &mut data)?;
                guest.store(&pieces, &data)?;
            }
            Work::Write(pieces) => self.write(sector, &pieces, length(&pieces), guest)?,
            Work::Flush | Work::Barrier(_) if !self.flush => return Ok(status::NOT_SUPPORTED),
            Work::Flush => {
                self.flushes += 1;
                self.disk.flush()?;
            }
            Work::Barrier(pieces) => {
                self.flushes += 1;
                self.disk.flush()?;
                if !pieces.is_empty() {
                    self.write(sector, &pieces, length(&pieces), guest)?;
                    self.disk.flush()?;
                }
            }
            Work::Discard(_, secure)
                if !self.discard || self.read_only || (secure && !self.secure) =>
            {
                return Ok(status::NOT_SUPPORTED)
            }
            Work::Discard(sectors, secure) => {
                self.disk.discard(sector, sectors)?;
                self.discards += 1;
                self.erased += u64::from(secure);
            }
        }
        Ok(status::OKAY)
    }

    fn write(
        &mut self,
        sector: u64,
        pieces: &[Piece],
        length: usize,
        guest: &mut dyn Guest,
    ) -> Result<()> {
        anyhow::ensure!(!self.read_only, "the disk may only be read");
        let mut data = vec![0; length];
        guest.fetch(pieces, &mut data)?;
        self.disk.write(sector, &data)
    }

    /// Begins to play a script, with the next requests.
    pub fn play(&mut self, hostile: Option<Hostile>, after: u64, times: u64) {
        self.script = Script::new(hostile, after, times);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{with_page, Pages};
    use abi::block::request::{Direction, Header, Segment};
    use abi::block::response::Outcome;
    use abi::block::{request::Operation, request::Request as Sent, Ring};
    use abi::ring::Broken;
    use abi::shared::RawMemory;
    use abi::types::GrantRef;
    use std::collections::HashMap;

    fn header(id: u64, sector: u64) -> Header {
        Header {
            id,
            handle: 0,
            sector,
        }
    }

    fn data(id: u64, direction: Direction, sector: u64) -> Sent {
        let segment = Segment::new(GrantRef(9), 512, 1024).expect("a segment");
        Sent::direct(header(id, sector), direction, &[segment]).expect("a request")
    }

    type Front<'a> = Ring<&'a RawMemory>;
    type Back<'a> = BackRing<&'a RawMemory>;

    fn with_ring(test: impl FnOnce(Front<'_>, Back<'_>)) {
        with_page(|memory| {
            let front = Ring::new(memory).expect("a ring");
            let back = BackRing::new(memory, REQUEST, RESPONSE).expect("its other half");
            test(front, back);
        });
    }

    fn pages() -> Pages {
        Pages(HashMap::from([(9, vec![7; 4096])]))
    }

    /// Sends the requests and gives what comes back.
    fn ask(
        front: &mut Front<'_>,
        back: &mut Back<'_>,
        block: &mut Block,
        pages: &mut Pages,
        requests: &[Sent],
    ) -> std::result::Result<Vec<Response>, Broken> {
        for request in requests {
            front.write(request).expect("room");
        }
        let _ = front.publish();
        block
            .serve(back, pages, &mut || ())
            .expect("a frontend that is honest");
        let mut answers = Vec::new();
        while let Some(answer) = front.take()? {
            answers.push(answer);
        }
        front.arm(1)?;
        Ok(answers)
    }

    #[test]
    fn what_is_written_is_read_flushed_and_forgotten() {
        with_ring(|mut front, mut back| {
            let mut block = Block::new(Disk::memory(1));
            let mut pages = pages();
            let requests = [
                data(1, Direction::Write, 3),
                Sent::flush(header(2, 0), false).expect("a flush"),
            ];
            let answers = ask(&mut front, &mut back, &mut block, &mut pages, &requests);
            let answers = answers.expect("an honest backend");
            assert_eq!(answers[0].outcome(Operation::Write), Ok(Outcome::Done));
            assert_eq!(answers[1].outcome(Operation::Flush), Ok(Outcome::Done));
            let mut found = [0; 1024];
            block.disk.read(3, &mut found).expect("the disk");
            assert_eq!(found, [7; 1024]);
            pages.0.insert(9, vec![0; 4096]);
            let requests = [
                data(3, Direction::Read, 3),
                Sent::discard(header(4, 3), 2, false),
                data(5, Direction::Read, 2047),
            ];
            let answers = ask(&mut front, &mut back, &mut block, &mut pages, &requests);
            let answers = answers.expect("an honest backend");
            assert_eq!(answers[0].outcome(Operation::Read), Ok(Outcome::Done));
            assert_eq!(pages.0[&9][512..1536], [7; 1024]);
            assert_eq!(answers[1].outcome(Operation::Discard), Ok(Outcome::Done));
            // Beyond the end.
            assert_eq!(answers[2].outcome(Operation::Read), Ok(Outcome::Failed));
            block.disk.read(3, &mut found).expect("the disk");
            assert_eq!((found, block.failed, block.requests), ([0; 1024], 1, 5));
        });
    }

    #[test]
    fn what_is_not_offered_is_refused() {
        with_ring(|mut front, mut back| {
            let mut block = Block::new(Disk::memory(1));
            (block.flush, block.discard, block.read_only) = (false, false, true);
            let mut pages = pages();
            let requests = [
                data(1, Direction::Write, 3),
                Sent::flush(header(2, 0), true).expect("a barrier"),
                Sent::discard(header(3, 3), 2, false),
            ];
            let answers = ask(&mut front, &mut back, &mut block, &mut pages, &requests);
            let answers = answers.expect("an honest backend");
            assert_eq!(answers[0].outcome(Operation::Write), Ok(Outcome::Failed));
            let refused = Ok(Outcome::NotSupported);
            assert_eq!(answers[1].outcome(Operation::WriteBarrier), refused);
            assert_eq!(answers[2].outcome(Operation::Discard), refused);
        });
    }

    #[test]
    fn it_hangs_and_dies_when_it_is_told_to() {
        with_ring(|mut front, mut back| {
            let mut block = Block::new(Disk::memory(1));
            block.hang_after = Some(1);
            let mut pages = pages();
            let requests = [data(1, Direction::Read, 0)];
            let first = ask(&mut front, &mut back, &mut block, &mut pages, &requests);
            assert_eq!(first.map(|answers| answers.len()), Ok(1));
            let second = ask(&mut front, &mut back, &mut block, &mut pages, &requests);
            assert_eq!(second.map(|answers| answers.len()), Ok(0));
            block.resume();
            block.die_after = Some(2);
            // The one that was left comes first.
            front.write(&requests[0]).expect("room");
            let _ = front.publish();
            let served = block.serve(&mut back, &mut pages, &mut || ());
            assert_eq!((served.ok(), block.requests), (Some(Served::Die), 2));
        });
    }

    /// Each act is met by a frontend that sends three requests at once, and is what its name says.
    #[test]
    fn each_script_breaks_its_rule_once() {
        for hostile in Hostile::ALL {
            with_ring(|mut front, mut back| {
                let mut block = Block::new(Disk::memory(1));
                block.play(Some(hostile), 3, 1);
                let mut pages = pages();
                let first = [data(1, Direction::Read, 0)];
                for _ in 0..3 {
                    let got = ask(&mut front, &mut back, &mut block, &mut pages, &first);
                    let got = got.expect("an honest backend");
                    assert_eq!(got[0].outcome(Operation::Read), Ok(Outcome::Done));
                }
                assert_eq!(block.script.acts(), 0, "{hostile:?}");
                let three = [
                    data(1, Direction::Read, 0),
                    data(2, Direction::Read, 0),
                    data(3, Direction::Read, 0),
                ];
                let got = ask(&mut front, &mut back, &mut block, &mut pages, &three);
                assert_eq!(block.script.acts(), 1, "{hostile:?}");
                let ids = |answers: &[Response]| -> Vec<u64> {
                    answers.iter().map(Response::id).collect()
                };
                match hostile {
                    Hostile::ProducerBeyondRing
                    | Hostile::ProducerBackwards
                    | Hostile::NotYetPushed => assert!(got.is_err(), "{hostile:?}"),
                    _ => {
                        let got = got.expect("an index that is right");
                        match hostile {
                            Hostile::IdOutOfRange => assert!(got[0].id() > 32),
                            Hostile::IdNeverSent => {
                                let id = got[0].id();
                                assert!(id < 32 && !(1..4).contains(&id));
                            }
                            Hostile::IdTwice => assert_eq!(ids(&got)[..2], [1, 1]),
                            Hostile::WrongOperation => {
                                assert!(got[0].outcome(Operation::Read).is_err());
                            }
                            Hostile::ErrorStatus
                            | Hostile::UnknownStatus
                            | Hostile::NotSupported => {
                                let outcome = got[0].outcome(Operation::Read);
                                assert_eq!((outcome, got.len()), (Ok(Outcome::Failed), 3));
                            }
                            _ => assert_eq!(ids(&got), [1, 2, 3], "{hostile:?}"),
                        }
                    }
                }
            });
        }
    }

    /// Requests that the guest sends one by one are met by it too.
    #[test]
    fn an_id_is_answered_twice_when_another_request_comes() {
        with_ring(|mut front, mut back| {
            let mut script = Script::new(Some(Hostile::IdTwice), 0, 1);
            for id in [1, 2] {
                front.write(&data(id, Direction::Read, 0)).expect("room");
            }
            let _ = front.publish();
            let slot: Slot = back.take().expect("an honest frontend").expect("a request");
            let (id, operation) = names(&slot);
            let answers = [Response::forge(id, operation, 0)];
            script
                .answer(&mut back, &answers, &mut || ())
                .expect("an honest frontend");
            assert_eq!(script.acts(), 1);
            for _ in 0..2 {
                let got = front.take().expect("an index that is right");
                assert_eq!(got.map(|answer| answer.id()), Some(1));
            }
        });
    }
}
