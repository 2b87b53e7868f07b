// SPDX-License-Identifier: GPL-2.0

//! What the toolstack asks of a guest through the xenstore, and what the guest makes of it.
//!
//! `control/shutdown` holds a word and `control/sysrq` a key. The guest takes a request by writing the empty string back,
//! whatever it is: a word that is left there would be found again by the next driver. Nobody has to answer a request that
//! is refused, so the log tells.
//!
//! Implements the platform control paths of Xen's document `xenstore-paths.pandoc`.

use core::fmt;

/// Where the toolstack asks for the guest's end.
pub const SHUTDOWN: &str = "control/shutdown";
/// Where it asks for a key of SysRq.
pub const SYSRQ: &str = "control/sysrq";
/// Where the guest tells which words of [`SHUTDOWN`] it obeys. Halt and crash have no such key.
pub const FEATURES: [&str; 2] = ["control/feature-poweroff", "control/feature-reboot"];
/// Where it tells that, too, if its kernel can be stopped.
pub const FEATURE_SUSPEND: &str = "control/feature-suspend";

/// Bytes of a value that the log shows, at most.
const SHOWN: usize = 32;

/// What the guest is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// It stops, and goes on here or where it is restored.
    Suspend,
    /// It ends.
    End(End),
}

/// How the guest is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its programs are ended, then it powers off. `halt` is the same: a domain that stopped and stays is of no use.
    PowerOff,
    /// Its programs are ended, then it starts again.
    Reboot,
    /// It panics, now.
    Crash,
}

/// What a value of the toolstack's asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a, T> {
    /// Nothing: the value is empty, as the guest itself leaves it.
    Nothing,
    /// To do this.
    For(T),
    /// Something that this guest does not do.
    Refused(Refusal<'a>),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// The word is none of the protocol's.
    UnknownWord(Value<'a>),
    /// The guest is on its way down already.
    Ending(Value<'a>),
    /// More than one character, or one that is on no keyboard.
    NoKey(Value<'a>),
}

/// A value as the log shows it: its beginning, escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(&'a [u8]);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_at_checked(SHOWN) {
            Some((shown, [_, ..])) => write!(
                f,
                "\"{}\"... of {} bytes",
                shown.escape_ascii(),
                self.0.len()
            ),
            _ => write!(f, "\"{}\"", self.0.escape_ascii()),
        }
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownWord(word) => write!(f, "{word} is no request that is known; ignored"),
            Self::Ending(word) => write!(f, "{word} comes while the guest goes down; ignored"),
            Self::NoKey(value) => write!(f, "{value} is no key; ignored"),
        }
    }
}

/// Some toolstacks count the NUL at the end of a C string.
fn text(value: &[u8]) -> &[u8] {
    value.strip_suffix(b"\0").unwrap_or(value)
}

/// Reads the value of [`SHUTDOWN`]; `ending` tells that the kernel is on its way down.
pub fn shutdown(value: &[u8], ending: bool) -> Asked<'_, Request> {
    let word = text(value);
    let request = match word {
        b"" => return Asked::Nothing,
        b"poweroff" | b"halt" => Request::End(End::PowerOff),
        b"reboot" => Request::End(End::Reboot),
        b"crash" => Request::End(End::Crash),
        b"suspend" => Request::Suspend,
        _ => return Asked::Refused(Refusal::UnknownWord(Value(word))),
    };
    // One that hangs on its way down can still be made to crash.
    if ending && request != Request::End(End::Crash) {
        return Asked::Refused(Refusal::Ending(Value(word)));
    }
    Asked::For(request)
}

/// Reads the value of [`SYSRQ`].
pub fn sysrq(value: &[u8]) -> Asked<'_, u8> {
    match text(value) {
        b"" => Asked::Nothing,
        [key] if key.is_ascii_graphic() || *key == b' ' => Asked::For(*key),
        other => Asked::Refused(Refusal::NoKey(Value(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_word_of_the_protocol() {
        for (word, request) in [
            ("poweroff", Request::End(End::PowerOff)),
            ("halt", Request::End(End::PowerOff)),
            ("reboot", Request::End(End::Reboot)),
            ("crash", Request::End(End::Crash)),
            ("suspend", Request::Suspend),
        ] {
            let asked = Asked::For(request);
            assert_eq!(shutdown(word.as_bytes(), false), asked, "{word}");
            let with_nul = [word, "\0"].concat();
            assert_eq!(shutdown(with_nul.as_bytes(), false), asked, "{word}");
        }
        for empty in ["", "\0"] {
            assert_eq!(shutdown(empty.as_bytes(), false), Asked::Nothing);
            assert_eq!(sysrq(empty.as_bytes()), Asked::Nothing);
        }
    }

    #[test]
    fn a_guest_that_goes_down_can_only_crash() {
        for word in ["poweroff", "halt", "reboot", "suspend"] {
            let asked = shutdown(word.as_bytes(), true);
            assert!(
                matches!(asked, Asked::Refused(Refusal::Ending(_))),
                "{word}"
            );
        }
        let crash = Asked::For(Request::End(End::Crash));
        assert_eq!(shutdown(b"crash", true), crash);
        assert_eq!(shutdown(b"", true), Asked::Nothing);
    }

    #[test]
    fn other_words_are_refused_in_one_line() {
        let long = [b'x'; 4096];
        let words: [&[u8]; 9] = [
            b"fly",
            b"poweroff ",
            b"Poweroff",
            b"power\0off",
            b"poweroff\0\0",
            b"\n\r\x1b[2J",
            b"\xff\xfe",
            b"\"",
            &long,
        ];
        for word in words {
            let Asked::Refused(refusal) = shutdown(word, false) else {
                panic!("{word:?} is taken");
            };
            let said = refusal.to_string();
            assert!(said.len() < 200, "{said}");
            assert!(
                said.bytes()
                    .all(|byte| byte.is_ascii_graphic() || byte == b' '),
                "{said}"
            );
        }
        let asked = shutdown(&long, false);
        assert_eq!(
            asked,
            Asked::Refused(Refusal::UnknownWord(Value(long.as_slice())))
        );
        assert!(Value(&long)
            .to_string()
            .ends_with("xxxx\"... of 4096 bytes"));
        assert_eq!(Value(&[b'x'; SHOWN]).to_string().len(), SHOWN + 2);
    }

    #[test]
    fn a_key_is_one_character() {
        for key in *b"h0+? " {
            assert_eq!(sysrq(&[key]), Asked::For(key));
            assert_eq!(sysrq(&[key, 0]), Asked::For(key));
        }
        let others: [&[u8]; 6] = [b"hh", b"\0\0", b"\n", b"\xc3\xa4", b"\x7f", &[b'h'; 4096]];
        for other in others {
            assert!(
                matches!(sysrq(other), Asked::Refused(Refusal::NoKey(_))),
                "{other:?}"
            );
        }
    }
}
