// SPDX-License-Identifier: GPL-2.0

//! How much the suite does, as the environment says, for runs that are to be longer or shorter.

use anyhow::{bail, Result};
use std::env;
use std::ops::RangeInclusive;

/// How much the suite does.
pub struct Settings {
    /// `OXEN_MIB`: data to move, in MiB. Some tests move an eighth of it; the disks end at 256.
    pub mib: u64,
    /// `OXEN_ROUNDS`: how often what is repeated is done. One test does a quarter of it.
    pub rounds: u64,
    /// `OXEN_CONTROL_SECONDS`: how long the machine is tried without a module of ours.
    pub control_seconds: u64,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// When one is no number, or too small or large for the tests to mean anything.
    pub fn from_env() -> Result<Self> {
        Ok(Self {
            mib: from_env("OXEN_MIB", 64, 8..=256)?,
            rounds: from_env("OXEN_ROUNDS", 20, 4..=10_000)?,
            control_seconds: from_env("OXEN_CONTROL_SECONDS", 10, 1..=300)?,
        })
    }
}

fn from_env(name: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64> {
    match env::var_os(name) {
        Some(value) => number(name, &value.to_string_lossy(), range),
        None => Ok(default),
    }
}

fn number(name: &str, value: &str, range: RangeInclusive<u64>) -> Result<u64> {
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => bail!(
            "{name}={value} is not possible: give a whole number from {} to {}.",
            range.start(),
            range.end()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_the_range_is_taken() {
        for value in ["8", "64", "256"] {
            assert_eq!(
                number("OXEN_MIB", value, 8..=256).expect("a good number"),
                value.parse::<u64>().expect("a number")
            );
        }
    }

    #[test]
    fn what_would_test_nothing_is_refused_with_the_range() {
        for value in ["", "0", "7", "257", "-8", "8 MiB", "18446744073709551616"] {
            let why = number("OXEN_MIB", value, 8..=256)
                .expect_err("a bad number")
                .to_string();
            assert_eq!(
                why,
                format!("OXEN_MIB={value} is not possible: give a whole number from 8 to 256.")
            );
        }
    }
}
