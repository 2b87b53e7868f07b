// SPDX-License-Identifier: GPL-2.0

//! The `state` key of one end (`enum xenbus_state` in Xen's `io/xenbus.h`).

use core::fmt;

use crate::xenstore::value;

/// The state of one end (`enum xenbus_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
}
