// SPDX-License-Identifier: GPL-2.0

//! Which multicast the backend passes on: it has a list of addresses, which is changed over the transmit ring one by one,
//! and keeps to it only while the frontend asks for that in the store.
//!
//! Nothing may be lost for it. So the backend is asked to keep to its list when the list is whole, and not before; and
//! no more when somebody wants all there is, when there are too many addresses, or when the backend has refused one.
//! What the backend is told about one address waits for its answer to what it was told before.

use super::wire::{
    extra_type,
    ExtraInfo, //
};
use core::ops::DerefMut;

/// Bytes of an address.
pub const ADDRESS: usize = 6;

/// An address of a group.
pub type Address = [u8; ADDRESS];

/// Most addresses that are told to a backend; Linux's takes 64.
pub const MOST: usize = 128;

/// Changes that are with the backend at a time, so that one which has no place is not asked for much more.
pub const AT_ONCE: usize = 8;

/// A change of the backend's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Packets to this address are to be passed on.
    Add(Address),
    /// They need not be any more.
    Remove(Address),
}

impl Change {
    /// The extra info that tells of it, behind a request without data.
    pub fn to_extra(self) -> ExtraInfo {
        let (kind, data) = match self {
            Change::Add(address) => (extra_type::MCAST_ADD, address),
            Change::Remove(address) => (extra_type::MCAST_DEL, address),
        };
        ExtraInfo {
            kind,
            flags: 0,
            data,
        }
    }
}

/// What the backend has of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// It was told to add it.
    Adding,
    /// It has it.
    There,
    /// It was told to remove it.
    Removing,
}

/// An address that the backend was told.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    address: Address,
    at: At,
}

/// The addresses that the stack wants, and those that the backend of a connection was told, in tables of [`MOST`] places.
///
/// # Invariants
///
/// An address is in `told` once at most. `under_way` of these are not [`At::There`].
#[derive(Debug)]
pub struct Groups<W, T> {
    wanted: W,
    told: T,
    under_way: usize,
    /// The stack wants all multicast, or more addresses than have a place here.
    all: bool,
    /// The backend has refused an address that is still wanted, and has removed none since.
    full: bool,
    /// Something may be left to tell.
    stale: bool,
    /// The backend should keep to its list.
    filters: bool,
    /// What of that is in the store.
    written: bool,
    /// It has changed, and nobody was told.
    news: bool,
}

impl<W, T> Groups<W, T>
where
    W: DerefMut<Target = [Option<Address>]>,
    T: DerefMut<Target = [Option<Told>]>,
{
    /// For a new connection, with tables that are empty: the backend has no address and passes all on.
    pub fn new(wanted: W, told: T) -> Self {
        Self {
            wanted,
            told,
            under_way: 0,
            // Until the stack has said what it wants.
            all: true,
            full: false,
            stale: false,
            filters: false,
            written: false,
            news: false,
        }
    }

    /// The stack wants these addresses, or all multicast that there is.
    pub fn want(&mut self, all: bool, addresses: impl Iterator<Item = Address>) {
        let mut addresses = addresses.fuse();
        for place in self.wanted.iter_mut() {
            *place = addresses.next();
        }
        self.all = all || addresses.next().is_some();
        self.judge();
    }

    /// The next change that the backend is to be told: [`sent`](Self::sent) follows, unless there is no room for it.
    pub fn due(&mut self) -> Option<Change> {
        if !self.stale || self.under_way >= AT_ONCE {
            return None;
        }
        let change = self.left_over().or_else(|| self.missing());
        // An answer may bring something.
        self.stale = change.is_some();
        change
    }

    /// An address that the backend has and nobody wants.
    fn left_over(&self) -> Option<Change> {
        let mut there = self.told.iter().flatten();
        there
            .find(|told| told.at == At::There && !self.wants(&told.address))
            .map(|told| Change::Remove(told.address))
    }

    /// An address that is wanted and the backend was not told, if it may have a place.
    fn missing(&self) -> Option<Change> {
        if self.full || self.told.iter().all(Option::is_some) {
            return None;
        }
        let mut wanted = self.wanted.iter().flatten();
        wanted
            .find(|address| self.at(address).is_none())
            .map(|address| Change::Add(*address))
    }

    /// The backend is told this change, which [`due`](Self::due) gave.
    pub fn sent(&mut self, change: Change) {
        match change {
            Change::Add(address) => {
                let Some(place) = self.told.iter_mut().find(|place| place.is_none()) else {
                    return;
                };
                // INVARIANT: It was not there, and is counted below.
                *place = Some(Told {
                    address,
                    at: At::Adding,
                });
            }
            Change::Remove(address) => {
                let Some(told) = self
                    .told
                    .iter_mut()
                    .flatten()
                    .find(|t| t.address == address)
                else {
                    return;
                };
                // INVARIANT: It was there, and is counted below.
                told.at = At::Removing;
            }
        }
        self.under_way = self.under_way.saturating_add(1);
    }

    /// The backend has answered a change, and says whether it has taken it.
    pub fn answered(&mut self, change: Change, taken: bool) {
        let (Change::Add(address) | Change::Remove(address)) = change;
        let Some(place) = self.told.iter_mut().find(|place| {
            place.is_some_and(|told| told.address == address && told.at != At::There)
        }) else {
            return;
        };
        // INVARIANT: It was counted, and is there or gone from now on.
        self.under_way = self.under_way.saturating_sub(1);
        *place = match change {
            Change::Add(address) if taken => Some(Told {
                address,
                at: At::There,
            }),
            _ => None,
        };
        match change {
            Change::Add(_) => self.full |= !taken,
            Change::Remove(_) => self.full = false,
        }
        self.judge();
    }

    /// Whether an answer is to come.
    pub fn is_waiting(&self) -> bool {
        self.under_way != 0
    }

    /// Whether it has changed since the last call what the backend is to be asked for.
    pub fn take_news(&mut self) -> bool {
        core::mem::take(&mut self.news)
    }

    /// What is to be written in the store: whether the backend keeps to its list. `None` if that is written.
    pub fn to_write(&self) -> Option<bool> {
        (self.filters != self.written).then_some(self.filters)
    }

    /// That was written in the store.
    pub fn wrote(&mut self, filters: bool) {
        self.written = filters;
    }

    fn wants(&self, address: &Address) -> bool {
        self.wanted.iter().flatten().any(|wanted| wanted == address)
    }

    fn at(&self, address: &Address) -> Option<At> {
        let mut told = self.told.iter().flatten();
        told.find(|told| told.address == *address)
            .map(|told| told.at)
    }

    /// Finds out what the backend is to be asked for.
    fn judge(&mut self) {
        self.stale = true;
        let mut wanted = self.wanted.iter().flatten();
        let whole = wanted.all(|address| self.at(address) == Some(At::There));
        // What is wanted next is worth a try.
        self.full &= !whole;
        let filters = if self.all || self.full {
            false
        } else {
            // One that is added meanwhile comes soon; all the others need not come for that.
            whole || self.filters
        };
        self.news |= filters != self.filters;
        self.filters = filters;
    }
}

#[cfg(test)]
mod tests;
