// SPDX-License-Identifier: GPL-2.0

//! A list that follows another over a backend that may refuse.

use super::*;
use std::collections::{
    BTreeSet,
    VecDeque, //
};

type Book = Groups<Vec<Option<Address>>, Vec<Option<Told>>>;

fn groups() -> Book {
    Groups::new(vec![None; MOST], vec![None; MOST])
}

fn address(number: u8) -> Address {
    [1, 0, 0x5e, 0, 0, number]
}

fn want(groups: &mut Book, numbers: impl IntoIterator<Item = u8>) {
    groups.want(false, numbers.into_iter().map(address));
}

/// A backend with room for so many addresses.
struct Backend {
    room: usize,
    list: Vec<Address>,
    /// What it was told and has not answered.
    told: VecDeque<Change>,
    refused: usize,
}

impl Backend {
    fn new(room: usize) -> Self {
        Self {
            room,
            list: Vec::new(),
            told: VecDeque::new(),
            refused: 0,
        }
    }

    /// Tells it what there is to tell.
    fn tell(&mut self, groups: &mut Book) {
        while let Some(change) = groups.due() {
            groups.sent(change);
            self.told.push_back(change);
        }
        assert!(self.told.len() <= AT_ONCE);
        assert_eq!(groups.is_waiting(), !self.told.is_empty());
    }

    /// It answers the first of what it was told.
    fn answer(&mut self, groups: &mut Book) {
        let Some(change) = self.told.pop_front() else {
            return;
        };
        let taken = match change {
            Change::Add(address) => {
                // It would have it twice, and lose it only once.
                assert!(!self.list.contains(&address));
                let room = self.list.len() < self.room;
                if room {
                    self.list.push(address);
                }
                self.refused += usize::from(!room);
                room
            }
            Change::Remove(address) => {
                let at = self.list.iter().position(|has| *has == address);
                self.list.remove(at.expect("it was added"));
                true
            }
        };
        groups.answered(change, taken);
    }

    fn settle(&mut self, groups: &mut Book) {
        loop {
            self.tell(groups);
            if self.told.is_empty() {
                return;
            }
            self.answer(groups);
        }
    }

    fn has(&self) -> Vec<Address> {
        let mut list = self.list.clone();
        list.sort_unstable();
        list
    }
}

fn addresses(numbers: impl IntoIterator<Item = u8>) -> Vec<Address> {
    numbers.into_iter().map(address).collect()
}

#[test]
fn the_list_is_asked_for_when_it_is_whole() {
    let (mut groups, mut backend) = (groups(), Backend::new(64));
    assert_eq!((groups.due(), groups.to_write()), (None, None));
    want(&mut groups, [1, 2]);
    backend.tell(&mut groups);
    assert_eq!(backend.told, [1, 2].map(|n| Change::Add(address(n))));
    backend.answer(&mut groups);
    assert!(!groups.take_news());
    assert_eq!(groups.to_write(), None);
    backend.answer(&mut groups);
    assert!(groups.take_news());
    assert!(!groups.take_news());
    assert_eq!(groups.to_write(), Some(true));
    groups.wrote(true);
    assert_eq!(groups.to_write(), None);
}

#[test]
fn a_list_of_none_is_whole() {
    let mut groups = groups();
    want(&mut groups, []);
    assert_eq!((groups.due(), groups.to_write()), (None, Some(true)));
}

#[test]
fn an_addition_does_not_bring_all_the_others() {
    let (mut groups, mut backend) = (groups(), Backend::new(64));
    want(&mut groups, [1]);
    backend.settle(&mut groups);
    groups.wrote(true);
    want(&mut groups, [1, 2]);
    assert_eq!(groups.to_write(), None);
    backend.settle(&mut groups);
    assert_eq!(groups.to_write(), None);
    want(&mut groups, [2]);
    backend.settle(&mut groups);
    assert_eq!((groups.to_write(), backend.has()), (None, addresses([2])));
}

#[test]
fn who_wants_all_gets_all() {
    let (mut groups, mut backend) = (groups(), Backend::new(64));
    want(&mut groups, [1]);
    backend.settle(&mut groups);
    groups.wrote(true);
    assert!(groups.take_news());
    groups.want(true, addresses([1, 2]).into_iter());
    assert!(groups.take_news());
    assert_eq!(groups.to_write(), Some(false));
    groups.wrote(false);
    // The list follows all the same, and is whole when it is needed again.
    backend.settle(&mut groups);
    assert_eq!(
        (groups.to_write(), backend.has()),
        (None, addresses([1, 2]))
    );
    want(&mut groups, [1, 2]);
    assert_eq!(groups.to_write(), Some(true));
}

#[test]
fn what_is_refused_brings_all_until_it_is_not_wanted() {
    let (mut groups, mut backend) = (groups(), Backend::new(3));
    want(&mut groups, 1..=3);
    backend.settle(&mut groups);
    groups.wrote(true);
    want(&mut groups, 1..=5);
    backend.settle(&mut groups);
    assert_eq!(groups.to_write(), Some(false));
    groups.wrote(false);
    // It is not asked again, as it has removed none.
    let refused = backend.refused;
    want(&mut groups, 1..=6);
    backend.settle(&mut groups);
    assert_eq!((groups.to_write(), backend.refused), (None, refused));
    want(&mut groups, [1, 2, 4]);
    backend.settle(&mut groups);
    assert_eq!(
        (groups.to_write(), backend.has()),
        (Some(true), addresses([1, 2, 4]))
    );
}

#[test]
fn what_was_refused_once_is_told_again_when_it_is_wanted_again() {
    let (mut groups, mut backend) = (groups(), Backend::new(1));
    want(&mut groups, [1, 2]);
    backend.settle(&mut groups);
    assert_eq!((groups.to_write(), backend.refused), (None, 1));
    want(&mut groups, [1]);
    assert_eq!(groups.to_write(), Some(true));
    backend.room = 2;
    want(&mut groups, [1, 2]);
    backend.settle(&mut groups);
    assert_eq!(
        (groups.to_write(), backend.has()),
        (Some(true), addresses([1, 2]))
    );
}

#[test]
fn a_place_that_is_free_is_filled_again() {
    let (mut groups, mut backend) = (groups(), Backend::new(2));
    want(&mut groups, [1, 2, 3]);
    backend.settle(&mut groups);
    assert_eq!(groups.to_write(), None);
    want(&mut groups, [1, 3]);
    backend.settle(&mut groups);
    assert_eq!(
        (groups.to_write(), backend.has()),
        (Some(true), addresses([1, 3]))
    );
}

#[test]
fn more_than_have_a_place_here_bring_all() {
    let (mut groups, mut backend) = (groups(), Backend::new(1000));
    want(&mut groups, 0..128);
    backend.settle(&mut groups);
    assert_eq!(groups.to_write(), Some(true));
    groups.wrote(true);
    want(&mut groups, 0..=128);
    assert_eq!(groups.to_write(), Some(false));
    groups.wrote(false);
    backend.settle(&mut groups);
    // All of them are others, and each has to go before one can come.
    want(&mut groups, 128..=255);
    backend.settle(&mut groups);
    assert_eq!(
        (groups.to_write(), backend.has()),
        (Some(true), addresses(128..=255))
    );
}

#[test]
fn one_that_goes_and_comes_waits_for_its_answer() {
    let (mut groups, mut backend) = (groups(), Backend::new(64));
    want(&mut groups, [1]);
    backend.tell(&mut groups);
    // Not wanted before it was there.
    want(&mut groups, []);
    assert_eq!(groups.due(), None);
    backend.answer(&mut groups);
    backend.tell(&mut groups);
    assert_eq!(backend.told, [Change::Remove(address(1))]);
    want(&mut groups, [1]);
    assert_eq!(groups.due(), None);
    backend.settle(&mut groups);
    assert_eq!(backend.has(), addresses([1]));
}

#[test]
fn what_has_no_room_is_given_again() {
    let mut groups = groups();
    want(&mut groups, [1]);
    let change = Some(Change::Add(address(1)));
    assert_eq!([groups.due(), groups.due()], [change; 2]);
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let (mut groups, mut backend) = (groups(), Backend::new(64));
    want(&mut groups, [1]);
    backend.settle(&mut groups);
    for change in [
        Change::Add(address(1)),
        Change::Remove(address(1)),
        Change::Add(address(2)),
    ] {
        groups.answered(change, false);
        groups.sent(Change::Remove(address(2)));
    }
    assert_eq!((groups.due(), groups.is_waiting()), (None, false));
    assert_eq!(groups.to_write(), Some(true));
}

#[test]
fn a_change_is_what_netif_has_for_it() {
    let add = Change::Add(address(7)).to_extra();
    assert_eq!(add.encode_tx(), [2, 0, 1, 0, 0x5e, 0, 0, 7, 0, 0, 0, 0]);
    let remove = Change::Remove(address(7)).to_extra();
    assert_eq!(remove.encode_tx(), [3, 0, 1, 0, 0x5e, 0, 0, 7, 0, 0, 0, 0]);
}

/// Numbers that look random, and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// In whatever order things happen: when all has been said, what is wanted comes, and nothing else if the list has room.
#[test]
fn nothing_that_is_wanted_is_lost() {
    for seed in 1..500 {
        let mut dice = Dice(seed);
        let (mut groups, mut backend) = (groups(), Backend::new(dice.roll(24) as usize));
        let (mut wanted, mut all, mut filters) = (BTreeSet::new(), true, false);
        for _ in 0..dice.roll(300) {
            match dice.roll(4) {
                0 => {
                    all = dice.roll(10) == 0;
                    wanted = (0..dice.roll(20)).map(|_| dice.roll(30) as u8).collect();
                    groups.want(all, wanted.iter().map(|number| address(*number)));
                }
                1 => backend.tell(&mut groups),
                2 => backend.answer(&mut groups),
                _ => {
                    filters = groups.to_write().unwrap_or(filters);
                    groups.wrote(filters);
                    assert!(!filters || !all, "seed {seed}");
                }
            }
        }
        backend.settle(&mut groups);
        filters = groups.to_write().unwrap_or(filters);
        let whole = wanted.iter().all(|n| backend.list.contains(&address(*n)));
        assert_eq!(filters, !all && whole, "seed {seed}");
        assert!(whole || wanted.len() > backend.room, "seed {seed}");
        assert!(
            backend.list.iter().all(|has| wanted.contains(&has[5])),
            "seed {seed}"
        );
    }
}
