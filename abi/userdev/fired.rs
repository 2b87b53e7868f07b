// SPDX-License-Identifier: GPL-2.0

//! Which ports of a program have fired, from the event until the program has ended it.
//!
//! A port is in the [`Queue`] from its event until a read takes it, and stays masked until it is written back: so it is there
//! once at most, and a queue with room for each port does not overflow, whatever the peers do. Only a program that writes
//! ports back before it reads them can have it overflow. [`Held`] is what is known of one port meanwhile.

use crate::types::Port;
use core::ops::DerefMut;

/// Ports that have fired and were not read, in the order of their events.
///
/// # Invariants
///
/// `first` is below the length of `storage` unless that is empty, and `len` is at most that length.
#[derive(Debug)]
pub struct Queue<S> {
    storage: S,
    first: usize,
    len: usize,
    has_overflowed: bool,
}

impl<S: DerefMut<Target = [u32]>> Queue<S> {
    /// An empty queue, with room for as many ports as `storage` is long.
    pub fn new(storage: S) -> Self {
        // INVARIANT: Empty.
        Self {
            storage,
            first: 0,
            len: 0,
            has_overflowed: false,
        }
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tells whether a port was forgotten since there was no room.
    pub fn has_overflowed(&self) -> bool {
        self.has_overflowed
    }

    /// Where the port number `index` lies.
    fn place(&mut self, index: usize) -> Option<&mut u32> {
        let at = self.first.wrapping_add(index);
        let at = at.checked_sub(self.storage.len()).unwrap_or(at);
        self.storage.get_mut(at)
    }

    /// Appends a port, or forgets it when there is no room.
    pub fn push(&mut self, port: Port) {
        let len = self.len;
        let has_room = len < self.storage.len();
        match self.place(len) {
            Some(place) if has_room => {
                *place = port.0;
                // INVARIANT: It was below the length.
                self.len = len.wrapping_add(1);
            }
            _ => self.has_overflowed = true,
        }
    }

    /// Takes the first port.
    pub fn pop(&mut self) -> Option<Port> {
        let left = self.len.checked_sub(1)?;
        let port = Port(*self.place(0)?);
        let next = self.first.wrapping_add(1);
        // INVARIANT: At the end of the storage it begins again.
        self.first = if next < self.storage.len() { next } else { 0 };
        self.len = left;
        Some(port)
    }

    /// Takes a port out, wherever it is.
    pub fn remove(&mut self, port: Port) {
        for _ in 0..self.len {
            match self.pop() {
                // There is room for what was just taken out.
                Some(other) if other != port => self.push(other),
                _ => {}
            }
        }
    }

    /// Takes all out, and forgets that it has overflowed.
    pub fn clear(&mut self) {
        self.len = 0;
        self.has_overflowed = false;
    }
}

/// What is known of a port: `E` is its event, whose end unmasks it.
#[derive(Debug)]
pub enum Held<E> {
    /// It has not fired since the program ended its last event.
    Nothing,
    /// It has fired, and the program was told or will be.
    Event(E),
    /// It has fired again meanwhile, since it was already on its way when it was masked.
    Again(E),
}

/// What has to be done about a port.
#[derive(Debug, PartialEq, Eq)]
pub struct Then<E> {
    /// Ends here.
    pub ended: Option<E>,
    /// The program has to be told.
    pub tell: bool,
}

impl<E> Held<E> {
    /// The port has fired.
    pub fn fired(&mut self, event: E) -> Then<E> {
        match core::mem::replace(self, Self::Nothing) {
            Self::Nothing => {
                *self = Self::Event(event);
                Then {
                    ended: None,
                    tell: true,
                }
            }
            Self::Event(old) | Self::Again(old) => {
                *self = Self::Again(event);
                Then {
                    ended: Some(old),
                    tell: false,
                }
            }
        }
    }

    /// The program has written the port back. What it was not told of yet, it is told of now.
    pub fn written(&mut self) -> Then<E> {
        match core::mem::replace(self, Self::Nothing) {
            Self::Nothing => Then {
                ended: None,
                tell: false,
            },
            Self::Event(event) => Then {
                ended: Some(event),
                tell: false,
            },
            Self::Again(event) => {
                *self = Self::Event(event);
                Then {
                    ended: None,
                    tell: true,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::VecDeque,
        vec,
        vec::Vec, //
    };

    #[test]
    fn ports_come_out_in_order_and_none_is_lost() {
        let mut queue = Queue::new(vec![0; 3]);
        let mut model = VecDeque::new();
        let mut next = 1;
        // Every pattern of pushes and pops, over the wrap again and again.
        for step in 0..1000u32 {
            if step.wrapping_mul(2_654_435_761) >> 30 < 2 {
                queue.push(Port(next));
                if model.len() < 3 {
                    model.push_back(Port(next));
                }
                next += 1;
            } else {
                assert_eq!(queue.pop(), model.pop_front());
            }
            assert_eq!(queue.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn a_port_that_is_closed_leaves_the_others_in_order() {
        for first in 0..4 {
            let mut queue = Queue::new(vec![0; 4]);
            for _ in 0..first {
                queue.push(Port(9));
                assert_eq!(queue.pop(), Some(Port(9)));
            }
            for port in 1..=4 {
                queue.push(Port(port));
            }
            queue.remove(Port(2));
            queue.remove(Port(7));
            let left: Vec<_> = core::iter::from_fn(|| queue.pop()).collect();
            assert_eq!(left, [Port(1), Port(3), Port(4)]);
            assert!(!queue.has_overflowed());
        }
    }

    #[test]
    fn a_queue_without_room_says_so_until_it_is_cleared() {
        let mut queue = Queue::new(Vec::new());
        queue.push(Port(1));
        assert!(queue.has_overflowed() && queue.pop().is_none());
        let mut queue = Queue::new(vec![0; 2]);
        for port in 1..=2 {
            queue.push(Port(port));
            assert!(!queue.has_overflowed());
        }
        queue.push(Port(3));
        assert!(queue.has_overflowed());
        assert_eq!(queue.pop(), Some(Port(1)));
        assert!(queue.has_overflowed());
        queue.clear();
        assert!(queue.is_empty() && !queue.has_overflowed() && queue.pop().is_none());
    }

    fn then<E>(ended: Option<E>, tell: bool) -> Then<E> {
        Then { ended, tell }
    }

    #[test]
    fn a_port_stays_masked_until_it_is_written_back() {
        let mut held = Held::Nothing;
        assert_eq!(held.written(), then(None, false));
        assert_eq!(held.fired(1), then(None, true));
        assert_eq!(held.written(), then(Some(1), false));
        assert_eq!(held.written(), then(None, false));
    }

    /// An event that comes before the first was ended is told after that, once, however many came.
    #[test]
    fn an_event_that_comes_early_is_not_lost() {
        let mut held = Held::Nothing;
        assert_eq!(held.fired(1), then(None, true));
        assert_eq!(held.fired(2), then(Some(1), false));
        assert_eq!(held.fired(3), then(Some(2), false));
        assert_eq!(held.written(), then(None, true));
        assert_eq!(held.written(), then(Some(3), false));
    }
}
