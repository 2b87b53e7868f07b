// SPDX-License-Identifier: GPL-2.0

//! Hardware addresses, written `00:16:3e:01:02:03` in the store (key `mac`).

use core::fmt;

/// A hardware address that one interface can have: neither all zero nor a group address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac([u8; 6]);

/// Why a text is no hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacError {
    /// Not six pairs of hexadecimal digits with colons between them.
    Malformed,
    /// All zero, or the address of a group.
    NotUnicast,
}

impl fmt::Display for MacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MacError::Malformed => "not of the form 00:16:3e:xx:xx:xx",
            MacError::NotUnicast => "all zero or a group address",
        })
    }
}

impl Mac {
    /// Reads an address as the store has it. White space around it is passed over.
    ///
    /// # Errors
    ///
    /// [`MacError`] when the text is malformed or no interface can have the address.
    pub fn parse(text: &[u8]) -> Result<Self, MacError> {
        let mut pairs = text.trim_ascii().split(|&c| c == b':');
        let mut mac = [0u8; 6];
        for byte in &mut mac {
            let Some(&[high, low]) = pairs.next() else {
                return Err(MacError::Malformed);
            };
            *byte = (digit(high)? << 4) | digit(low)?;
        }
        if pairs.next().is_some() {
            return Err(MacError::Malformed);
        }
        Self::new(mac)
    }

    /// Makes an address of its six bytes.
    ///
    /// # Errors
    ///
    /// [`MacError::NotUnicast`] when no interface can have it.
    pub fn new(mac: [u8; 6]) -> Result<Self, MacError> {
        let [first, ..] = mac;
        if first & 1 != 0 || mac == [0; 6] {
            return Err(MacError::NotUnicast);
        }
        Ok(Self(mac))
    }

    /// The six bytes.
    pub fn bytes(&self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

fn digit(c: u8) -> Result<u8, MacError> {
    match c {
        b'0'..=b'9' => Ok(c.wrapping_sub(b'0')),
        b'a'..=b'f' => Ok(c.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Ok(c.wrapping_sub(b'A').wrapping_add(10)),
        _ => Err(MacError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_written() {
        let mac = Mac::parse(b"00:16:3e:0A:bC:ff").unwrap();
        assert_eq!(mac.bytes(), [0, 0x16, 0x3e, 0x0a, 0xbc, 0xff]);
        assert_eq!(mac.to_string(), "00:16:3e:0a:bc:ff");
        assert_eq!(Mac::parse(b" 00:16:3e:0a:bc:ff\n"), Ok(mac));
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in [
            &b""[..],
            b"00:16:3e:0a:bc",
            b"00:16:3e:0a:bc:ff:01",
            b"00:16:3e:0a:bc:f",
            b"00:16:3e:0a:bc:fff",
            b"00:16:3e:0a:bc:fg",
            b"00-16-3e-0a-bc-ff",
            b"00:16:3e:0a:bc:ff:",
            b"00:16:3e:0a:bc:ff\0",
            b"+0:16:3e:0a:bc:ff",
            b"::::::",
        ] {
            assert_eq!(Mac::parse(text), Err(MacError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn group_and_zero_addresses_are_refused() {
        for text in [
            &b"00:00:00:00:00:00"[..],
            b"ff:ff:ff:ff:ff:ff",
            b"01:00:5e:00:00:01",
            b"33:33:00:00:00:01",
        ] {
            assert_eq!(Mac::parse(text), Err(MacError::NotUnicast), "{text:?}");
        }
    }
}
