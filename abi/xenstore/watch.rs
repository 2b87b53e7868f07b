// SPDX-License-Identifier: GPL-2.0

//! Watch events: a path that changed and the token that the watch was made with.

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchEvent<'a> {
    /// The node that changed, written as the watch was: relative to the domain's home if the watch was.
    pub path: &'a [u8],
    /// The token of the watch.
    pub token: &'a [u8],
}

/// The body is not two strings, each with its NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> WatchEvent<'a> {
    /// Reads the body of an event.
    ///
    /// # Errors
    ///
    /// [`Malformed`] unless it is exactly two strings, the path not empty.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut parts = body.split(|byte| *byte == 0);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(path), Some(token), Some([]), None) if !path.is_empty() => {
                Ok(Self { path, token })
            }
            _ => Err(Malformed),
        }
    }
}

/// Length of a [`Token`] on the wire, without its NUL.
pub const TOKEN_LEN: usize = 16;

/// The token that this kernel gives a watch of its own: a number that is never given twice, in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

impl Token {
    /// Returns the text on the wire.
    pub fn encode(self) -> [u8; TOKEN_LEN] {
        let mut text = [b'0'; TOKEN_LEN];
        let mut rest = self.0;
        for place in text.iter_mut().rev() {
            let digit = (rest & 0xf) as u8;
            *place = match digit {
                0..=9 => digit | b'0',
                _ => digit.wrapping_sub(10).wrapping_add(b'a'),
            };
            rest >>= 4;
        }
        text
    }

    /// Reads the text on the wire; `None` when it is no token of ours.
    pub fn decode(text: &[u8]) -> Option<Self> {
        if text.len() != TOKEN_LEN {
            return None;
        }
        text.iter()
            .try_fold(0u64, |number, byte| {
                let digit = match byte {
                    b'0'..=b'9' => byte & 0xf,
                    b'a'..=b'f' => byte.wrapping_sub(b'a').wrapping_add(10),
                    _ => return None,
                };
                Some((number << 4) | u64::from(digit))
            })
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_strings_are_an_event() {
        let event = WatchEvent::parse(b"device/vif/0\x00tok\x00").unwrap();
        assert_eq!(
            (event.path, event.token),
            (&b"device/vif/0"[..], &b"tok"[..])
        );
        let event = WatchEvent::parse(b"@releaseDomain\0\0").unwrap();
        assert_eq!(
            (event.path, event.token),
            (&b"@releaseDomain"[..], &b""[..])
        );
    }

    #[test]
    fn anything_but_two_strings_is_malformed() {
        for body in [
            &b""[..],
            b"\0",
            b"\0\0",
            b"\0token\0",
            b"path",
            b"path\0",
            b"path\0token",
            b"path\0token\0more",
            b"path\0token\0more\0",
            b"path\0token\0\0",
        ] {
            assert_eq!(WatchEvent::parse(body), Err(Malformed), "{body:?}");
        }
        let whole = b"path\0token\0";
        for end in 0..whole.len() {
            assert_eq!(WatchEvent::parse(&whole[..end]), Err(Malformed));
        }
    }

    #[test]
    fn tokens_round_trip() {
        for number in [0, 1, 9, 10, 0xabcd_ef01_2345_6789, u64::MAX] {
            let text = Token(number).encode();
            assert_eq!(Token::decode(&text), Some(Token(number)));
            assert_eq!(text, *std::format!("{number:016x}").as_bytes());
        }
    }

    #[test]
    fn foreign_tokens_are_none() {
        for text in [
            &b""[..],
            b"0",
            b"00000000000000000",
            b"000000000000000G",
            b"000000000000000A",
            b"-000000000000001",
            b"FFFFFFFFFFFFFFFF",
        ] {
            assert_eq!(Token::decode(text), None);
        }
    }
}
