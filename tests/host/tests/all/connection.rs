// SPDX-License-Identifier: GPL-2.0

//! The connection: every sequence of states of the other end, and every text that may stand for one.

use abi::connection::{
    replaced, reset_step, BadState, Frontend, Otherend, Phase, Replaced, Reset, State, Step,
};
use abi::types::DomainId;
use proptest::prelude::*;

/// What a driver holds, as it obeys the steps.
#[derive(Clone, Copy, Default)]
struct Driver {
    connection: Frontend,
    published: bool,
    attached: bool,
}

impl Driver {
    /// Obeys one state of the other end; panics when a step makes no sense. Returns how many steps it took.
    fn obey(&mut self, state: State) -> usize {
        for steps in 1..=3 {
            match self.connection.otherend(state) {
                Step::Wait => {
                    self.check();
                    return steps;
                }
                Step::Publish => {
                    assert!(!self.published && !self.attached, "published twice");
                    self.published = true;
                }
                Step::Attach => {
                    assert!(
                        self.published && !self.attached,
                        "attached what is not there"
                    );
                    self.attached = true;
                }
                Step::Refresh => assert!(self.attached, "refreshed what is not attached"),
                Step::Detach | Step::Abandon => {
                    self.published = false;
                    self.attached = false;
                    self.connection.closed();
                }
                Step::Restart => {
                    self.published = false;
                    self.attached = false;
                    self.connection.restarted();
                    // Asked again with the same state.
                    continue;
                }
            }
            self.check();
            return steps;
        }
        panic!("{state} has no end");
    }

    fn check(&self) {
        match self.connection.phase() {
            Phase::Idle | Phase::Closed => {
                assert!(!self.published && !self.attached, "something is left over")
            }
            Phase::Published => assert!(self.published && !self.attached),
            Phase::Attached => assert!(self.published && self.attached),
            Phase::Closing => {}
        }
    }
}

/// Walks all sequences of `left` more states: 9^8 of them, shared prefixes once.
fn walk(driver: Driver, left: usize) -> u64 {
    if left == 0 {
        return 1;
    }
    let mut sequences = 0;
    for state in State::ALL {
        let mut next = driver;
        next.obey(state);
        sequences += walk(next, left - 1);
    }
    sequences
}

#[test]
fn every_sequence_of_states_up_to_eight() {
    assert_eq!(walk(Driver::default(), 8), 9u64.pow(8));
}

/// The same when the driver gives up by itself at any one place on the way.
#[test]
fn every_sequence_with_a_failure_in_it() {
    fn walk(driver: Driver, left: usize, may_fail: bool) {
        if left == 0 {
            return;
        }
        for state in State::ALL {
            let mut next = driver;
            next.obey(state);
            walk(next, left - 1, may_fail);
        }
        if may_fail {
            let mut next = driver;
            next.connection.failed();
            assert_eq!(next.connection.phase(), Phase::Closing);
            next.published = false;
            next.attached = false;
            walk(next, left - 1, false);
            next.connection.closed();
            walk(next, left - 1, false);
        }
    }
    walk(Driver::default(), 6, true);
}

/// From any state, a backend that starts anew gets a connection.
#[test]
fn any_phase_comes_back_to_life() {
    fn walk(driver: Driver, left: usize) {
        let mut again = driver;
        for state in [
            State::Closed,
            State::Initialising,
            State::InitWait,
            State::Connected,
        ] {
            again.obey(state);
        }
        assert_eq!(
            again.connection.phase(),
            Phase::Attached,
            "after {:?}",
            driver.connection
        );
        if left > 0 {
            for state in State::ALL {
                let mut next = driver;
                next.obey(state);
                walk(next, left - 1);
            }
        }
    }
    walk(Driver::default(), 4);
}

/// Bringing a connection back to its beginning ends, whatever was left behind, with an honest backend.
#[test]
fn reset_ends_with_an_honest_backend() {
    for own in State::ALL {
        for other in State::ALL {
            let (mut ours, mut theirs) = (own, other);
            let mut moves = 0;
            loop {
                moves += 1;
                assert!(moves < 20, "no end from {own} and {other}");
                match reset_step(ours, theirs) {
                    Reset::Done => break,
                    Reset::Write(state) => {
                        assert_ne!(state, ours, "wrote what it was");
                        ours = state;
                    }
                    Reset::Await => {}
                }
                // What a backend does in answer.
                theirs = match (ours, theirs) {
                    (State::Closing, State::Connected | State::Initialised) => State::Closing,
                    (State::Closing, State::Reconfiguring | State::Reconfigured) => State::Closing,
                    (State::Closed, _) => State::Closed,
                    (State::Initialising, State::Closed) => State::InitWait,
                    (_, same) => same,
                };
            }
            assert_eq!(ours, State::Initialising);
        }
    }
}

#[test]
fn state_values_outside_0_to_8() {
    for (text, number) in [
        ("9", 9),
        ("10", 10),
        ("255", 255),
        ("256", 256),
        ("4294967295", u32::MAX),
    ] {
        assert_eq!(
            State::parse(text.as_bytes()),
            Err(BadState::OutOfRange(number))
        );
        assert_eq!(State::from_number(number), None);
    }
    for text in [
        "",
        "-1",
        "4294967296",
        "99999999999999999999999",
        "4 ",
        " 4",
        "4\0",
        "four",
        "0x4",
        "+4",
        "4\n",
    ] {
        assert!(
            matches!(State::parse(text.as_bytes()), Err(BadState::Number(_))),
            "{text:?}"
        );
    }
    for state in State::ALL {
        assert_eq!(State::parse(state.as_text().as_bytes()), Ok(state));
        assert_eq!(State::from_number(state.number().into()), Some(state));
    }
}

proptest! {
    #[test]
    fn any_text_is_a_state_or_an_error(text in prop::collection::vec(any::<u8>(), 0..12)) {
        if let Ok(state) = State::parse(&text) {
            // Leading zeroes are the only freedom.
            let number: u32 = std::str::from_utf8(&text).unwrap().parse().unwrap();
            prop_assert_eq!(u32::from(state.number()), number);
        }
    }
}

#[test]
fn backend_id_changed_under_a_device() {
    let other = |path: &'static [u8], id| Otherend {
        path,
        id: DomainId(id),
    };
    let known = other(b"/local/domain/0/backend/vbd/3/51712", 0);
    for own in State::ALL {
        for written in State::ALL {
            let moved = |present| replaced(known, present, own, written) == Some(Replaced::Moved);
            // Another domain, another directory, a shorter and a longer one.
            assert!(moved(other(known.path, 1)));
            assert!(moved(other(b"/local/domain/0/backend/vbd/3/51713", 0)));
            assert!(moved(other(b"/local/domain/0/backend/vbd/3/5171", 0)));
            assert!(moved(other(b"/local/domain/0/backend/vbd/3/51712/", 0)));
            assert!(!moved(known));
        }
    }
}

#[test]
fn a_device_made_anew_under_its_name() {
    let known = Otherend {
        path: b"/backend",
        id: DomainId(0),
    };
    for own in State::ALL {
        for written in State::ALL {
            let anew = replaced(known, known, own, written) == Some(Replaced::Anew);
            // Our own first state is nothing new.
            let left = own != State::Unknown && own != State::Initialising;
            assert_eq!(anew, written == State::Initialising && left);
        }
    }
}
