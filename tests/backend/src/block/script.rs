// SPDX-License-Identifier: GPL-2.0

//! How a block backend can break the rules of its ring: the lines of `docs/hostile-inputs.md` as acts.

use super::request::Slot;
use crate::ring::BackRing;
use abi::block::request::Operation;
use abi::block::response::Response;
use abi::shared::Memory;
use anyhow::Result;
use std::thread;
use std::time::Duration;

/// How often a response is changed while the frontend may be reading it.
const CHANGES: u32 = 200;

/// How often, a millisecond apart, a request is looked for that an act needs.
const LOOKS: u32 = 1000;

/// Ways to break the rules in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostile {
    /// The response index runs ahead by four times the ring.
    ProducerBeyondRing,
    /// The response index goes back behind what was taken.
    ProducerBackwards,
    /// The response index covers requests that the frontend has not published.
    NotYetPushed,
    /// The frontend's indices and free slots are written over.
    Overwritten,
    /// The response changes again and again after it was shown.
    ChangedWhileRead,
    /// The id is beyond every table.
    IdOutOfRange,
    /// The id is that of no request that waits.
    IdNeverSent,
    /// Two responses carry the same id.
    IdTwice,
    /// The response repeats another operation.
    WrongOperation,
    /// The request has failed.
    ErrorStatus,
    /// The status is none of the protocol.
    UnknownStatus,
    /// The backend says that it cannot do what every backend can.
    NotSupported,
}

impl Hostile {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::ProducerBeyondRing,
        Self::ProducerBackwards,
        Self::NotYetPushed,
        Self::Overwritten,
        Self::ChangedWhileRead,
        Self::IdOutOfRange,
        Self::IdNeverSent,
        Self::IdTwice,
        Self::WrongOperation,
        Self::ErrorStatus,
        Self::UnknownStatus,
        Self::NotSupported,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProducerBeyondRing => "producer-beyond-ring",
            Self::ProducerBackwards => "producer-backwards",
            Self::NotYetPushed => "not-yet-pushed",
            Self::Overwritten => "overwritten",
            Self::ChangedWhileRead => "changed-while-read",
            Self::IdOutOfRange => "id-out-of-range",
            Self::IdNeverSent => "id-never-sent",
            Self::IdTwice => "id-twice",
            Self::WrongOperation => "wrong-operation",
            Self::ErrorStatus => "error-status",
            Self::UnknownStatus => "unknown-status",
            Self::NotSupported => "not-supported",
        }
    }

    /// The one of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hostile| hostile.name() == name)
    }
}

/// Which rule is broken, when, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Script {
    hostile: Option<Hostile>,
    /// Responses before the first act.
    after: u64,
    times: u64,
    answered: u64,
    acts: u64,
}

impl Script {
    /// `times` acts, when `after` responses were honest.
    pub fn new(hostile: Option<Hostile>, after: u64, times: u64) -> Self {
        Self {
            hostile,
            after,
            times,
            ..Self::default()
        }
    }

    /// How often the rule was broken.
    pub fn acts(&self) -> u64 {
        self.acts
    }

    /// Answers a batch, truly or not. Returns whether the frontend gets an event; one that needs it sooner is given by
    /// `notify`.
    ///
    /// # Errors
    ///
    /// When the frontend breaks the rules of the ring.
    pub fn answer<M: Memory>(
        &mut self,
        ring: &mut BackRing<M>,
        answers: &[Response],
        notify: &mut dyn FnMut(),
    ) -> Result<bool> {
        if self.acts < self.times && self.answered >= self.after {
            if let Some(hostile) = self.hostile {
                if let Some(notify) = self.act(hostile, ring, answers, notify)? {
                    self.acts += 1;
                    self.answered += answers.len() as u64;
                    return Ok(notify);
                }
            }
        }
        self.answered += answers.len() as u64;
        honestly(ring, answers)
    }

    /// Breaks the rule; `None` when these answers give no occasion.
    fn act<M: Memory>(
        &mut self,
        hostile: Hostile,
        ring: &mut BackRing<M>,
        answers: &[Response],
        notify: &mut dyn FnMut(),
    ) -> Result<Option<bool>> {
        let Some((first, rest)) = answers.split_first() else {
            return Ok(None);
        };
        let id = first.id();
        let operation = Operation::Read.code();
        let as_read = |id, status| Response::forge(id, operation, status);
        let is_read = first.outcome(Operation::Read).is_ok();
        let instead = match hostile {
            // The ring is broken with this: whatever follows would be worth nothing.
            Hostile::ProducerBeyondRing => {
                ring.force(ring.rsp_prod().wrapping_add(ring.slots() * 4));
                return Ok(Some(true));
            }
            Hostile::ProducerBackwards => {
                ring.force(ring.rsp_prod().wrapping_sub(1));
                return Ok(Some(true));
            }
            Hostile::NotYetPushed => {
                // Not only the next one: the guest may push that meanwhile.
                let index = ring.rsp_prod().wrapping_add(ring.slots());
                if index == ring.req_prod() {
                    return Ok(None);
                }
                ring.force(index);
                return Ok(Some(true));
            }
            Hostile::Overwritten => {
                if !ring.scribble()? {
                    return Ok(None);
                }
                // Its wish for an event is written over too.
                honestly(ring, answers)?;
                return Ok(Some(true));
            }
            Hostile::ChangedWhileRead => {
                let index = ring.rsp_prod();
                honestly(ring, answers)?;
                notify();
                for _ in 0..CHANGES {
                    ring.put_at(index, &Response::forge(u64::MAX, 0xff, -77));
                    thread::sleep(Duration::from_micros(100));
                    ring.put_at(index, first);
                }
                return Ok(Some(true));
            }
            Hostile::IdTwice => {
                // In the place of the answer to another request. The guest sends one without waiting for this answer.
                let rest = match rest.split_first() {
                    Some((_, rest)) => rest,
                    None if another(ring)? => rest,
                    None => return Ok(None),
                };
                ring.put(first)?;
                ring.put(first)?;
                return honestly(ring, rest).map(Some);
            }
            _ if !is_read => return Ok(None),
            Hostile::IdOutOfRange => as_read(u64::MAX - id, 0),
            Hostile::IdNeverSent => {
                let waits = |id: u64| answers.iter().any(|answer| answer.id() == id);
                let Some(id) = (0..u64::from(ring.slots())).rev().find(|id| !waits(*id)) else {
                    return Ok(None);
                };
                as_read(id, 0)
            }
            Hostile::WrongOperation => Response::forge(id, Operation::Write.code(), 0),
            Hostile::ErrorStatus => as_read(id, super::status::ERROR),
            Hostile::UnknownStatus => as_read(id, 77),
            Hostile::NotSupported => as_read(id, super::status::NOT_SUPPORTED),
        };
        ring.put(&instead)?;
        honestly(ring, rest).map(Some)
    }
}

/// Waits for another request, and takes it.
fn another<M: Memory>(ring: &mut BackRing<M>) -> Result<bool> {
    for _ in 0..LOOKS {
        if ring.take::<Slot>()?.is_some() {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(false)
}

fn honestly<M: Memory>(ring: &mut BackRing<M>, answers: &[Response]) -> Result<bool> {
    for answer in answers {
        ring.put(answer)?;
    }
    Ok(ring.publish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for hostile in Hostile::ALL {
            assert_eq!(Hostile::by_name(hostile.name()), Some(hostile));
        }
        assert_eq!(Hostile::by_name("honest"), None);
    }
}
