// SPDX-License-Identifier: GPL-2.0

//! Keys of a further console's node. The primary console has none: its page and port are parameters of the domain.

use core::fmt;

/// The frontend's: grant reference of the page.
pub const RING_REF: &str = "ring-ref";
/// The frontend's: event channel. Other protocols call theirs `event-channel`.
pub const PORT: &str = "port";
/// The toolstack's: what the console is for.
pub const NAME: &str = "name";

/// Tells whether a frontend writes a key.
pub fn is_frontend_key(key: &[u8]) -> bool {
    [RING_REF, PORT].iter().any(|own| own.as_bytes() == key)
}

/// Bytes of a name that are shown.
const SHOWN: usize = 64;

/// A name for the log: printable, and not too long.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a>(pub &'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..SHOWN).unwrap_or(self.0);
        write!(f, "{}", shown.escape_ascii())?;
        f.write_str(if shown.len() < self.0.len() {
            "..."
        } else {
            ""
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn a_name_is_one_short_printable_line() {
        assert_eq!(
            format!("{}", Name(b"org.example.agent")),
            "org.example.agent"
        );
        assert_eq!(format!("{}", Name(b"a\n\0\xff")), "a\\n\\x00\\xff");
        assert_eq!(
            format!("{}", Name(&[b'x'; 65])),
            format!("{}...", "x".repeat(64))
        );
        assert_eq!(format!("{}", Name(&[b'x'; 64])), "x".repeat(64));
    }

    #[test]
    fn the_toolstacks_keys_stay() {
        assert!(is_frontend_key(b"ring-ref") && is_frontend_key(b"port"));
        for key in [
            "name",
            "tty",
            "type",
            "limit",
            "output",
            "protocol",
            "state",
            "event-channel",
        ] {
            assert!(!is_frontend_key(key.as_bytes()), "{key}");
        }
    }
}
