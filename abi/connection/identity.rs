// SPDX-License-Identifier: GPL-2.0

//! Whether a node still describes the device that it did when the device was found.

use core::fmt;

use super::state::State;
use crate::types::DomainId;

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

/// What our `state` key holds, as far as we know.
///
/// When the answer to a write is lost, the key holds either the former value or the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    state: State,
    unsure: Option<State>,
}

impl Written {
    /// The key held this when the device was found.
    pub const fn found(state: State) -> Self {
        Self {
            state,
            unsure: None,
        }
    }

    /// Returns what was written last, and surely.
    pub const fn state(&self) -> State {
        self.state
    }

    /// A write succeeded.
    pub fn wrote(&mut self, state: State) {
        *self = Self::found(state);
    }

    /// Nobody knows whether a write succeeded.
    pub fn may_have_written(&mut self, state: State) {
        self.unsure = Some(state);
    }

    /// Tells whether the key, which holds `state` now, is still ours. If it is, that is what was written last.
    pub fn is_ours(&mut self, state: State) -> bool {
        // A toolstack makes the node first and this key later.
        let first = self.state == State::Unknown && state == State::Initialising;
        let ours = state == self.state || Some(state) == self.unsure || first;
        if ours {
            self.wrote(state);
        }
        ours
    }
}

/// Compares a device with what the xenstore says now: the former and the present other end, what we know of our own key,
/// and what it holds.
pub fn replaced(
    former: Otherend<'_>,
    present: Otherend<'_>,
    own: &mut Written,
    state: State,
) -> Option<Replaced> {
    if former != present {
        return Some(Replaced::Moved);
    }
    // Nobody but the toolstack writes this key, and only when it makes the node.
    (!own.is_ours(state)).then_some(Replaced::Anew)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHEREND: Otherend<'_> = Otherend {
        path: b"/backend",
        id: DomainId(0),
    };

    #[test]
    fn any_state_that_we_did_not_write_is_of_another_device() {
        for own in State::ALL {
            for state in State::ALL {
                let mut written = Written::found(own);
                let first = own == State::Unknown && state == State::Initialising;
                let anew = replaced(OTHEREND, OTHEREND, &mut written, state);
                assert_eq!(anew.is_none(), own == state || first, "{own} {state}");
            }
        }
    }

    #[test]
    fn after_a_lost_answer_either_state_is_ours_until_one_is_seen() {
        let mut written = Written::found(State::Connected);
        written.may_have_written(State::Closing);
        assert_eq!(written.state(), State::Connected);
        assert!(!written.is_ours(State::Initialising));
        assert!(written.is_ours(State::Closing));
        assert_eq!(written.state(), State::Closing);
        assert!(!written.is_ours(State::Connected));
    }
}
