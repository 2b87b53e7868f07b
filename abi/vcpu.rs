// SPDX-License-Identifier: GPL-2.0

//! Which vCPUs the toolstack wants in use: `cpu/N/availability`.
//!
//! The node holds `online` or `offline`. It says what is wanted and not what is: each change of it is a request, and what
//! an administrator of the guest does between two changes stays.
//!
//! Implements the path `~/cpu/[0-9]+/availability` of Xen's document `xenstore-paths.pandoc`.

/// The folder with one node for each vCPU.
pub const CPUS: &str = "cpu";

/// What is wanted of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The guest uses it.
    Online,
    /// The guest leaves it alone.
    Offline,
}

/// Reads the value of an `availability` node. `None` for any other word.
pub fn wanted(value: &[u8]) -> Option<Wanted> {
    match value.strip_suffix(b"\0").unwrap_or(value) {
        b"online" => Some(Wanted::Online),
        b"offline" => Some(Wanted::Offline),
        _ => None,
    }
}

/// What was wanted of each vCPU when it was looked at last.
pub struct Seen<const N: usize> {
    words: [Option<Wanted>; N],
}

impl<const N: usize> Default for Seen<N> {
    fn default() -> Self {
        Self { words: [None; N] }
    }
}

impl<const N: usize> Seen<N> {
    /// Takes the word that a vCPU has now. Returns what has to be done: nothing if it is the word of the last time, or
    /// there are not so many vCPUs.
    pub fn take(&mut self, vcpu: u32, word: Wanted) -> Option<Wanted> {
        let seen = self.words.get_mut(usize::try_from(vcpu).ok()?)?;
        (seen.replace(word) != Some(word)).then_some(word)
    }

    /// Has the next [`take`](Self::take) of the vCPU return its word again: what was to be done has not been possible yet.
    pub fn again(&mut self, vcpu: u32) {
        let seen = usize::try_from(vcpu).ok();
        if let Some(seen) = seen.and_then(|vcpu| self.words.get_mut(vcpu)) {
            *seen = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_words_are_known() {
        assert_eq!(wanted(b"online"), Some(Wanted::Online));
        assert_eq!(wanted(b"offline"), Some(Wanted::Offline));
        assert_eq!(wanted(b"offline\0"), Some(Wanted::Offline));
        let others: [&[u8]; 7] = [
            b"",
            b"\0",
            b"Online",
            b"online ",
            b"on",
            b"online\0\0",
            &[0xff; 4096],
        ];
        for other in others {
            assert_eq!(wanted(other), None, "{other:?}");
        }
    }

    #[test]
    fn only_a_change_is_a_request() {
        let mut seen = Seen::<2>::default();
        assert_eq!(seen.take(1, Wanted::Online), Some(Wanted::Online));
        assert_eq!(seen.take(1, Wanted::Online), None);
        assert_eq!(seen.take(1, Wanted::Offline), Some(Wanted::Offline));
        assert_eq!(seen.take(1, Wanted::Offline), None);
        // Each vCPU for itself.
        assert_eq!(seen.take(0, Wanted::Offline), Some(Wanted::Offline));
        assert_eq!(seen.take(1, Wanted::Offline), None);
    }

    #[test]
    fn what_could_not_be_done_is_wanted_again() {
        let mut seen = Seen::<2>::default();
        seen.take(1, Wanted::Online);
        seen.again(1);
        assert_eq!(seen.take(1, Wanted::Online), Some(Wanted::Online));
        assert_eq!(seen.take(1, Wanted::Online), None);
    }

    #[test]
    fn more_vcpus_than_there_can_be_are_nothing() {
        let mut seen = Seen::<2>::default();
        for vcpu in [2, 3, u32::MAX] {
            assert_eq!(seen.take(vcpu, Wanted::Online), None);
            seen.again(vcpu);
        }
    }
}
