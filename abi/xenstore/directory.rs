// SPDX-License-Identifier: GPL-2.0

//! The children of a node: the replies to `XS_DIRECTORY` and, for a list longer than a message, `XS_DIRECTORY_PART`.

/// Why a list of children cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The last name has no NUL.
    Unterminated,
    /// A part has no generation before its names.
    NoGeneration,
    /// A part that does not end the list has no names, so asking for the next would not end.
    NoProgress,
}

/// The names in a reply, none of them empty.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    body: &'a [u8],
}

impl<'a> Names<'a> {
    /// Takes the body of a reply to `XS_DIRECTORY`.
    ///
    /// # Errors
    ///
    /// [`Malformed::Unterminated`] when the last name has no NUL.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        match body {
            [] | [.., 0] => Ok(Self { body }),
            _ => Err(Malformed::Unterminated),
        }
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let end = self.body.iter().position(|byte| *byte == 0)?;
            let (name, rest) = self.body.split_at_checked(end)?;
            self.body = rest.get(1..).unwrap_or_default();
            if !name.is_empty() {
                return Some(name);
            }
        }
    }
}

/// One part of a long list.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Changes when the list does; the parts of one list have the same.
    pub generation: &'a [u8],
    /// The names in this part.
    pub names: Names<'a>,
    /// Where the next part begins, relative to this one.
    pub advance: usize,
    /// This part ends the list.
    pub last: bool,
}

impl<'a> Part<'a> {
    /// Takes the body of a reply to `XS_DIRECTORY_PART`: a generation, names, and an empty name when the list ends.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is not so.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let end = body
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(Malformed::NoGeneration)?;
        let (generation, rest) = body.split_at_checked(end).unwrap_or_default();
        if generation.is_empty() {
            return Err(Malformed::NoGeneration);
        }
        let names = rest.get(1..).unwrap_or_default();
        let (names, last) = match names {
            [0] => (&[][..], true),
            [before @ .., 0, 0] => (
                names
                    .get(..before.len().saturating_add(1))
                    .unwrap_or_default(),
                true,
            ),
            [] => return Err(Malformed::NoProgress),
            [.., 0] => (names, false),
            _ => return Err(Malformed::Unterminated),
        };
        Ok(Self {
            generation,
            advance: names.len(),
            names: Names { body: names },
            last,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    fn names(names: Names<'_>) -> Vec<&[u8]> {
        names.collect()
    }

    #[test]
    fn lists_come_apart() {
        assert!(names(Names::parse(b"").unwrap()).is_empty());
        assert_eq!(
            names(Names::parse(b"vif\0vbd\0").unwrap()),
            [b"vif", b"vbd"]
        );
        assert_eq!(names(Names::parse(b"\0\0a\0\0").unwrap()), [b"a"]);
    }

    #[test]
    fn an_unterminated_list_is_refused() {
        let body = b"vif\0vbd\0console";
        for end in 1..body.len() {
            let cut = &body[..end];
            assert_eq!(Names::parse(cut).is_ok(), cut.ends_with(b"\0"), "{end}");
        }
    }

    #[test]
    fn parts_tell_where_they_end() {
        let part = Part::parse(b"12\0a\0bc\0").unwrap();
        assert_eq!(
            (part.generation, part.advance, part.last),
            (&b"12"[..], 5, false)
        );
        assert_eq!(names(part.names), vec![&b"a"[..], b"bc"]);
        let part = Part::parse(b"12\0a\0bc\0\0").unwrap();
        assert_eq!((part.advance, part.last), (5, true));
        assert_eq!(names(part.names), vec![&b"a"[..], b"bc"]);
        let part = Part::parse(b"12\0\0").unwrap();
        assert_eq!((part.advance, part.last), (0, true));
        assert!(names(part.names).is_empty());
    }

    #[test]
    fn malformed_parts_are_refused() {
        for (body, error) in [
            (&b""[..], Malformed::NoGeneration),
            (b"12", Malformed::NoGeneration),
            (b"\0a\0", Malformed::NoGeneration),
            (b"12\0", Malformed::NoProgress),
            (b"12\0a", Malformed::Unterminated),
            (b"12\0a\0b", Malformed::Unterminated),
        ] {
            assert_eq!(Part::parse(body).err(), Some(error), "{body:?}");
        }
    }

    #[test]
    fn a_part_that_is_not_the_last_always_advances() {
        // Every body of up to 5 bytes over an alphabet that has all the cases.
        for length in 0..=5u32 {
            for number in 0..3u32.pow(length) {
                let body: Vec<u8> = (0..length)
                    .map(|at| b"\0a1"[(number / 3u32.pow(at) % 3) as usize])
                    .collect();
                if let Ok(part) = Part::parse(&body) {
                    assert!(part.last || part.advance > 0, "{body:?}");
                    assert!(part.advance <= body.len());
                }
            }
        }
    }
}
