// SPDX-License-Identifier: GPL-2.0

//! Requests that a peer holds, by the id it answers with.
//!
//! Every request on a shared ring carries an id which the peer repeats in its response. The id that
//! comes back is the peer's word only. [`SlotTable`] is our own record of what was sent: an id in a
//! response is good if, and only if, it gets a value out of the table, and it does so once.
//!
//! The memory of the table is the caller's ([`Storage`]): a `KVec` in the kernel, a `Vec` in tests.

use core::{
    fmt,
    mem,
    ops::DerefMut, //
};

/// Ends the list of free slots. No slot has this index: [`MAX_SLOTS`] is below it.
const END: u16 = u16::MAX;

/// Most slots that one table can have. More storage than this is left unused.
pub const MAX_SLOTS: usize = 0x8000;

/// Room for one value of a [`SlotTable`].
#[derive(Debug)]
pub struct Slot<T>(State<T>);

#[derive(Debug)]
enum State<T> {
    /// Not with the peer. Holds the index of the next free slot.
    Free(u16),
    /// With the peer, under this slot's index as its id.
    Held(T),
}

impl<T> Slot<T> {
    /// An empty slot, to fill the storage of a new table with.
    pub const fn new() -> Self {
        Slot(State::Free(END))
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a table can keep its slots in.
pub trait Storage<T>: DerefMut<Target = [Slot<T>]> {}

impl<T, S: DerefMut<Target = [Slot<T>]>> Storage<T> for S {}

/// The id of a held slot, as it is put into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(u16);

impl SlotId {
    /// The id as a table index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl From<SlotId> for u16 {
    fn from(id: SlotId) -> u16 {
        id.0
    }
}

impl From<SlotId> for u64 {
    fn from(id: SlotId) -> u64 {
        u64::from(id.0)
    }
}

/// Why an id from a response is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownId {
    /// The table has no such slot.
    OutOfRange,
    /// The slot is free: the id was never sent, or it has been answered already.
    NotHeld,
}

impl fmt::Display for UnknownId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnknownId::OutOfRange => "response id is beyond the table",
            UnknownId::NotHeld => "response id was not sent or is answered already",
        })
    }
}

/// Values that wait for the peer's answer.
///
/// # Invariants
///
/// - The list that starts at `free_head` visits every free slot once and ends with [`END`].
/// - `free` is the length of that list; `free` plus the number of held slots is [`Self::capacity`].
///
/// # Examples
///
/// ```
/// use abi::slots::{Slot, SlotTable, UnknownId};
///
/// let mut sent = SlotTable::new(vec![Slot::new(), Slot::new()]);
/// let id = sent.insert("read").unwrap();
/// assert_eq!(sent.take(u64::from(id)), Ok("read"));
/// assert_eq!(sent.take(u64::from(id)), Err(UnknownId::NotHeld));
/// assert_eq!(sent.take(77u64), Err(UnknownId::OutOfRange));
/// ```
pub struct SlotTable<T, S: Storage<T>> {
    slots: S,
    free_head: u16,
    free: u16,
    capacity: u16,
    _values: core::marker::PhantomData<T>,
}

impl<T, S: Storage<T>> SlotTable<T, S> {
    /// Makes an empty table with a slot for each element of `slots`, at most [`MAX_SLOTS`].
    ///
    /// Values that the storage held before are dropped.
    pub fn new(mut slots: S) -> Self {
        let mut capacity = 0u16;
        for slot in slots.iter_mut().take(MAX_SLOTS) {
            capacity = capacity.wrapping_add(1);
            *slot = Slot(State::Free(capacity));
        }
        if let Some(last) = slots
            .get_mut(..usize::from(capacity))
            .and_then(|s| s.last_mut())
        {
            *last = Slot(State::Free(END));
        }
        // INVARIANT: each slot names the one behind it and the last one ends the list.
        Self {
            slots,
            free_head: if capacity == 0 { END } else { 0 },
            free: capacity,
            capacity,
            _values: core::marker::PhantomData,
        }
    }

    /// Number of slots, free and held.
    pub fn capacity(&self) -> usize {
        usize::from(self.capacity)
    }

    /// Number of free slots.
    pub fn free(&self) -> usize {
        usize::from(self.free)
    }

    /// Number of values that the peer has yet to answer.
    pub fn held(&self) -> usize {
        self.capacity().saturating_sub(self.free())
    }

    /// Whether no value is held.
    pub fn is_empty(&self) -> bool {
        self.free == self.capacity
    }

    /// Whether no slot is free.
    pub fn is_full(&self) -> bool {
        self.free == 0
    }

    /// Keeps `value` and gives the id to send it under.
    ///
    /// # Errors
    ///
    /// The value comes back when no slot is free.
    pub fn insert(&mut self, value: T) -> Result<SlotId, T> {
        let id = self.free_head;
        let Some(slot) = self.slots.get_mut(usize::from(id)) else {
            return Err(value);
        };
        let State::Free(next) = slot.0 else {
            // The invariant excludes this. Were it broken, refusing is the harmless answer.
            return Err(value);
        };
        *slot = Slot(State::Held(value));
        self.free_head = next;
        self.free = self.free.saturating_sub(1);
        Ok(SlotId(id))
    }

    /// The id that the next [`Self::insert`] will give, if there is room.
    pub fn next_id(&self) -> Option<SlotId> {
        (self.free != 0).then_some(SlotId(self.free_head))
    }

    /// Takes out the value that was sent under `id`, and frees the slot.
    ///
    /// `id` is what the peer wrote, in any width.
    ///
    /// # Errors
    ///
    /// [`UnknownId`] when `id` is not with the peer. Nothing has changed then.
    pub fn take(&mut self, id: impl Into<u64>) -> Result<T, UnknownId> {
        let id = self.check(id.into())?;
        let slot = self
            .slots
            .get_mut(id.index())
            .ok_or(UnknownId::OutOfRange)?;
        if let State::Free(_) = slot.0 {
            return Err(UnknownId::NotHeld);
        }
        match mem::replace(&mut slot.0, State::Free(self.free_head)) {
            State::Held(value) => {
                // INVARIANT: the slot is the new head and names the former one.
                self.free_head = id.0;
                self.free = self.free.saturating_add(1);
                Ok(value)
            }
            State::Free(_) => Err(UnknownId::NotHeld),
        }
    }

    /// The value that was sent under `id`; it stays in the table.
    ///
    /// # Errors
    ///
    /// [`UnknownId`] when `id` is not with the peer.
    pub fn get(&self, id: impl Into<u64>) -> Result<&T, UnknownId> {
        let id = self.check(id.into())?;
        match self.slots.get(id.index()) {
            Some(Slot(State::Held(value))) => Ok(value),
            Some(Slot(State::Free(_))) => Err(UnknownId::NotHeld),
            None => Err(UnknownId::OutOfRange),
        }
    }

    /// The value that was sent under `id`, to change; it stays in the table.
    ///
    /// # Errors
    ///
    /// [`UnknownId`] when `id` is not with the peer.
    pub fn get_mut(&mut self, id: impl Into<u64>) -> Result<&mut T, UnknownId> {
        let id = self.check(id.into())?;
        match self.slots.get_mut(id.index()) {
            Some(Slot(State::Held(value))) => Ok(value),
            Some(Slot(State::Free(_))) => Err(UnknownId::NotHeld),
            None => Err(UnknownId::OutOfRange),
        }
    }

    /// Takes out every held value, lowest id first: what is left when a connection has ended.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        (0..self.capacity).filter_map(move |id| self.take(id).ok())
    }

    /// Narrows an id of any width to one of this table's.
    fn check(&self, id: u64) -> Result<SlotId, UnknownId> {
        match u16::try_from(id) {
            Ok(id) if id < self.capacity => Ok(SlotId(id)),
            _ => Err(UnknownId::OutOfRange),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    fn table<T>(n: usize) -> SlotTable<T, Vec<Slot<T>>> {
        SlotTable::new((0..n).map(|_| Slot::new()).collect())
    }

    #[test]
    fn every_slot_is_given_out_once() {
        let mut table = table(4);
        let mut ids: Vec<u16> = (0..4).map(|n| table.insert(n).unwrap().into()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [0, 1, 2, 3]);
        assert!(table.is_full());
        assert_eq!(table.insert(9), Err(9));
        assert_eq!((table.free(), table.held()), (0, 4));
    }

    #[test]
    fn out_of_range_never_sent_and_duplicate_are_refused() {
        let mut table = table(4);
        let id = table.insert('x').unwrap();
        for wrong in [4, 5, 0xffff, 0x1_0000, 0x1_0000_0000, u64::MAX] {
            assert_eq!(table.take(wrong), Err(UnknownId::OutOfRange), "{wrong:#x}");
        }
        for other in (0u64..4).filter(|&n| n != u64::from(id)) {
            assert_eq!(table.take(other), Err(UnknownId::NotHeld));
            assert_eq!(table.get(other), Err(UnknownId::NotHeld));
        }
        assert_eq!(table.held(), 1);
        assert!(!table.is_empty() && !table.is_full());
        assert_eq!(table.take(u64::from(id)), Ok('x'));
        assert_eq!(table.take(u64::from(id)), Err(UnknownId::NotHeld));
        assert!(table.is_empty());
    }

    #[test]
    fn an_empty_table_takes_nothing() {
        let mut table = table(0);
        assert_eq!(table.insert(1), Err(1));
        assert_eq!(table.take(0u64), Err(UnknownId::OutOfRange));
        assert!(table.is_empty() && table.is_full());
        assert_eq!(table.next_id(), None);
    }

    #[test]
    fn get_mut_leaves_the_value_in() {
        let mut table = table(2);
        let id = table.insert(1).unwrap();
        *table.get_mut(id).unwrap() += 1;
        assert_eq!(table.get(id), Ok(&2));
        assert_eq!(table.get_mut(7u64), Err(UnknownId::OutOfRange));
        assert_eq!(table.take(id), Ok(2));
        assert_eq!(table.get_mut(id), Err(UnknownId::NotHeld));
    }

    #[test]
    fn next_id_tells_what_insert_gives() {
        let mut table = table(3);
        let first = table.insert(0).unwrap();
        table.insert(1).unwrap();
        table.take(first).unwrap();
        assert_eq!(table.next_id(), Some(first));
        assert_eq!(table.insert(2), Ok(first));
    }

    #[test]
    fn drain_empties_and_all_slots_come_back() {
        let mut table = table(5);
        for n in 0..5 {
            table.insert(n).unwrap();
        }
        table.take(2u64).unwrap();
        assert_eq!(table.drain().collect::<Vec<_>>(), [0, 1, 3, 4]);
        assert_eq!(table.free(), 5);
        for n in 0..5 {
            table.insert(n).unwrap();
        }
        assert!(table.is_full());
    }

    #[test]
    fn values_are_dropped_with_the_table() {
        let value = Rc::new(());
        let mut table = table(2);
        assert!(table.insert(value.clone()).is_ok());
        drop(table);
        assert_eq!(Rc::strong_count(&value), 1);
    }

    #[test]
    fn storage_beyond_the_limit_is_left_alone() {
        let table: SlotTable<u8, _> = table(MAX_SLOTS + 3);
        assert_eq!(table.capacity(), MAX_SLOTS);
    }

    /// Held plus free is the whole table after any mix of calls, checked against a plain set.
    #[test]
    fn held_and_free_are_always_the_whole_table() {
        let mut table = table(8);
        let mut model = std::collections::BTreeMap::new();
        let mut seed = 1u64;
        for step in 0..20_000u64 {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            if seed >> 63 == 0 {
                match table.insert(step) {
                    Ok(id) => assert_eq!(model.insert(u64::from(id), step), None),
                    Err(back) => assert_eq!((back, model.len()), (step, 8)),
                }
            } else {
                let id = (seed >> 40) % 11;
                match table.take(id) {
                    Ok(value) => assert_eq!(model.remove(&id), Some(value)),
                    Err(UnknownId::NotHeld) => assert!(id < 8 && !model.contains_key(&id)),
                    Err(UnknownId::OutOfRange) => assert!(id >= 8),
                }
            }
            assert_eq!(table.held(), model.len());
            assert_eq!(table.free() + table.held(), 8);
        }
    }
}
