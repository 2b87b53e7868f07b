// SPDX-License-Identifier: GPL-2.0

//! How two ends of a split driver find together: the states of Xen's `io/xenbus.h` and what a frontend does upon each.
//!
//! Each end publishes one number, its `state` key, and watches the number of the other. The other end is not trusted:
//! any number may appear after any other. [`Frontend`] answers every such sequence with a [`Step`] that is safe in the
//! phase our end is in, and [`reset_step`] brings a connection that somebody else left behind back to its beginning.

use core::fmt;

use crate::{types::DomainId, xenstore::value};

/// The state of one end (`enum xenbus_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The key is absent: the device is gone, or not yet there.
    #[default]
    Unknown = 0,
    /// The end has begun.
    Initialising = 1,
    /// The backend has written what it offers and waits for the frontend.
    InitWait = 2,
    /// The frontend has written its rings and channels.
    Initialised = 3,
    /// The end is ready for requests.
    Connected = 4,
    /// The end asks for the connection to be shut down.
    Closing = 5,
    /// The end has given up everything that belonged to the connection.
    Closed = 6,
    /// The end changes its properties.
    Reconfiguring = 7,
    /// The end has changed its properties.
    Reconfigured = 8,
}

/// Why a `state` key means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadState {
    /// The text is not a number.
    Number(value::BadNumber),
    /// The number is none of the states.
    OutOfRange(u32),
}

impl fmt::Display for BadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(error) => fmt::Display::fmt(error, f),
            Self::OutOfRange(number) => write!(f, "{number} is no state, they go from 0 to 8"),
        }
    }
}

impl State {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Initialising,
        Self::InitWait,
        Self::Initialised,
        Self::Connected,
        Self::Closing,
        Self::Closed,
        Self::Reconfiguring,
        Self::Reconfigured,
    ];

    /// Reads the value of a `state` key.
    ///
    /// # Errors
    ///
    /// [`BadState`] when the text is not a decimal number from 0 to 8.
    pub fn parse(text: &[u8]) -> Result<Self, BadState> {
        let number = value::parse_u32(text).map_err(BadState::Number)?;
        Self::from_number(number).ok_or(BadState::OutOfRange(number))
    }

    /// Returns the state with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        usize::try_from(number)
            .ok()
            .and_then(|index| Self::ALL.get(index))
            .copied()
    }

    /// Returns the number that stands for the state.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the value of the `state` key.
    pub const fn as_text(self) -> &'static str {
        match self {
            Self::Unknown => "0",
            Self::Initialising => "1",
            Self::InitWait => "2",
            Self::Initialised => "3",
            Self::Connected => "4",
            Self::Closing => "5",
            Self::Closed => "6",
            Self::Reconfiguring => "7",
            Self::Reconfigured => "8",
        }
    }

    /// Returns the name that logs and sysfs show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Initialising => "Initialising",
            Self::InitWait => "InitWait",
            Self::Initialised => "Initialised",
            Self::Connected => "Connected",
            Self::Closing => "Closing",
            Self::Closed => "Closed",
            Self::Reconfiguring => "Reconfiguring",
            Self::Reconfigured => "Reconfigured",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far our end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is published; our state is [`State::Initialising`].
    #[default]
    Idle,
    /// Rings and channels are published; our state is [`State::Initialised`] or, for some protocols, already
    /// [`State::Connected`].
    Published,
    /// The backend has connected and requests flow.
    Attached,
    /// A shutdown has begun and is not finished; our state is [`State::Closing`].
    Closing,
    /// Nothing is published; our state is [`State::Closed`].
    Closed,
}

/// What the frontend has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// Read what the backend offers, make rings and channels, write their keys and the next state.
    Publish,
    /// The backend has connected: read its properties and let requests flow.
    Attach,
    /// The connected backend announces again: its properties may have changed.
    Refresh,
    /// The connection ends: stop requests, end all grants and channels, go to Closed. Call [`Frontend::closed`] when done.
    Detach,
    /// The backend is gone while a shutdown was under way: it answers nothing any more, so finish without it. Call
    /// [`Frontend::closed`] when done.
    Abandon,
    /// The backend begins anew: drop what belongs to the old connection, write [`State::Initialising`], and ask again
    /// with the same state.
    Restart,
}

/// The frontend's side of a connection.
///
/// [`Frontend::otherend`] is total: each of the nine states is answered in each phase, and whatever the order, a driver
/// that obeys publishes only when nothing is published, attaches only what is published, and detaches only once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontend {
    phase: Phase,
}

impl Frontend {
    /// Starts in [`Phase::Idle`].
    pub const fn new() -> Self {
        Self { phase: Phase::Idle }
    }

    /// Returns how far our end has come.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Takes in the other end's state and tells what to do.
    pub fn otherend(&mut self, state: State) -> Step {
        let (phase, step) = next(self.phase, state);
        self.phase = phase;
        step
    }

    /// Publishing failed, or the driver gave the connection up by itself: our end is closing now.
    pub fn failed(&mut self) {
        self.phase = Phase::Closing;
    }

    /// Everything of the connection is given back and our state is [`State::Closed`].
    pub fn closed(&mut self) {
        self.phase = Phase::Closed;
    }

    /// Everything of the connection is given back and our state is [`State::Initialising`].
    pub fn restarted(&mut self) {
        self.phase = Phase::Idle;
    }
}

/// The transition table of [`Frontend`].
const fn next(phase: Phase, other: State) -> (Phase, Step) {
    use Phase as P;
    use State as S;
    match (phase, other) {
        // A backend that is already connected is connected to somebody before us; it has to come back to InitWait.
        (P::Idle, S::InitWait) => (P::Published, Step::Publish),
        // The toolstack takes away a device that never came up.
        (P::Idle, S::Closing) => (P::Closing, Step::Detach),
        (P::Idle, _) => (P::Idle, Step::Wait),

        (P::Published, S::Connected) => (P::Attached, Step::Attach),
        (P::Published, S::Closing | S::Closed | S::Unknown) => (P::Closing, Step::Detach),
        // Only a backend that was started anew goes back to its beginning.
        (P::Published, S::Initialising) => (P::Idle, Step::Restart),
        // InitWait is the state that we answered, and comes once more with every change of the node.
        (P::Published, _) => (P::Published, Step::Wait),

        (P::Attached, S::Connected | S::Reconfigured) => (P::Attached, Step::Refresh),
        (P::Attached, S::Closing | S::Closed | S::Unknown) => (P::Closing, Step::Detach),
        (P::Attached, S::Initialising | S::InitWait) => (P::Idle, Step::Restart),
        (P::Attached, S::Initialised | S::Reconfiguring) => (P::Attached, Step::Wait),

        (P::Closing, S::Closed | S::Unknown) => (P::Closing, Step::Abandon),
        (P::Closing, _) => (P::Closing, Step::Wait),

        (P::Closed, S::Initialising | S::InitWait) => (P::Idle, Step::Restart),
        (P::Closed, _) => (P::Closed, Step::Wait),
    }
}

/// The next move in [`reset_step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Write this as our state, and look again at once.
    Write(State),
    /// Wait for the other end to change, no longer than a bound; when it does not, write [`State::Initialising`] all
    /// the same: a device that stays silent waits, and is removable.
    Await,
    /// The connection is at its beginning.
    Done,
}

/// Brings a connection that firmware or an earlier driver left behind back to its beginning: Closing, Closed,
/// Initialising, each when the other end has followed.
pub const fn reset_step(own: State, other: State) -> Reset {
    use State as S;
    match (own, other) {
        // Somebody wrote Initialising over a live connection.
        (S::Initialising | S::Unknown | S::InitWait, S::Connected) => Reset::Write(S::Closing),
        (S::Initialising, _) => Reset::Done,
        (S::Unknown | S::InitWait, _) => Reset::Write(S::Initialising),
        (S::Initialised | S::Connected | S::Reconfiguring | S::Reconfigured, _) => {
            Reset::Write(S::Closing)
        }
        (S::Closing, S::Initialised | S::Connected | S::Reconfiguring | S::Reconfigured) => {
            Reset::Await
        }
        (S::Closing, _) => Reset::Write(S::Closed),
        (S::Closed, S::Closed | S::Initialising | S::InitWait | S::Unknown) => {
            Reset::Write(S::Initialising)
        }
        (S::Closed, _) => Reset::Await,
    }
}

/// What makes a device the one that it is: its other end. Both are the toolstack's to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Otherend<'a> {
    /// Key `backend`: the other end's directory.
    pub path: &'a [u8],
    /// Key `backend-id`: the only domain that may get a grant or a port of the device.
    pub id: DomainId,
}

/// Why a device that is known is not the same any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// Its other end is another one: what was granted to the former must end.
    Moved,
    /// The toolstack made it anew under the same name.
    Anew,
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Moved => "given it another backend",
            Self::Anew => "made it anew",
        })
    }
}

/// Compares a device with what the xenstore says now: the former and the present other end, the state that our end last
/// wrote, and the one that its key holds.
pub fn replaced(
    former: Otherend<'_>,
    present: Otherend<'_>,
    own: State,
    written: State,
) -> Option<Replaced> {
    if former != present {
        return Some(Replaced::Moved);
    }
    // Only the toolstack writes Initialising over a state that we have left.
    let left = !matches!(own, State::Initialising | State::Unknown);
    (written == State::Initialising && left).then_some(Replaced::Anew)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_texts_round_trip() {
        for (number, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(state.number()), number);
            assert_eq!(State::parse(state.as_text().as_bytes()), Ok(state));
            assert_eq!(State::from_number(number as u32), Some(state));
            assert_eq!(std::format!("{state}"), std::format!("{state:?}"));
        }
    }

    #[test]
    fn state_texts_outside_0_to_8_are_refused() {
        for text in ["9", "10", "255", "4294967295"] {
            assert!(matches!(
                State::parse(text.as_bytes()),
                Err(BadState::OutOfRange(_))
            ));
        }
        for text in [
            "",
            "-1",
            "+1",
            "4 ",
            " 4",
            "4\n",
            "four",
            "0x4",
            "4\0",
            "99999999999",
        ] {
            assert!(
                matches!(State::parse(text.as_bytes()), Err(BadState::Number(_))),
                "{text:?}"
            );
        }
        assert!(!std::format!("{}", State::parse(b"9").unwrap_err()).is_empty());
        assert!(!std::format!("{}", State::parse(b"").unwrap_err()).is_empty());
    }

    /// What a driver that obeys would own after each step.
    #[derive(Clone, Copy)]
    struct Driver {
        frontend: Frontend,
        published: bool,
        attached: bool,
        closing: bool,
    }

    impl Driver {
        fn on(&mut self, state: State, finish: bool) {
            // A restart asks again with the same state; that must come to rest.
            for round in 0..3 {
                assert!(round < 2, "restart does not come to rest");
                let step = self.frontend.otherend(state);
                match step {
                    Step::Wait => {}
                    Step::Publish => {
                        assert!(!self.published && !self.attached && !self.closing);
                        assert_eq!(state, State::InitWait);
                        self.published = true;
                    }
                    Step::Attach => {
                        assert!(self.published && !self.attached && !self.closing);
                        assert_eq!(state, State::Connected);
                        self.attached = true;
                    }
                    Step::Refresh => assert!(self.attached && !self.closing),
                    Step::Detach => {
                        assert!(!self.closing, "detached twice");
                        self.closing = true;
                    }
                    Step::Abandon => assert!(self.closing),
                    Step::Restart => {
                        assert!(!self.closing);
                        self.published = false;
                        self.attached = false;
                        continue;
                    }
                }
                break;
            }
            if self.closing && finish {
                self.frontend.closed();
                (self.published, self.attached, self.closing) = (false, false, false);
            }
            match self.frontend.phase() {
                Phase::Idle | Phase::Closed => {
                    assert!(!self.published && !self.attached && !self.closing);
                }
                Phase::Published => assert!(self.published && !self.attached),
                Phase::Attached => assert!(self.published && self.attached),
                Phase::Closing => assert!(self.closing),
            }
        }
    }

    fn walk(driver: Driver, depth: u32, finish: bool) {
        if depth == 0 {
            return;
        }
        for state in State::ALL {
            let mut next = driver;
            next.on(state, finish);
            walk(next, depth - 1, finish);
        }
    }

    #[test]
    fn every_sequence_of_states_is_safe() {
        let fresh = Driver {
            frontend: Frontend::new(),
            published: false,
            attached: false,
            closing: false,
        };
        walk(fresh, 7, true);
        walk(fresh, 6, false);
    }

    #[test]
    fn a_normal_life_connects_and_closes() {
        let mut frontend = Frontend::default();
        for (state, step) in [
            (State::Initialising, Step::Wait),
            (State::InitWait, Step::Publish),
            (State::InitWait, Step::Wait),
            (State::Connected, Step::Attach),
            (State::Connected, Step::Refresh),
            (State::Closing, Step::Detach),
            (State::Closed, Step::Abandon),
        ] {
            assert_eq!(frontend.otherend(state), step, "{state}");
        }
        frontend.closed();
        assert_eq!(frontend.otherend(State::Closed), Step::Wait);
        assert_eq!(frontend.otherend(State::Connected), Step::Wait);
        assert_eq!(frontend.otherend(State::InitWait), Step::Restart);
        assert_eq!(frontend.otherend(State::InitWait), Step::Publish);
    }

    #[test]
    fn a_failed_or_restarted_driver_says_so() {
        let mut frontend = Frontend::new();
        frontend.otherend(State::InitWait);
        frontend.failed();
        assert_eq!(frontend.phase(), Phase::Closing);
        assert_eq!(frontend.otherend(State::Connected), Step::Wait);
        frontend.restarted();
        assert_eq!(frontend.otherend(State::InitWait), Step::Publish);
    }

    /// A backend that follows the protocol brings every left-over connection back to its beginning.
    #[test]
    fn reset_ends_from_every_pair_of_states() {
        for own in State::ALL {
            for other in State::ALL {
                let (mut own, mut other) = (own, other);
                let mut moves = 0;
                loop {
                    moves += 1;
                    assert!(moves < 10, "{own} {other}");
                    match reset_step(own, other) {
                        Reset::Done => break,
                        Reset::Write(state) => own = state,
                        Reset::Await => {
                            other = match own {
                                State::Closing => State::Closing,
                                State::Closed => State::Closed,
                                _ => panic!("waits in {own}"),
                            }
                        }
                    }
                }
                assert_eq!(own, State::Initialising);
                assert_ne!(other, State::Connected);
            }
        }
    }

    #[test]
    fn reset_never_writes_twice_in_a_row_for_a_silent_backend() {
        for own in State::ALL {
            let mut own = own;
            for _ in 0..5 {
                match reset_step(own, State::Connected) {
                    Reset::Write(state) => own = state,
                    Reset::Await => break,
                    Reset::Done => panic!("done while the backend is connected"),
                }
            }
            assert!(matches!(reset_step(own, State::Connected), Reset::Await));
        }
    }
}
