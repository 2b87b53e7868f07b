// SPDX-License-Identifier: GPL-2.0

//! Numbers in xenstore values: decimal digits and nothing else.
//!
//! A domain that may write a key may write any bytes to it. A value that is not exactly a number is refused with the reason, so
//! that the driver can say it in one sentence and leave the device alone.

use core::fmt;

/// Why a value is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadNumber {
    /// There is nothing.
    Empty,
    /// The number has a minus sign.
    Negative,
    /// The number is larger than fits.
    TooLarge,
    /// There is something other than a digit at this place.
    NotADigit(usize),
}

impl fmt::Display for BadNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the value is empty"),
            Self::Negative => f.write_str("the number is negative"),
            Self::TooLarge => f.write_str("the number is too large"),
            Self::NotADigit(at) => write!(f, "there is no digit at position {at}"),
        }
    }
}

/// A number type that a value can be read as.
pub trait Number: Sized {
    /// Reads the value.
    ///
    /// # Errors
    ///
    /// [`BadNumber`] when the text is not decimal digits only, or the number does not fit.
    fn parse(text: &[u8]) -> Result<Self, BadNumber>;
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl Number for $ty {
            fn parse(text: &[u8]) -> Result<Self, BadNumber> {
                parse_u64(text)?.try_into().map_err(|_| BadNumber::TooLarge)
            }
        }
    )*};
}

numbers!(u8 u16 u32 u64 usize);

/// Reads a decimal number of up to 64 bits.
///
/// # Errors
///
/// [`BadNumber`] when the text is not decimal digits only, or the number does not fit.
pub fn parse_u64(text: &[u8]) -> Result<u64, BadNumber> {
    match text {
        [] => return Err(BadNumber::Empty),
        [b'-', b'0'..=b'9', ..] => return Err(BadNumber::Negative),
        _ => {}
    }
    let mut number = 0u64;
    let mut fits = true;
    for (at, byte) in text.iter().enumerate() {
        let digit = match byte {
            b'0'..=b'9' => u64::from(byte & 0xf),
            _ => return Err(BadNumber::NotADigit(at)),
        };
        match number.checked_mul(10).and_then(|n| n.checked_add(digit)) {
            Some(next) => number = next,
            None => fits = false,
        }
    }
    if fits {
        Ok(number)
    } else {
        Err(BadNumber::TooLarge)
    }
}

/// Reads a decimal number of up to 32 bits.
///
/// # Errors
///
/// As [`parse_u64`].
pub fn parse_u32(text: &[u8]) -> Result<u32, BadNumber> {
    Number::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_numbers() {
        for (text, number) in [
            ("0", 0),
            ("00", 0),
            ("7", 7),
            ("0042", 42),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_u64(text.as_bytes()), Ok(number));
        }
        assert_eq!(parse_u32(b"4294967295"), Ok(u32::MAX));
        assert_eq!(<u8 as Number>::parse(b"255"), Ok(255));
        assert_eq!(<usize as Number>::parse(b"3"), Ok(3));
    }

    #[test]
    fn malformed_numbers_are_refused_with_the_reason() {
        for (text, error) in [
            ("", BadNumber::Empty),
            ("-1", BadNumber::Negative),
            ("-0", BadNumber::Negative),
            ("-", BadNumber::NotADigit(0)),
            ("+1", BadNumber::NotADigit(0)),
            (" 1", BadNumber::NotADigit(0)),
            ("1 ", BadNumber::NotADigit(1)),
            ("12\n", BadNumber::NotADigit(2)),
            ("12\0", BadNumber::NotADigit(2)),
            ("0x10", BadNumber::NotADigit(1)),
            ("1_000", BadNumber::NotADigit(1)),
            ("18446744073709551616", BadNumber::TooLarge),
            ("99999999999999999999999999", BadNumber::TooLarge),
            ("99999999999999999999999999x", BadNumber::NotADigit(26)),
        ] {
            assert_eq!(parse_u64(text.as_bytes()), Err(error), "{text:?}");
            assert!(!std::format!("{error}").is_empty());
        }
        assert_eq!(parse_u32(b"4294967296"), Err(BadNumber::TooLarge));
        assert_eq!(<u16 as Number>::parse(b"65536"), Err(BadNumber::TooLarge));
        assert_eq!(<u8 as Number>::parse(b"256"), Err(BadNumber::TooLarge));
    }

    #[test]
    fn every_single_byte_that_is_no_digit_is_refused() {
        for byte in 0..=255u8 {
            assert_eq!(parse_u64(&[byte]).is_ok(), byte.is_ascii_digit());
            assert_eq!(parse_u64(&[b'1', byte]).is_ok(), byte.is_ascii_digit());
        }
    }
}
