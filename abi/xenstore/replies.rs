// SPDX-License-Identifier: GPL-2.0

//! Which reply belongs to which request.
//!
//! Many requests may be under way. Each has a number that grows with every request, so a reply is one of three: for a
//! request that waits, for one that was sent and is no longer waited for (timed out, or answered before), or for one
//! that was never sent. The second is dropped, the third breaks the protocol.

use super::wire::{Header, Kind};

/// Distance into the past in which a number counts as sent before.
const PAST: u32 = 1 << 31;

/// All places are taken by requests that are still waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What a reply means.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<T> {
    /// The answer to the request of this owner.
    Answer(T),
    /// The server refused the request of this owner; the body names the error.
    Refusal(T),
    /// The request of this owner was answered by a message of another kind: a violation, and the owner has to be told.
    Mismatch(T, u32),
    /// The request is no longer waited for: drop it.
    Late,
    /// No such request was ever sent: a violation.
    Unknown,
}

#[derive(Debug)]
struct Entry<T> {
    number: u32,
    kind: Kind,
    /// `None` once the owner stopped waiting.
    owner: Option<T>,
}

/// The requests under way, at most `N`.
///
/// # Invariants
///
/// Numbers in the table are distinct. `sent` is the distance from the first number ever given to `next`, saturated.
#[derive(Debug)]
pub struct Outstanding<T, const N: usize> {
    entries: [Option<Entry<T>>; N],
    next: u32,
    sent: u32,
}

impl<T, const N: usize> Default for Outstanding<T, N> {
    fn default() -> Self {
        Self::new(1)
    }
}

impl<T, const N: usize> Outstanding<T, N> {
    /// Starts with `first` as the number of the first request.
    pub fn new(first: u32) -> Self {
        Self {
            entries: [const { None }; N],
            next: first,
            sent: 0,
        }
    }

    /// Notes a request of `kind` and returns its number. When the table is full, the longest abandoned one is forgotten.
    ///
    /// # Errors
    ///
    /// [`Full`] when every place is waited for.
    pub fn insert(&mut self, kind: Kind, owner: T) -> Result<u32, Full> {
        let next = self.next;
        let slot = match self.entries.iter().position(Option::is_none) {
            Some(free) => free,
            None => self
                .entries
                .iter()
                .enumerate()
                .filter_map(|(at, entry)| Some((at, entry.as_ref()?)))
                .filter(|(_, entry)| entry.owner.is_none())
                .max_by_key(|(_, entry)| next.wrapping_sub(entry.number))
                .map(|(at, _)| at)
                .ok_or(Full)?,
        };
        let place = self.entries.get_mut(slot).ok_or(Full)?;
        *place = Some(Entry {
            number: next,
            kind,
            owner: Some(owner),
        });
        self.next = next.wrapping_add(1);
        self.sent = self.sent.saturating_add(1);
        Ok(next)
    }

    /// Stops waiting for a request; its reply will be dropped. Returns the owner if it was still waited for.
    pub fn abandon(&mut self, number: u32) -> Option<T> {
        self.entries
            .iter_mut()
            .flatten()
            .find(|entry| entry.number == number)
            .and_then(|entry| entry.owner.take())
    }

    /// Gives up the place of a request that never went out. Returns the owner if it was still waited for.
    pub fn forget(&mut self, number: u32) -> Option<T> {
        self.entries
            .iter_mut()
            .find(|place| matches!(place, Some(entry) if entry.number == number))
            .and_then(Option::take)
            .and_then(|entry| entry.owner)
    }

    /// Takes in a reply and gives up its place.
    pub fn complete(&mut self, header: &Header) -> Reply<T> {
        let place = self
            .entries
            .iter_mut()
            .find(|place| matches!(place, Some(entry) if entry.number == header.request));
        let Some(entry) = place.and_then(Option::take) else {
            return if self.was_sent(header.request) {
                Reply::Late
            } else {
                Reply::Unknown
            };
        };
        match (entry.owner, Kind::from_number(header.kind)) {
            (None, _) => Reply::Late,
            (Some(owner), Some(Kind::Error)) => Reply::Refusal(owner),
            (Some(owner), Some(kind)) if kind == entry.kind => Reply::Answer(owner),
            (Some(owner), _) => Reply::Mismatch(owner, header.kind),
        }
    }

    fn was_sent(&self, number: u32) -> bool {
        let age = self.next.wrapping_sub(number);
        age != 0 && age <= self.sent.min(PAST)
    }

    /// Takes out every owner that still waits, one at a time: the connection is lost. Replies to what was sent count as
    /// late from then on.
    pub fn take_any(&mut self) -> Option<T> {
        let owner = self
            .entries
            .iter_mut()
            .find(|place| matches!(place, Some(entry) if entry.owner.is_some()))
            .and_then(Option::take)
            .and_then(|entry| entry.owner);
        if owner.is_none() {
            self.entries.iter_mut().for_each(|place| *place = None);
        }
        owner
    }

    /// Returns how many requests are waited for, and how many places abandoned ones take.
    pub fn usage(&self) -> (usize, usize) {
        let taken = self.entries.iter().flatten().count();
        let waiting = self
            .entries
            .iter()
            .flatten()
            .filter(|entry| entry.owner.is_some())
            .count();
        (waiting, taken.saturating_sub(waiting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: Kind, request: u32) -> Header {
        Header {
            kind: kind.number(),
            request,
            transaction: 0,
            length: 0,
        }
    }

    type Table = Outstanding<char, 4>;

    #[test]
    fn replies_find_their_owners_in_any_order() {
        let mut table = Table::default();
        let numbers: std::vec::Vec<u32> = ['a', 'b', 'c', 'd']
            .into_iter()
            .map(|owner| table.insert(Kind::Read, owner).unwrap())
            .collect();
        assert_eq!(table.insert(Kind::Read, 'e'), Err(Full));
        assert_eq!(table.usage(), (4, 0));
        assert_eq!(
            table.complete(&header(Kind::Read, numbers[2])),
            Reply::Answer('c')
        );
        assert_eq!(
            table.complete(&header(Kind::Error, numbers[0])),
            Reply::Refusal('a')
        );
        assert_eq!(
            table.complete(&header(Kind::Write, numbers[3])),
            Reply::Mismatch('d', 11)
        );
        assert_eq!(
            table.complete(&header(Kind::Read, numbers[1])),
            Reply::Answer('b')
        );
        assert_eq!(table.usage(), (0, 0));
    }

    #[test]
    fn a_reply_completes_once() {
        let mut table = Table::default();
        let number = table.insert(Kind::Rm, 'a').unwrap();
        assert_eq!(
            table.complete(&header(Kind::Rm, number)),
            Reply::Answer('a')
        );
        assert_eq!(table.complete(&header(Kind::Rm, number)), Reply::Late);
    }

    #[test]
    fn late_replies_are_dropped_by_number() {
        let mut table = Table::default();
        let number = table.insert(Kind::Rm, 'a').unwrap();
        assert_eq!(table.abandon(number), Some('a'));
        assert_eq!(table.abandon(number), None);
        assert_eq!(table.usage(), (0, 1));
        let other = table.insert(Kind::Rm, 'b').unwrap();
        assert_ne!(number, other);
        assert_eq!(table.complete(&header(Kind::Error, number)), Reply::Late);
        assert_eq!(table.complete(&header(Kind::Rm, other)), Reply::Answer('b'));
        assert_eq!(table.abandon(other), None);
    }

    #[test]
    fn a_request_that_never_went_out_takes_no_place() {
        let mut table = Table::default();
        let number = table.insert(Kind::Rm, 'a').unwrap();
        assert_eq!(table.forget(number), Some('a'));
        assert_eq!(table.forget(number), None);
        assert_eq!(table.usage(), (0, 0));
        let number = table.insert(Kind::Rm, 'b').unwrap();
        table.abandon(number);
        assert_eq!(table.forget(number), None);
        assert_eq!(table.usage(), (0, 0));
    }

    #[test]
    fn numbers_never_sent_are_unknown() {
        for first in [1, 0, u32::MAX - 2] {
            let mut table = Outstanding::<char, 4>::new(first);
            let before = first.wrapping_sub(1);
            assert_eq!(table.complete(&header(Kind::Rm, before)), Reply::Unknown);
            for _ in 0..8 {
                let number = table.insert(Kind::Rm, 'a').unwrap();
                assert_eq!(
                    table.complete(&header(Kind::Rm, number.wrapping_add(1))),
                    Reply::Unknown
                );
                assert_eq!(table.complete(&header(Kind::Rm, before)), Reply::Unknown);
                assert_eq!(
                    table.complete(&header(Kind::Rm, number)),
                    Reply::Answer('a')
                );
                assert_eq!(table.complete(&header(Kind::Rm, first)), Reply::Late);
            }
        }
    }

    #[test]
    fn abandoned_requests_give_way_oldest_first() {
        let mut table = Outstanding::<char, 3>::new(u32::MAX);
        let a = table.insert(Kind::Rm, 'a').unwrap();
        let b = table.insert(Kind::Rm, 'b').unwrap();
        let c = table.insert(Kind::Rm, 'c').unwrap();
        table.abandon(b);
        table.abandon(a);
        let d = table.insert(Kind::Rm, 'd').unwrap();
        assert_eq!(table.usage(), (2, 1));
        assert_eq!(table.complete(&header(Kind::Rm, a)), Reply::Late);
        assert_eq!(table.complete(&header(Kind::Rm, b)), Reply::Late);
        assert_eq!(table.complete(&header(Kind::Rm, c)), Reply::Answer('c'));
        assert_eq!(table.complete(&header(Kind::Rm, d)), Reply::Answer('d'));
    }

    #[test]
    fn a_lost_connection_gives_all_owners_back() {
        let mut table = Table::default();
        let a = table.insert(Kind::Rm, 'a').unwrap();
        table.insert(Kind::Rm, 'b').unwrap();
        table.abandon(a);
        let c = table.insert(Kind::Rm, 'c').unwrap();
        assert_eq!(table.take_any(), Some('b'));
        assert_eq!(table.take_any(), Some('c'));
        assert_eq!(table.take_any(), None);
        assert_eq!(table.usage(), (0, 0));
        assert_eq!(table.complete(&header(Kind::Rm, c)), Reply::Late);
    }
}
