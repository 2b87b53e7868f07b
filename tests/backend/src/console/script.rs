// SPDX-License-Identifier: GPL-2.0

//! How a console backend can break the rules of its page: the lines of `docs/hostile-inputs.md` as acts.

use super::BackConsole;
use abi::console::{IN_CONS, IN_PROD, IN_SIZE, OUT_CONS, OUT_PROD, OUT_SIZE};
use abi::shared::Memory;

/// Ways to break the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostile {
    /// The index of input runs ahead by more than the ring.
    InputBeyondRing,
    /// The index of input goes back behind what was read.
    InputBackwards,
    /// The index of taken output runs ahead of what was written.
    OutputAhead,
    /// The index of taken output goes back by more than the ring.
    OutputBackwards,
    /// The frontend's own indices are written over.
    Overwritten,
}

impl Hostile {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::InputBeyondRing,
        Self::InputBackwards,
        Self::OutputAhead,
        Self::OutputBackwards,
        Self::Overwritten,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::InputBeyondRing => "console-input-beyond-ring",
            Self::InputBackwards => "console-input-backwards",
            Self::OutputAhead => "console-output-ahead",
            Self::OutputBackwards => "console-output-backwards",
            Self::Overwritten => "console-overwritten",
        }
    }

    /// The one of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hostile| hostile.name() == name)
    }
}

impl<M: Memory> BackConsole<M> {
    /// Breaks the rule once, and goes on from there.
    pub fn act(&mut self, hostile: Hostile) {
        let memory = &self.memory;
        match hostile {
            Hostile::InputBeyondRing => {
                self.in_prod = memory.load_u32(IN_CONS).wrapping_add(4 * IN_SIZE);
            }
            Hostile::InputBackwards => self.in_prod = memory.load_u32(IN_CONS).wrapping_sub(1),
            Hostile::OutputAhead => self.out_cons = memory.load_u32(OUT_PROD).wrapping_add(1),
            Hostile::OutputBackwards => {
                self.out_cons = memory.load_u32(OUT_PROD).wrapping_sub(4 * OUT_SIZE);
            }
            Hostile::Overwritten => {
                let over = self.in_prod.wrapping_add(77_777);
                if memory.load_u32(IN_CONS) == self.in_prod {
                    self.scribbled = Some(over);
                    memory.store_u32(IN_CONS, over);
                }
                memory.store_u32(OUT_PROD, self.out_cons.wrapping_add(77_777));
            }
        }
        memory.store_release_u32(IN_PROD, self.in_prod);
        memory.store_release_u32(OUT_CONS, self.out_cons);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_page;
    use abi::console::Ring;

    #[test]
    fn names_are_found_again() {
        for hostile in Hostile::ALL {
            assert_eq!(Hostile::by_name(hostile.name()), Some(hostile));
        }
        assert_eq!(Hostile::by_name("honest"), None);
    }

    #[test]
    fn a_frontend_goes_on_after_each_act() {
        for hostile in Hostile::ALL {
            with_page(|memory| {
                let mut front = Ring::attach(memory).expect("a ring");
                let mut back = BackConsole::new(memory).expect("its other half");
                assert_eq!(front.write(b"before"), Ok(6));
                assert_eq!(back.take(), b"before");
                back.act(hostile);
                let bad = front.read(&mut [0; 4]).is_err() | front.write(b"lost").is_err();
                assert_eq!(bad, hostile != Hostile::Overwritten, "{hostile:?}");
                back.take();
                assert_eq!(front.write(b"after"), Ok(5), "{hostile:?}");
                assert_eq!(back.take(), b"after", "{hostile:?}");
                assert_eq!(back.put(b"typed"), 5, "{hostile:?}");
                let mut into = [0; 9];
                assert_eq!(front.read(&mut into), Ok(5), "{hostile:?}");
                assert_eq!(&into[..5], b"typed", "{hostile:?}");
            });
        }
    }
}
