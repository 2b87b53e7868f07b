// SPDX-License-Identifier: GPL-2.0

//! Errors of the xenstore: the server names them as text (`xsd_errors` in `io/xs_wire.h`).

use core::fmt;

macro_rules! errors {
    ($($name:ident = $errno:literal, $text:literal;)*) => {
        /// An error that the xenstore reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum StoreError {
            $(#[doc = concat!("`", $text, "`.")] $name,)*
        }

        impl StoreError {
            /// All errors of the protocol.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the name on the wire.
            pub const fn as_text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Returns Linux's number for it, positive.
            pub const fn errno(self) -> i32 {
                match self {
                    $(Self::$name => $errno,)*
                }
            }
        }
    };
}

errors! {
    Invalid = 22, "EINVAL";
    Access = 13, "EACCES";
    Exists = 17, "EEXIST";
    IsDirectory = 21, "EISDIR";
    NotFound = 2, "ENOENT";
    NoMemory = 12, "ENOMEM";
    NoSpace = 28, "ENOSPC";
    Io = 5, "EIO";
    NotEmpty = 39, "ENOTEMPTY";
    NotImplemented = 38, "ENOSYS";
    ReadOnly = 30, "EROFS";
    Busy = 16, "EBUSY";
    Again = 11, "EAGAIN";
    Connected = 106, "EISCONN";
    TooBig = 7, "E2BIG";
    NotPermitted = 1, "EPERM";
}

impl StoreError {
    /// Reads the body of an error reply: one name, with or without the NUL at its end. `None` for a name that the
    /// protocol does not have; `EQUOTA`, which only oxenstored knows, is `ENOSPC`.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let text = body.strip_suffix(b"\0").unwrap_or(body);
        if text == b"EQUOTA" {
            return Some(Self::NoSpace);
        }
        Self::ALL
            .iter()
            .copied()
            .find(|error| error.as_text().as_bytes() == text)
    }
}

/// Errors that do not come from the server.
const EINTR: i32 = 4;
const ECONNRESET: i32 = 104;
const ETIMEDOUT: i32 = 110;

/// Tells whether a request that failed with this positive error number may succeed when it is made again later: the
/// connection was lost, the server was too slow, or it or we had no place or memory. What else the server says is its
/// last word.
pub fn is_transient(errno: i32) -> bool {
    const TRANSIENT: [StoreError; 5] = [
        StoreError::Again,
        StoreError::Busy,
        StoreError::Io,
        StoreError::NoMemory,
        StoreError::NoSpace,
    ];
    matches!(errno, EINTR | ECONNRESET | ETIMEDOUT)
        || TRANSIENT.iter().any(|error| error.errno() == errno)
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_error_string_round_trips() {
        assert_eq!(StoreError::ALL.len(), 16);
        for error in StoreError::ALL {
            let mut body: Vec<u8> = error.as_text().into();
            assert_eq!(StoreError::parse(&body), Some(*error));
            body.push(0);
            assert_eq!(StoreError::parse(&body), Some(*error));
            assert!(error.errno() > 0);
            assert_eq!(std::format!("{error}"), error.as_text());
            // Cut or continued, it is no error of the protocol.
            for end in 0..error.as_text().len() {
                assert_eq!(StoreError::parse(&body[..end]), None);
            }
            body.push(b'X');
            assert_eq!(StoreError::parse(&body), None);
        }
    }

    #[test]
    fn numbers_are_the_hosts() {
        for (error, name) in StoreError::ALL.iter().map(|e| (*e, e.as_text())) {
            let text = std::format!("{:?}", std::io::Error::from_raw_os_error(error.errno()));
            assert!(
                text.contains(&std::format!("code: {}", error.errno())),
                "{name}"
            );
        }
        let mut numbers: Vec<i32> = StoreError::ALL.iter().map(|e| e.errno()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), StoreError::ALL.len());
    }

    #[test]
    fn what_time_can_heal_is_transient() {
        for errno in [4, 5, 11, 12, 16, 28, 104, 110] {
            assert!(is_transient(errno), "{errno}");
        }
        // ENOENT, EACCES, EINVAL, ENODEV, EPROTO, E2BIG, ENOSYS, and no errors at all.
        for errno in [2, 13, 22, 19, 71, 7, 38, 0, -11] {
            assert!(!is_transient(errno), "{errno}");
        }
    }

    #[test]
    fn oxenstored_has_its_own_word_for_a_quota() {
        for body in [&b"EQUOTA"[..], b"EQUOTA\0"] {
            assert_eq!(StoreError::parse(body), Some(StoreError::NoSpace));
        }
    }

    #[test]
    fn unknown_names_are_none() {
        for body in [
            &b""[..],
            b"\0",
            b"EWHAT\0",
            b"einval\0",
            b"EINVAL\0\0",
            b"\xff",
        ] {
            assert_eq!(StoreError::parse(body), None);
        }
    }
}
