// SPDX-License-Identifier: GPL-2.0

//! Every sequence of inputs, with a driver that obeys.
//!
//! The states that a life can get into are few, so they are explored until no new one turns up; that covers sequences
//! of every length.

use super::*;
use std::{
    collections::HashSet,
    sync::OnceLock,
    vec,
    vec::Vec, //
};

/// How the driver obeys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Takes every step.
    Well,
    /// Takes one step, as when the next one has to be tried again later.
    Haltingly,
    /// Fails to publish and to attach, and begins too often.
    Badly,
}

const MANNERS: [Manner; 3] = [Manner::Well, Manner::Haltingly, Manner::Badly];

/// What a driver that obeys has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Driver {
    life: Life,
    published: bool,
    attached: bool,
    retired: bool,
    ended: bool,
    /// The backend did not follow since the connection was retired.
    overdue: bool,
    /// The connection belongs to a domain that is no more.
    elsewhere: bool,
    suspended: bool,
    vanished: bool,
}

impl Driver {
    fn new(own: State, published: State) -> Self {
        Self {
            life: Life::new(own, published),
            published: false,
            attached: false,
            retired: false,
            ended: false,
            overdue: false,
            elsewhere: false,
            suspended: false,
            vanished: false,
        }
    }

    fn input(&mut self, input: Input, manner: Manner) {
        match input {
            Input::Vanished => self.vanished = true,
            Input::Overdue => self.overdue = true,
            Input::Suspended => self.suspended = true,
            Input::Resumed => {
                self.suspended = false;
                self.elsewhere |= self.published || self.retired;
            }
            Input::Cancelled => self.suspended = false,
            _ => {}
        }
        self.life.input(input);
        // Elsewhere it is at its beginning.
        self.ended &= self.life.ended;
        for steps in 0.. {
            assert!(steps < 12, "no end after {input:?}: {self:?}");
            let step = self.life.next();
            if step == Step::Wait || (manner == Manner::Haltingly && steps == 1) {
                break;
            }
            let refused = match step {
                Step::Publish | Step::Attach => Some(Input::Failed),
                Step::Begin => Some(Input::TooOften),
                _ => None,
            };
            if let (Manner::Badly, Some(refused)) = (manner, refused) {
                self.life.input(refused);
                assert_ne!(self.life.next(), step, "tried at once again");
                continue;
            }
            self.take(step);
            self.life.done(step);
            self.ended &= self.life.ended;
        }
    }

    fn take(&mut self, step: Step) {
        if matches!(step, Step::Write(_) | Step::Publish | Step::Begin) {
            assert!(!self.vanished && !self.suspended, "{step:?}: {self:?}");
            assert!(!self.elsewhere, "{step:?} for a domain that is no more");
        }
        match step {
            Step::Wait => {}
            Step::Publish => {
                assert!(!self.published && !self.attached && !self.retired);
                assert_eq!(self.life.other, State::InitWait);
                self.published = true;
                self.ended = false;
            }
            Step::Attach => {
                assert!(self.published && !self.attached);
                assert_eq!(self.life.other, State::Connected);
                self.attached = true;
            }
            Step::Refresh => assert!(self.attached),
            Step::Write(State::Connected) => assert!(self.attached),
            Step::Write(State::Closing | State::Closed) => assert!(!self.published),
            Step::Write(other) => panic!("writes {other}"),
            Step::Flush => assert!(self.attached && !self.life.broken),
            Step::Retire => {
                assert!(self.published && !self.retired);
                (self.published, self.attached) = (false, false);
                (self.retired, self.overdue) = (true, false);
            }
            Step::Shut => {
                assert!(self.retired && !self.published);
                assert!(
                    has_let_go(self.life.other) || self.overdue || self.vanished || self.elsewhere,
                    "given back while the backend uses it: {self:?}"
                );
                (self.retired, self.elsewhere) = (false, false);
            }
            Step::End => {
                assert!(!self.published && !self.retired && !self.ended);
                assert!(self.vanished || self.life.ends());
                self.ended = true;
            }
            Step::Begin => {
                assert!(!self.published && !self.retired);
                self.ended = false;
            }
        }
    }
}

impl core::fmt::Debug for Driver {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.life.fmt(f)
    }
}

fn inputs() -> Vec<Input> {
    let mut inputs = vec![
        Input::Garbled,
        Input::Overdue,
        Input::Broken,
        Input::Rested,
        Input::Vanished,
        Input::Suspended,
        Input::Resumed,
        Input::Cancelled,
        Input::Remove,
    ];
    for state in State::ALL {
        inputs.push(Input::Otherend {
            state,
            online: true,
        });
    }
    for state in [State::Closing, State::Closed] {
        inputs.push(Input::Otherend {
            state,
            online: false,
        });
    }
    inputs
}

/// Every driver that some sequence of inputs leads to.
fn reachable() -> &'static HashSet<Driver> {
    static REACHABLE: OnceLock<HashSet<Driver>> = OnceLock::new();
    REACHABLE.get_or_init(explore)
}

fn explore() -> HashSet<Driver> {
    let inputs = inputs();
    let mut known = HashSet::new();
    let mut left: Vec<Driver> = State::ALL
        .into_iter()
        .flat_map(|own| [State::Initialised, State::Connected].map(|end| Driver::new(own, end)))
        .collect();
    while let Some(driver) = left.pop() {
        if !known.insert(driver) {
            continue;
        }
        for &input in &inputs {
            for manner in MANNERS {
                let mut next = driver;
                next.input(input, manner);
                left.push(next);
            }
        }
    }
    known
}

#[test]
fn every_sequence_of_inputs_is_obeyed() {
    assert!(reachable().len() > 1000);
    for driver in reachable() {
        // What is waited for has an end.
        match driver.life.awaits() {
            Some(Awaits::Backend(phase)) => {
                let mut late = *driver;
                late.input(Input::Overdue, Manner::Well);
                let still = late.life.awaits() == Some(Awaits::Backend(phase));
                assert!(!still, "{driver:?}");
            }
            Some(Awaits::Rest) => {
                let mut rested = *driver;
                rested.input(Input::Rested, Manner::Well);
                // What is published may be so again, by another connection.
                let moved = rested.life.phase() != driver.life.phase()
                    || driver.life.phase() == Phase::Published;
                assert!(moved || rested.life.awaits().is_none(), "{driver:?}");
            }
            None => {}
        }
    }
}

#[test]
fn a_device_can_be_left_whatever_its_backend_does() {
    for driver in reachable() {
        let mut left = *driver;
        left.input(Input::Cancelled, Manner::Well);
        left.input(Input::Remove, Manner::Well);
        for _ in 0..2 {
            left.input(Input::Overdue, Manner::Well);
        }
        assert!(left.life.is_over(), "{driver:?} {left:?}");
        let mut vanished = *driver;
        vanished.input(Input::Vanished, Manner::Well);
        assert!(vanished.life.is_over(), "{driver:?} {vanished:?}");
        assert_eq!(vanished.life.awaits(), None);
    }
}

#[test]
fn a_backend_that_starts_anew_gets_a_connection() {
    for driver in reachable() {
        if driver.vanished || driver.life.removing {
            continue;
        }
        let mut again = *driver;
        again.input(Input::Cancelled, Manner::Well);
        for state in [State::Closed, State::Initialising] {
            again.input(
                Input::Otherend {
                    state,
                    online: true,
                },
                Manner::Well,
            );
        }
        // One rest for what failed before, and it may be needed after the former connection is closed.
        again.input(Input::Rested, Manner::Well);
        for state in [State::InitWait, State::Connected] {
            again.input(
                Input::Otherend {
                    state,
                    online: true,
                },
                Manner::Well,
            );
        }
        assert_eq!(again.life.phase(), Phase::Attached, "{driver:?} {again:?}");
        assert_eq!(again.life.own, State::Connected);
    }
}

#[test]
fn a_usual_life() {
    let mut driver = Driver::new(State::Initialising, State::Initialised);
    let online = |state| Input::Otherend {
        state,
        online: true,
    };
    for (input, phase) in [
        (online(State::Initialising), Phase::Idle),
        (online(State::InitWait), Phase::Published),
        (online(State::InitWait), Phase::Published),
        (online(State::Connected), Phase::Attached),
        (Input::Broken, Phase::Closing),
        (online(State::Closing), Phase::Closed),
        (online(State::Closed), Phase::Idle),
        (online(State::InitWait), Phase::Published),
        (online(State::Connected), Phase::Attached),
        // The toolstack takes it away, and changes its mind.
        (
            Input::Otherend {
                state: State::Closing,
                online: false,
            },
            Phase::Closed,
        ),
        (
            Input::Otherend {
                state: State::Closed,
                online: false,
            },
            Phase::Closed,
        ),
        (online(State::InitWait), Phase::Published),
    ] {
        driver.input(input, Manner::Well);
        assert_eq!(driver.life.phase(), phase, "{input:?}");
    }
}

/// As when somebody else writes to the backend's key: it says nothing any more, but the backend would follow.
#[test]
fn a_key_that_says_nothing_is_not_waited_for() {
    for answers in [true, false] {
        let mut driver = Driver::new(State::Initialising, State::Connected);
        driver.input(Input::Garbled, Manner::Well);
        assert_eq!(driver.life.awaits(), Some(Awaits::Rest));
        driver.input(Input::Rested, Manner::Well);
        assert_eq!(driver.life.own, State::Closed);
        if answers {
            driver.input(
                Input::Otherend {
                    state: State::Closed,
                    online: true,
                },
                Manner::Well,
            );
        } else {
            assert_eq!(driver.life.awaits(), Some(Awaits::Rest));
            driver.input(Input::Rested, Manner::Well);
        }
        assert_eq!(driver.life.own, State::Initialising);
    }
}

#[test]
fn what_an_earlier_driver_left_is_closed_first() {
    let mut driver = Driver::new(State::Connected, State::Connected);
    driver.input(
        Input::Otherend {
            state: State::Connected,
            online: true,
        },
        Manner::Well,
    );
    assert_eq!(driver.life.own, State::Closing);
    assert_eq!(driver.life.awaits(), Some(Awaits::Backend(Phase::Closing)));
    // A silent backend: it is told that the connection is closed, and waited for without a limit then.
    driver.input(Input::Overdue, Manner::Well);
    assert_eq!(driver.life.own, State::Closed);
    assert_eq!(driver.life.awaits(), Some(Awaits::Rest));
    // Maybe its state is not what it says.
    driver.input(Input::Rested, Manner::Well);
    assert_eq!(driver.life.own, State::Initialising);
    assert_eq!(driver.life.next(), Step::Wait);
    driver.input(
        Input::Otherend {
            state: State::InitWait,
            online: true,
        },
        Manner::Well,
    );
    assert_eq!(driver.life.phase(), Phase::Published);
}
