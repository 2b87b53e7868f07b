// SPDX-License-Identifier: GPL-2.0

//! The life of a frontend: what to do next, whatever has happened.
//!
//! [`Life`] keeps what is known ([`Life::input`]) and derives the next step from it ([`Life::next`]); the step that was
//! taken is noted ([`Life::done`]), and so on until there is nothing to do but wait. Nothing depends on the order in
//! which things became known.
//!
//! The rule that all of this serves: what the backend can reach, a grant or an event channel, is given back
//! ([`Step::Shut`]) only when the backend has let go of the connection, or is gone, or had its time. And when the node is
//! no longer this device's, or the domain woke up elsewhere, nothing is written: the keys may belong to a new device.

use super::state::State;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The backend's state was read; [`State::Unknown`] when there is none.
    Otherend {
        /// Its `state` key.
        state: State,
        /// Its `online` key: the toolstack has not asked for the device to be taken away.
        online: bool,
    },
    /// The backend's `state` key is no state. What was read before holds, but a new connection is worth a try.
    Garbled,
    /// The backend did not follow within its time; see [`Life::awaits`].
    Overdue,
    /// The backend broke the rules, and the connection is of no use any more.
    Broken,
    /// A step of ours failed in a way that trying again at once does not mend.
    Failed,
    /// There were too many connections of late.
    TooOften,
    /// The rest after [`Input::Failed`] or [`Input::TooOften`] is over; see [`Life::awaits`].
    Rested,
    /// The device's node is gone, or belongs to another device.
    Vanished,
    /// The domain is about to be suspended.
    Suspended,
    /// The domain woke up as another one: nothing of the connection is left, here or there.
    Resumed,
    /// The domain was not suspended after all: the connection is where it was left.
    Cancelled,
    /// The driver leaves the device.
    Remove,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Nothing, until something happens.
    Wait,
    /// Make rings and channels, and write their keys together with the state that says so.
    Publish,
    /// The backend is connected: let requests flow.
    Attach,
    /// The connected backend announces itself again: its properties may have changed.
    Refresh,
    /// Write this state.
    Write(State),
    /// The device is being taken away, and its backend still works: send what must not be lost.
    Flush,
    /// Stop using the connection. The backend may go on doing so.
    Retire,
    /// Give back what the connection was made of.
    Shut,
    /// The device is being taken away and has no connection any more: fail what waits for one.
    End,
    /// Write [`State::Initialising`], which begins a new connection.
    Begin,
}

/// How far our end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nothing is published; our state is [`State::Initialising`].
    Idle,
    /// Rings and channels are published.
    Published,
    /// The backend has connected and requests flow.
    Attached,
    /// The connection is not used any more; the backend is told with [`State::Closing`].
    Closing,
    /// Our state is [`State::Closed`].
    Closed,
}

/// What a step waits for that has a time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Awaits {
    /// The backend to follow to Closing, then to Closed: [`Input::Overdue`] when it does not.
    Backend(Phase),
    /// A quiet while, after which a connection is begun anew, whatever the backend's state says: [`Input::Rested`].
    Rest,
}

/// The frontend's side of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    phase: Phase,
    /// What our key holds.
    own: State,
    /// The state that says that rings and channels are published.
    published: State,
    other: State,
    online: bool,
    /// The backend announced itself and was not looked at yet.
    announced: bool,
    /// Something retired is to be shut.
    held: bool,
    flushed: bool,
    /// The driver was told of the end.
    ended: bool,
    broken: bool,
    overdue: bool,
    resting: bool,
    /// The rest is for too many connections: a backend that begins anew does not end it.
    tired: bool,
    /// The backend's state was read since a connection was begun.
    heard: bool,
    /// The backend's key was no state when it was read last.
    garbled: bool,
    /// The backend was not heard of since we wrote [`State::Closed`].
    unseen: bool,
    /// A rest is over, and the backend has said nothing since.
    rested: bool,
    /// The toolstack takes the device away.
    leaving: bool,
    removing: bool,
    vanished: bool,
    suspended: bool,
    resumed: bool,
}

/// The backend uses the connection.
const fn is_live(state: State) -> bool {
    matches!(
        state,
        State::Initialised | State::Connected | State::Reconfiguring | State::Reconfigured
    )
}

/// The backend has let go of every connection there was.
const fn has_let_go(state: State) -> bool {
    matches!(
        state,
        State::Unknown | State::Initialising | State::InitWait | State::Closed
    )
}

/// The backend begins anew.
const fn begins(state: State) -> bool {
    matches!(state, State::Initialising | State::InitWait)
}

impl Life {
    /// Starts with what our key holds, which firmware or an earlier driver may have left, and with the state that the
    /// protocol has for a frontend whose keys are written.
    pub const fn new(own: State, published: State) -> Self {
        let phase = match own {
            State::Unknown | State::Initialising | State::InitWait => Phase::Idle,
            State::Closed => Phase::Closed,
            _ => Phase::Closing,
        };
        Self {
            phase,
            own,
            published,
            other: State::Unknown,
            online: true,
            announced: false,
            held: false,
            flushed: false,
            ended: false,
            broken: false,
            overdue: false,
            resting: false,
            tired: false,
            heard: false,
            garbled: false,
            unseen: false,
            rested: false,
            leaving: false,
            removing: false,
            vanished: false,
            suspended: false,
            resumed: false,
        }
    }

    /// Returns how far our end has come.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Tells whether the device is done with: nothing is held, and nothing will happen any more.
    pub fn is_over(&self) -> bool {
        (self.removing || self.vanished) && self.ended && !self.held && !self.is_in_use()
    }

    /// Tells whether the toolstack made another device of this node, or none.
    pub const fn has_vanished(&self) -> bool {
        self.vanished
    }

    const fn is_in_use(&self) -> bool {
        matches!(self.phase, Phase::Published | Phase::Attached)
    }

    const fn ends(&self) -> bool {
        self.removing || self.leaving
    }

    /// Takes in what has happened.
    pub fn input(&mut self, input: Input) {
        match input {
            Input::Otherend { state, online } => {
                self.other = state;
                self.heard = true;
                self.garbled = false;
                self.unseen = false;
                self.rested = false;
                // The key says something only where the backend closes.
                self.online = online || !matches!(state, State::Closing | State::Closed);
                self.announced = self.phase == Phase::Attached
                    && matches!(state, State::Connected | State::Reconfigured);
                if state == State::Closing && !online {
                    self.leaving = true;
                } else if begins(state) {
                    self.leaving = false;
                    // What failed may be another matter now.
                    self.resting &= self.tired;
                }
            }
            Input::Garbled => self.garbled = true,
            Input::Overdue => self.overdue = true,
            Input::Broken => self.broken |= self.is_in_use(),
            Input::Failed => self.resting = true,
            Input::TooOften => {
                self.resting = true;
                self.tired = true;
            }
            Input::Rested => {
                self.resting = false;
                self.tired = false;
                self.unseen = false;
                self.rested = true;
            }
            Input::Vanished => self.vanished = true,
            Input::Suspended => self.suspended = true,
            Input::Resumed => {
                self.suspended = false;
                self.resumed = true;
            }
            Input::Cancelled => self.suspended = false,
            Input::Remove => self.removing = true,
        }
        self.settle();
    }

    /// Tells what to do next.
    pub fn next(&self) -> Step {
        if self.vanished || self.suspended || self.resumed {
            return self.next_unheard();
        }
        match self.phase {
            Phase::Idle => self.next_idle(),
            Phase::Published | Phase::Attached => self.next_in_use(),
            Phase::Closing => self.next_closing(),
            Phase::Closed => self.next_closed(),
        }
    }

    /// The step was taken.
    pub fn done(&mut self, step: Step) {
        match step {
            Step::Wait => {}
            Step::Publish => {
                self.own = self.published;
                self.phase = Phase::Published;
            }
            Step::Attach => {
                self.announced = false;
                self.phase = Phase::Attached;
            }
            Step::Refresh => self.announced = false,
            Step::Write(state) => {
                self.own = state;
                match state {
                    State::Closing => self.phase = Phase::Closing,
                    State::Closed => {
                        // There was no connection: the backend gets its time to see this before the next state.
                        self.unseen = self.phase == Phase::Idle;
                        self.phase = Phase::Closed;
                        self.overdue = false;
                        self.rested = false;
                    }
                    _ => {}
                }
            }
            Step::Flush => self.flushed = true,
            Step::Retire => {
                self.phase = Phase::Closing;
                self.held = true;
                self.broken = false;
                self.overdue = false;
                self.flushed = false;
            }
            Step::Shut => self.held = false,
            Step::End => self.ended = true,
            Step::Begin => self.restart(),
        }
        self.settle();
    }

    /// Tells what the next step waits for, if that has a limit.
    pub fn awaits(&self) -> Option<Awaits> {
        if self.next() != Step::Wait || self.vanished || self.suspended || self.is_over() {
            return None;
        }
        match self.phase {
            Phase::Closing if !self.overdue => Some(Awaits::Backend(self.phase)),
            Phase::Closed if self.held && !self.overdue => Some(Awaits::Backend(self.phase)),
            Phase::Closed if !self.ends() && (self.resting || self.unseen || self.disagrees()) => {
                Some(Awaits::Rest)
            }
            Phase::Idle | Phase::Published if self.disagrees() => Some(Awaits::Rest),
            _ => None,
        }
    }

    /// The backend's state says that it does not wait for a connection of ours, nor is it coming up or gone. Maybe that is
    /// so, maybe somebody else wrote it: to begin anew, once in a while, helps then.
    fn disagrees(&self) -> bool {
        let stands = !begins(self.other) && self.other != State::Unknown;
        self.online && (self.garbled || stands)
    }

    fn restart(&mut self) {
        self.own = State::Initialising;
        self.phase = Phase::Idle;
        self.broken = false;
        self.overdue = false;
        self.heard = false;
        self.rested = false;
        // A driver that has left does not come back.
        self.ended &= self.removing;
    }

    /// A domain that woke up elsewhere, with nothing left of its connections, is at the beginning.
    fn settle(&mut self) {
        if self.resumed && !self.held && !self.is_in_use() {
            self.resumed = false;
            self.leaving = false;
            self.other = State::Unknown;
            self.restart();
        }
    }

    /// Nothing that we wrote would be for this connection's backend.
    fn next_unheard(&self) -> Step {
        if self.is_in_use() {
            Step::Retire
        } else if self.held && (self.vanished || self.resumed) {
            Step::Shut
        } else if self.vanished && !self.ended {
            Step::End
        } else {
            Step::Wait
        }
    }

    fn next_idle(&self) -> Step {
        if is_live(self.other) && self.heard {
            // Connected to somebody before us: it has to let go of that first.
            Step::Write(State::Closing)
        } else if self.ends() || self.resting || (self.other == State::Closing && self.heard) {
            Step::Write(State::Closed)
        } else if self.own != State::Initialising {
            Step::Begin
        } else if self.other == State::InitWait {
            Step::Publish
        } else if self.rested && self.disagrees() {
            Step::Write(State::Closed)
        } else {
            Step::Wait
        }
    }

    fn next_in_use(&self) -> Step {
        let attached = self.phase == Phase::Attached;
        if self.ends() && attached && !self.flushed && !self.broken && !has_let_go(self.other) {
            return Step::Flush;
        }
        let closes = self.ends()
            || self.broken
            || self.resting
            || (self.rested && !attached && self.disagrees())
            || matches!(self.other, State::Closing | State::Closed);
        // InitWait is the state that was answered, and may be read once more before the backend has connected.
        let restarted =
            self.other == State::Initialising || (attached && self.other == State::InitWait);
        if closes || restarted {
            Step::Retire
        } else if !attached {
            if self.other == State::Connected {
                Step::Attach
            } else {
                Step::Wait
            }
        } else if self.own != State::Connected {
            Step::Write(State::Connected)
        } else if self.announced {
            Step::Refresh
        } else {
            Step::Wait
        }
    }

    fn next_closing(&self) -> Step {
        if begins(self.other) && !self.ends() && !self.resting {
            // It knows nothing of the former connection, so it need not be told of its end.
            if self.held {
                Step::Shut
            } else {
                Step::Begin
            }
        } else if !matches!(self.own, State::Closing | State::Closed) {
            Step::Write(State::Closing)
        } else if is_live(self.other) && !self.overdue {
            Step::Wait
        } else {
            Step::Write(State::Closed)
        }
    }

    fn next_closed(&self) -> Step {
        if self.held {
            if has_let_go(self.other) || self.overdue {
                Step::Shut
            } else {
                Step::Wait
            }
        } else if self.ends() {
            if self.ended {
                Step::Wait
            } else {
                Step::End
            }
        } else if self.resting || self.unseen {
            Step::Wait
        } else if begins(self.other)
            || (self.other == State::Closed && self.online)
            || (self.rested && self.disagrees())
        {
            Step::Begin
        } else {
            Step::Wait
        }
    }
}

#[cfg(test)]
mod tests;
