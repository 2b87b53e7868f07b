// SPDX-License-Identifier: GPL-2.0

//! What a few numbers have in common.

use serde::Serialize;

/// Median and spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one number; of none all are 0.
    pub(crate) fn of(numbers: &[f64]) -> Spread {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |n: usize| sorted.get(n).copied().unwrap_or(0.0);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 0 {
            (at(middle.saturating_sub(1)) + at(middle)) / 2.0
        } else {
            at(middle)
        };
        Spread {
            median,
            min: at(0),
            max: at(sorted.len().saturating_sub(1)),
        }
    }
}

/// A number as people read it: three digits or so.
pub(crate) fn short(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 {
        "0".into()
    } else if size >= 10e6 {
        format!("{:.1} M", number / 1e6)
    } else if size >= 10e3 {
        format!("{:.1} k", number / 1e3)
    } else if size >= 100.0 {
        format!("{number:.0}")
    } else if size >= 10.0 {
        format!("{number:.1}")
    } else if size >= 0.1 {
        format!("{number:.2}")
    } else if size >= 0.01 {
        format!("{number:.3}")
    } else if size >= 0.001 {
        format!("{number:.4}")
    } else {
        format!("{number:.1e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_is_the_median() {
        let spread = Spread::of(&[3.0, 1.0, 2.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(&[4.0, 1.0]).median, 2.5);
        assert_eq!(Spread::of(&[7.0]).median, 7.0);
        assert_eq!(Spread::of(&[]).max, 0.0);
    }

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> = [0.0, 0.004, 0.5, 12.34, 123.4, 12_345.0, 12_345_678.0]
            .map(short)
            .into();
        assert_eq!(
            shown,
            ["0", "0.0040", "0.50", "12.3", "123", "12.3 k", "12.3 M"]
        );
    }
}
