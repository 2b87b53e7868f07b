// SPDX-License-Identifier: GPL-2.0

//! How a packet to send is laid out in slots.
//!
//! A slot either lends the backend a page of the packet, or names a page of ours that a piece was copied to. Small pieces
//! are copied to *cells*, which stay granted: that costs less than a grant, and shows the backend nothing else that lies
//! in the packet's page. What the backend must never see is a packet of too many slots, or one whose first slot has no
//! whole Ethernet header: Linux's netback takes the device down for it.

use super::{
    ETHERNET_HEADER,
    MAX_PACKET_SLOTS,
    MAX_TX_SIZE,
    PAGE_SIZE, //
};

/// Bytes of a cell: as many as netback copies from the front of each packet, so that it maps nothing for these.
pub const CELL: usize = 128;

/// Cells in a page.
pub const CELLS_IN_PAGE: usize = PAGE_SIZE / CELL;

/// What the layout depends on besides the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The backend takes packets of several slots.
    pub sg: bool,
    /// The backend may see whatever lies in the pages of a packet.
    pub trusted: bool,
}

/// Where a packet lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// All its bytes.
    pub len: usize,
    /// Bytes in its head, which is in one piece.
    pub head: usize,
    /// Where the head begins in its page.
    pub offset: usize,
}

/// How a packet is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// All of it is copied to one cell.
    Cell,
    /// All of it is copied to pages of its own, so many.
    Pages(usize),
    /// The first `front` bytes are copied to a cell, if any; the rest is lent where it lies. `slots` in all.
    Lend {
        /// 0 or [`CELL`].
        front: usize,
        /// Slots, that of the cell included.
        slots: usize,
    },
}

/// Why a packet cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It has no Ethernet header, or is longer than a slot can say.
    Length,
    /// It does not fit the one slot that the backend takes.
    Slots,
}

impl Terms {
    /// Lays a packet out. `rest` gives the slots that it takes to lend what lies behind so many bytes of its front.
    ///
    /// # Errors
    ///
    /// [`Unfit`] if the packet cannot be sent at all.
    pub fn plan(self, shape: &Shape, rest: impl Fn(usize) -> usize) -> Result<Plan, Unfit> {
        let Shape { len, head, offset } = *shape;
        if !(ETHERNET_HEADER..=MAX_TX_SIZE).contains(&len) {
            return Err(Unfit::Length);
        }
        if len <= CELL {
            return Ok(Plan::Cell);
        }
        if self.trusted {
            let in_page = PAGE_SIZE.saturating_sub(offset % PAGE_SIZE);
            let front = if head.min(in_page) < CELL { CELL } else { 0 };
            let slots = rest(front).saturating_add(usize::from(front != 0));
            let most = if self.sg { MAX_PACKET_SLOTS } else { 1 };
            if slots <= most {
                return Ok(Plan::Lend { front, slots });
            }
        }
        let pages = len.div_ceil(PAGE_SIZE);
        if pages > 1 && !self.sg {
            return Err(Unfit::Slots);
        }
        Ok(Plan::Pages(pages))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tx::count_pieces, //
        *,
    };

    const BEST: Terms = Terms {
        sg: true,
        trusted: true,
    };

    /// A packet of these runs, each with its offset, the first one being the head.
    fn plan(terms: Terms, runs: &[(usize, usize)]) -> Result<Plan, Unfit> {
        let (offset, head) = runs[0];
        let len = runs.iter().map(|run| run.1).sum();
        terms.plan(&Shape { len, head, offset }, |front| slots(runs, front))
    }

    fn slots(runs: &[(usize, usize)], mut front: usize) -> usize {
        let mut slots = 0;
        for (offset, len) in runs {
            let skip = front.min(*len);
            front -= skip;
            slots += count_pieces(offset + skip, len - skip);
        }
        slots
    }

    #[test]
    fn small_packets_go_to_a_cell() {
        for terms in [true, false].map(|trusted| Terms {
            sg: trusted,
            trusted,
        }) {
            for len in [14, 60, 127, 128] {
                assert_eq!(plan(terms, &[(4090, len)]), Ok(Plan::Cell));
            }
            assert_ne!(plan(terms, &[(0, 129)]), Ok(Plan::Cell));
        }
    }

    #[test]
    fn what_no_slot_can_say_is_refused() {
        assert_eq!(plan(BEST, &[(0, 13)]), Err(Unfit::Length));
        assert_eq!(plan(BEST, &[(0, 100), (0, 65436)]), Err(Unfit::Length));
        assert!(plan(BEST, &[(0, 100), (0, 65435)]).is_ok());
    }

    #[test]
    fn a_head_that_is_large_enough_is_lent() {
        assert_eq!(
            plan(BEST, &[(64, 1514)]),
            Ok(Plan::Lend { front: 0, slots: 1 })
        );
        // The first slot still holds all that netback looks at.
        assert_eq!(
            plan(BEST, &[(3968, 1514)]),
            Ok(Plan::Lend { front: 0, slots: 2 })
        );
    }

    #[test]
    fn a_short_front_goes_to_a_cell() {
        assert_eq!(
            plan(BEST, &[(3969, 1514)]),
            Ok(Plan::Lend {
                front: CELL,
                slots: 2
            })
        );
        assert_eq!(
            plan(BEST, &[(64, 66), (0, 4096)]),
            Ok(Plan::Lend {
                front: CELL,
                slots: 2
            })
        );
        // What a cell takes may end a fragment, and the head may hold not even an Ethernet header.
        assert_eq!(
            plan(BEST, &[(64, 13), (0, 115), (0, 10)]),
            Ok(Plan::Lend {
                front: CELL,
                slots: 2
            })
        );
    }

    #[test]
    fn a_packet_in_too_many_pieces_is_copied() {
        let mut runs = vec![(0, 200)];
        runs.extend([(4000, 200); 8]);
        assert_eq!(
            plan(BEST, &runs),
            Ok(Plan::Lend {
                front: 0,
                slots: 17
            })
        );
        runs.push((4000, 200));
        assert_eq!(plan(BEST, &runs), Ok(Plan::Pages(1)));
    }

    #[test]
    fn one_slot_is_all_that_some_backends_take() {
        let terms = Terms { sg: false, ..BEST };
        assert_eq!(
            plan(terms, &[(0, 1514)]),
            Ok(Plan::Lend { front: 0, slots: 1 })
        );
        assert_eq!(plan(terms, &[(4000, 1514)]), Ok(Plan::Pages(1)));
        assert_eq!(plan(terms, &[(3500, 1514)]), Ok(Plan::Pages(1)));
        assert_eq!(plan(terms, &[(0, 66), (0, 4000)]), Ok(Plan::Pages(1)));
        assert_eq!(plan(terms, &[(0, 66), (0, 4096)]), Err(Unfit::Slots));
    }

    #[test]
    fn a_backend_that_is_not_trusted_sees_copies_only() {
        let terms = Terms {
            trusted: false,
            ..BEST
        };
        assert_eq!(plan(terms, &[(0, 1514)]), Ok(Plan::Pages(1)));
        assert_eq!(plan(terms, &[(0, 66), (0, 65469)]), Ok(Plan::Pages(16)));
    }

    /// Every packet that the stack can make gets a plan within the limits.
    #[test]
    fn no_plan_is_beyond_the_limits() {
        for offset in [0, 1, 3967, 3968, 3969, 4082, 4083, 4095] {
            for head in [1, 13, 14, 66, 127, 128, 129, 256, 4096] {
                for at in [0, 1, 2048, 4095, 4097] {
                    for len in [0, 1, 61, 62, 63, 115, 2048, 4096, 8192, 30000] {
                        for count in [0, 1, 2, 9, 17] {
                            let mut runs = vec![(offset, head)];
                            runs.extend(std::iter::repeat_n((at, len), count));
                            check(&runs);
                        }
                    }
                }
            }
        }
    }

    fn check(runs: &[(usize, usize)]) {
        let len: usize = runs.iter().map(|run| run.1).sum();
        match plan(BEST, runs) {
            Ok(Plan::Cell) => assert!(len <= CELL),
            Ok(Plan::Pages(pages)) => {
                assert!(pages <= MAX_PACKET_SLOTS && pages * PAGE_SIZE >= len)
            }
            Ok(Plan::Lend { front, slots }) => {
                assert!(slots <= MAX_PACKET_SLOTS && front <= len);
                let first = match front {
                    0 => runs[0].1.min(PAGE_SIZE - runs[0].0 % PAGE_SIZE),
                    _ => front,
                };
                assert!(first >= ETHERNET_HEADER, "{runs:?}");
                assert_eq!(slots, self::slots(runs, front) + usize::from(front != 0));
            }
            Err(_) => assert!(!(ETHERNET_HEADER..=MAX_TX_SIZE).contains(&len)),
        }
    }
}
