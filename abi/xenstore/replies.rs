// SPDX-License-Identifier: GPL-2.0

//! Which reply belongs to which request.
//!
//! Many requests may be under way. Each has a number that grows with every request, so a reply is one of three: for a
//! request that waits, for one that was sent and is no longer waited for (timed out, or answered before), or for one
//! that was never sent. The second is dropped, the third breaks the protocol.

use core::{borrow::BorrowMut, marker::PhantomData};

pub use super::shares::Full;
use super::{
    shares::{Shares, User},
    wire::{Header, Kind},
};

/// Distance into the past in which a number counts as sent before.
const PAST: u32 = 1 << 31;

/// A place for a request that is not written yet. Use it or give it back with [`Outstanding::cancel`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Reserved(User);

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
    /// As on the wire: programs may use kinds that are not known here.
    kind: u32,
    user: User,
    /// `None` once the owner stopped waiting.
    owner: Option<T>,
}

/// Room for one request of [`Outstanding`].
#[derive(Debug)]
pub struct Slot<T>(Option<Entry<T>>);

impl<T> Slot<T> {
    /// Empty, to fill the storage of a new table with.
    pub const fn new() -> Self {
        Self(None)
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The requests under way, at most as many as there are slots. Their memory is the caller's: a `KVec` in the kernel, an
/// array in tests.
///
/// # Invariants
///
/// Numbers in the table are distinct. `shares` counts the entries with an owner and the [`Reserved`] places, together at
/// most as many as there are slots. `sent` is the distance from the first number ever given to `next`, saturated.
#[derive(Debug)]
pub struct Outstanding<T, S> {
    slots: S,
    owners: PhantomData<T>,
    shares: Shares,
    next: u32,
    sent: u32,
}

impl<T, S: BorrowMut<[Slot<T>]>> Outstanding<T, S> {
    /// Starts with `first` as the number of the first request. Programs have all places but a quarter.
    pub fn new(slots: S, first: u32) -> Self {
        let all = slots.borrow().len();
        Self {
            slots,
            owners: PhantomData,
            shares: Shares::new(all, all, all.saturating_sub(all / 4)),
            next: first,
            sent: 0,
        }
    }

    /// Tells whether there is a place for a request of `user`.
    pub fn has_place(&self, user: User) -> bool {
        self.shares.has_place(user)
    }

    /// Takes a place for a request of `user`.
    ///
    /// # Errors
    ///
    /// [`Full`] when all places that `user` may have are waited for.
    pub fn reserve(&mut self, user: User) -> Result<Reserved, Full> {
        self.shares.take(user)?;
        Ok(Reserved(user))
    }

    /// Gives a place back that was not used.
    pub fn cancel(&mut self, place: Reserved) {
        self.shares.give_back(place.0);
    }

    /// Notes a request of `kind` and returns its number. When the table is full, the longest abandoned one is forgotten.
    pub fn insert(&mut self, place: Reserved, kind: u32, owner: T) -> u32 {
        let next = self.next;
        let entry = Entry {
            number: next,
            kind,
            user: place.0,
            owner: Some(owner),
        };
        let slots = self.slots.borrow_mut();
        let free = slots.iter().position(|slot| slot.0.is_none());
        let at = free.or_else(|| {
            slots
                .iter()
                .enumerate()
                .filter_map(|(at, slot)| Some((at, slot.0.as_ref()?)))
                .filter(|(_, entry)| entry.owner.is_none())
                .max_by_key(|(_, entry)| next.wrapping_sub(entry.number))
                .map(|(at, _)| at)
        });
        // By the type invariants one slot at least has no owner, so there is one.
        if let Some(slot) = at.and_then(|at| slots.get_mut(at)) {
            slot.0 = Some(entry);
        }
        self.next = next.wrapping_add(1);
        self.sent = self.sent.saturating_add(1);
        next
    }

    fn entry(&mut self, number: u32) -> Option<&mut Option<Entry<T>>> {
        self.entries()
            .find(|slot| matches!(slot, Some(entry) if entry.number == number))
    }

    fn entries(&mut self) -> impl Iterator<Item = &mut Option<Entry<T>>> {
        self.slots.borrow_mut().iter_mut().map(|slot| &mut slot.0)
    }

    /// Stops waiting for a request; its reply will be dropped. Returns the owner if it was still waited for.
    pub fn abandon(&mut self, number: u32) -> Option<T> {
        let entry = self.entry(number)?.as_mut()?;
        let (owner, user) = (entry.owner.take()?, entry.user);
        self.shares.give_back(user);
        Some(owner)
    }

    /// Gives the reply of a request that is still waited for to another owner, and returns the old one.
    ///
    /// # Errors
    ///
    /// The new owner when the request is no longer waited for.
    pub fn hand_over(&mut self, number: u32, to: T) -> Result<T, T> {
        match self.entry(number).and_then(Option::as_mut) {
            Some(Entry {
                owner: Some(owner), ..
            }) => Ok(core::mem::replace(owner, to)),
            _ => Err(to),
        }
    }

    /// Gives up the place of a request that never went out. Returns the owner if it was still waited for.
    pub fn forget(&mut self, number: u32) -> Option<T> {
        let entry = self.entry(number)?.take()?;
        let owner = entry.owner?;
        self.shares.give_back(entry.user);
        Some(owner)
    }

    /// Takes in a reply and gives up its place.
    pub fn complete(&mut self, header: &Header) -> Reply<T> {
        let Some(entry) = self.entry(header.request).and_then(Option::take) else {
            return if self.was_sent(header.request) {
                Reply::Late
            } else {
                Reply::Unknown
            };
        };
        let Some(owner) = entry.owner else {
            return Reply::Late;
        };
        self.shares.give_back(entry.user);
        if header.kind == Kind::Error.number() {
            Reply::Refusal(owner)
        } else if header.kind == entry.kind {
            Reply::Answer(owner)
        } else {
            Reply::Mismatch(owner, header.kind)
        }
    }

    fn was_sent(&self, number: u32) -> bool {
        let age = self.next.wrapping_sub(number);
        age != 0 && age <= self.sent.min(PAST)
    }

    /// Takes out every owner that still waits, one at a time: the connection is lost. Replies to what was sent count as
    /// late from then on.
    pub fn take_any(&mut self) -> Option<T> {
        let entry = self
            .entries()
            .find(|slot| matches!(slot, Some(entry) if entry.owner.is_some()))
            .and_then(Option::take);
        let Some(entry) = entry else {
            self.entries().for_each(|slot| *slot = None);
            return None;
        };
        self.shares.give_back(entry.user);
        entry.owner
    }

    /// Returns how many requests are waited for, and how many places abandoned ones take.
    pub fn usage(&self) -> (usize, usize) {
        let entries = || {
            let slots = self.slots.borrow().iter();
            slots.filter_map(|slot| slot.0.as_ref())
        };
        let taken = entries().count();
        let waiting = entries().filter(|entry| entry.owner.is_some()).count();
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

    fn add<const N: usize>(
        table: &mut Outstanding<char, [Slot<char>; N]>,
        kind: Kind,
        owner: char,
    ) -> Result<u32, Full> {
        let place = table.reserve(User::Kernel)?;
        Ok(table.insert(place, kind.number(), owner))
    }

    type Table = Outstanding<char, [Slot<char>; 4]>;

    fn table() -> Table {
        Outstanding::new(Default::default(), 1)
    }

    #[test]
    fn replies_find_their_owners_in_any_order() {
        let mut table = table();
        let numbers: std::vec::Vec<u32> = ['a', 'b', 'c', 'd']
            .into_iter()
            .map(|owner| add(&mut table, Kind::Read, owner).unwrap())
            .collect();
        assert_eq!(add(&mut table, Kind::Read, 'e'), Err(Full));
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
        let mut table = table();
        let number = add(&mut table, Kind::Rm, 'a').unwrap();
        assert_eq!(
            table.complete(&header(Kind::Rm, number)),
            Reply::Answer('a')
        );
        assert_eq!(table.complete(&header(Kind::Rm, number)), Reply::Late);
    }

    #[test]
    fn late_replies_are_dropped_by_number() {
        let mut table = table();
        let number = add(&mut table, Kind::Rm, 'a').unwrap();
        assert_eq!(table.abandon(number), Some('a'));
        assert_eq!(table.abandon(number), None);
        assert_eq!(table.usage(), (0, 1));
        let other = add(&mut table, Kind::Rm, 'b').unwrap();
        assert_ne!(number, other);
        assert_eq!(table.complete(&header(Kind::Error, number)), Reply::Late);
        assert_eq!(table.complete(&header(Kind::Rm, other)), Reply::Answer('b'));
        assert_eq!(table.abandon(other), None);
    }

    #[test]
    fn a_request_that_never_went_out_takes_no_place() {
        let mut table = table();
        let number = add(&mut table, Kind::Rm, 'a').unwrap();
        assert_eq!(table.forget(number), Some('a'));
        assert_eq!(table.forget(number), None);
        assert_eq!(table.usage(), (0, 0));
        let number = add(&mut table, Kind::Rm, 'b').unwrap();
        table.abandon(number);
        assert_eq!(table.forget(number), None);
        assert_eq!(table.usage(), (0, 0));
    }

    #[test]
    fn numbers_never_sent_are_unknown() {
        for first in [1, 0, u32::MAX - 2] {
            let mut table = Outstanding::<char, [Slot<char>; 4]>::new(Default::default(), first);
            let before = first.wrapping_sub(1);
            assert_eq!(table.complete(&header(Kind::Rm, before)), Reply::Unknown);
            for _ in 0..8 {
                let number = add(&mut table, Kind::Rm, 'a').unwrap();
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
        let mut table = Outstanding::<char, [Slot<char>; 3]>::new(Default::default(), u32::MAX);
        let a = add(&mut table, Kind::Rm, 'a').unwrap();
        let b = add(&mut table, Kind::Rm, 'b').unwrap();
        let c = add(&mut table, Kind::Rm, 'c').unwrap();
        table.abandon(b);
        table.abandon(a);
        let d = add(&mut table, Kind::Rm, 'd').unwrap();
        assert_eq!(table.usage(), (2, 1));
        assert_eq!(table.complete(&header(Kind::Rm, a)), Reply::Late);
        assert_eq!(table.complete(&header(Kind::Rm, b)), Reply::Late);
        assert_eq!(table.complete(&header(Kind::Rm, c)), Reply::Answer('c'));
        assert_eq!(table.complete(&header(Kind::Rm, d)), Reply::Answer('d'));
    }

    #[test]
    fn a_lost_connection_gives_all_owners_back() {
        let mut table = table();
        let a = add(&mut table, Kind::Rm, 'a').unwrap();
        add(&mut table, Kind::Rm, 'b').unwrap();
        table.abandon(a);
        let c = add(&mut table, Kind::Rm, 'c').unwrap();
        assert_eq!(table.take_any(), Some('b'));
        assert_eq!(table.take_any(), Some('c'));
        assert_eq!(table.take_any(), None);
        assert_eq!(table.usage(), (0, 0));
        assert_eq!(table.complete(&header(Kind::Rm, c)), Reply::Late);
    }

    #[test]
    fn programs_leave_places_to_the_kernel() {
        let mut table = Outstanding::<char, [Slot<char>; 8]>::new(Default::default(), 1);
        let mut numbers = std::vec::Vec::new();
        while let Ok(place) = table.reserve(User::Program) {
            numbers.push(table.insert(place, Kind::Read.number(), 'p'));
        }
        assert_eq!(numbers.len(), 6);
        assert!(!table.has_place(User::Program));
        // A place in hand is taken as well.
        let place = table.reserve(User::Kernel).unwrap();
        let other = table.reserve(User::Kernel).unwrap();
        assert_eq!(table.reserve(User::Kernel), Err(Full));
        table.cancel(other);
        let number = table.insert(place, Kind::Read.number(), 'k');
        assert_eq!(
            table.complete(&header(Kind::Read, number)),
            Reply::Answer('k')
        );
        // A program's place comes back by each of the ways that a request may end.
        assert_eq!(table.abandon(numbers[0]), Some('p'));
        assert!(table.has_place(User::Program));
        assert_eq!(table.forget(numbers[0]), None);
        assert_eq!(table.forget(numbers[1]), Some('p'));
        assert_eq!(
            table.complete(&header(Kind::Error, numbers[2])),
            Reply::Refusal('p')
        );
        assert_eq!(table.usage(), (3, 0));
        while table.take_any().is_some() {}
        for _ in 0..6 {
            let _ = table.reserve(User::Program).unwrap();
        }
        assert_eq!(table.reserve(User::Program), Err(Full));
    }

    #[test]
    fn a_reply_goes_to_the_owner_that_it_was_handed_to() {
        let mut table = table();
        let number = add(&mut table, Kind::TransactionStart, 'a').unwrap();
        assert_eq!(table.hand_over(number, 'b'), Ok('a'));
        assert_eq!(
            table.complete(&header(Kind::TransactionStart, number)),
            Reply::Answer('b')
        );
        assert_eq!(table.hand_over(number, 'c'), Err('c'));
    }

    #[test]
    fn kinds_that_are_not_known_here_are_answered_in_kind() {
        let mut table = table();
        let place = table.reserve(User::Program).unwrap();
        let request = table.insert(place, 99, 'a');
        let header = Header {
            kind: 99,
            request,
            transaction: 0,
            length: 0,
        };
        assert_eq!(table.complete(&header), Reply::Answer('a'));
    }
}
