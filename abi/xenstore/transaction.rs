// SPDX-License-Identifier: GPL-2.0

//! Transactions: the bodies of their requests and replies, and how long to wait before a new attempt.
//!
//! `XS_TRANSACTION_START` and `XS_TRANSACTION_END` of Xen's document `misc/xenstore.txt`.

use super::value::parse_u32;

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All its changes are made.
    Commit,
    /// None is.
    Abort,
}

impl End {
    /// Reads the body of the request; `None` when the server would refuse it and leave the transaction open.
    pub fn parse(body: &[u8]) -> Option<Self> {
        match body {
            b"T\0" => Some(Self::Commit),
            b"F\0" => Some(Self::Abort),
            _ => None,
        }
    }

    /// Returns the body of the request.
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Commit => b"T\0",
            Self::Abort => b"F\0",
        }
    }
}

/// Reads the reply to the start of a transaction: its number, which is never 0.
pub fn parse_number(body: &[u8]) -> Option<u32> {
    let digits = body.strip_suffix(b"\0").unwrap_or(body);
    parse_u32(digits).ok().filter(|number| *number != 0)
}

/// Attempts at a transaction that collides, or for which the server has no place.
pub const ATTEMPTS: u32 = 16;

/// Returns how many milliseconds to wait before attempt `attempt`, counted from 0. The waits grow to a quarter of a
/// second, and are two seconds in all.
pub fn backoff(attempt: u32) -> u32 {
    match attempt {
        0 => 0,
        later => 1 << later.saturating_sub(1).min(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_bodies_of_the_protocol_end_a_transaction() {
        for end in [End::Commit, End::Abort] {
            assert_eq!(End::parse(end.as_bytes()), Some(end));
        }
        for body in [&b""[..], b"T", b"F", b"X\0", b"T\0\0", b"TF\0", b"t\0"] {
            assert_eq!(End::parse(body), None, "{body:?}");
        }
    }

    #[test]
    fn a_number_is_decimal_and_not_zero() {
        assert_eq!(parse_number(b"1\0"), Some(1));
        assert_eq!(parse_number(b"4294967295"), Some(u32::MAX));
        for body in [&b""[..], b"\0", b"0\0", b"-1\0", b"1\0\0", b"4294967296\0"] {
            assert_eq!(parse_number(body), None, "{body:?}");
        }
    }

    #[test]
    fn the_waits_grow_and_are_bounded() {
        let waits: std::vec::Vec<u32> = (0..ATTEMPTS).map(backoff).collect();
        assert!(waits.is_sorted() && waits[..3] == [0, 1, 2]);
        assert_eq!(backoff(u32::MAX), 256);
        assert!((2000..3000).contains(&waits.iter().sum::<u32>()));
    }
}
