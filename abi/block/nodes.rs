// SPDX-License-Identifier: GPL-2.0

//! How many xenstore nodes the disks of a guest take.
//!
//! A guest may own so many nodes (1000, unless xenstored is told otherwise), and each page of a ring and each queue takes
//! some. So a disk gets no more than its share: with many disks the rings are smaller and the queues fewer than with a
//! few.

use super::features::Agreed;

/// Nodes that all disks may take together; what is left is for other devices and for programs.
const ALL: u32 = 800;

/// Nodes of a disk that the toolstack makes: the folder, `backend`, `backend-id`, `state`, `virtual-device`,
/// `device-type`, and one more.
const GIVEN: u32 = 7;

/// Nodes of a connection with one queue and a ring of one page: `protocol`, `feature-persistent`, `ring-ref` and
/// `event-channel`.
pub const LEAST: u32 = 4;

/// Nodes of the disks that have published a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// So many disks.
    pub disks: u32,
    /// So many nodes, without those that the toolstack makes.
    pub nodes: u32,
}

impl Taken {
    /// Returns how many nodes one disk more may take for its connection, of `disks` in all.
    ///
    /// It is an equal part of what is left when as many disks again have the least, and never below [`LEAST`].
    pub fn share(&self, disks: u32) -> u32 {
        let waiting = disks.saturating_sub(self.disks).max(1);
        let all = self.disks.saturating_add(waiting);
        let given = all.saturating_mul(GIVEN);
        let least = waiting.saturating_mul(LEAST);
        let to_come = all.saturating_mul(GIVEN + LEAST);
        let needed = [given, least, to_come, self.nodes]
            .into_iter()
            .fold(0, u32::saturating_add);
        let left = ALL.saturating_sub(needed);
        let part = left.checked_div(waiting.saturating_add(1)).unwrap_or(0);
        LEAST.saturating_add(part)
    }
}

impl Agreed {
    /// Returns how many nodes the connection takes.
    pub fn nodes(&self) -> u32 {
        let pages = u32::try_from(self.ring_pages()).unwrap_or(u32::MAX);
        // ring-page-order, num-ring-pages
        let named = [self.ring_order() > 0, self.old_rings()];
        let size = named.map(u32::from).iter().sum::<u32>();
        let queue = pages.saturating_add(1);
        if self.queues() == 1 {
            return queue.saturating_add(size).saturating_add(2);
        }
        // multi-queue-num-queues, too, and each queue has a folder.
        u32::from(self.queues())
            .saturating_mul(queue.saturating_add(1))
            .saturating_add(size)
            .saturating_add(3)
    }

    /// The same, with smaller rings and then with fewer queues, until it takes `most` nodes at most. One queue with a ring
    /// of one page is left in any case.
    pub fn within(mut self, most: u32) -> Self {
        while self.nodes() > most {
            match self.smaller() {
                Some(smaller) => self = smaller,
                None => break,
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::features::{
        Offer,
        Wanted, //
    };

    fn agreed(queues: u16, ring_order: u8) -> Agreed {
        let offer = Offer {
            max_queues: Some(queues.into()),
            max_ring_page_order: Some(ring_order.into()),
            ..Offer::default()
        };
        let wanted = Wanted {
            queues,
            ring_order,
            ..Wanted::default()
        };
        Agreed::settle(&offer, &wanted)
    }

    /// Connects so many disks, which are all known from the start, or come one by one. Returns what each has, and the
    /// nodes of all of them.
    fn connect(disks: u32, known: bool, most: Agreed) -> (std::vec::Vec<(u16, u8)>, u32) {
        let mut taken = Taken::default();
        let each = (1..=disks)
            .map(|at| {
                let agreed = most.within(taken.share(if known { disks } else { at }));
                taken.disks += 1;
                taken.nodes += agreed.nodes();
                (agreed.queues(), agreed.ring_order())
            })
            .collect();
        (each, taken.nodes + disks * GIVEN)
    }

    #[test]
    fn nodes_are_those_that_are_published() {
        let nodes = |queues, order| agreed(queues, order).nodes();
        assert_eq!([0, 1, 2, 4].map(|order| nodes(1, order)), [4, 6, 8, 20]);
        assert_eq!([0, 1, 2].map(|order| nodes(4, order)), [15, 20, 28]);
        assert_eq!(nodes(16, 4), 292);
        let old = Offer {
            max_ring_pages: Some(4),
            ..Offer::default()
        };
        let wanted = Wanted {
            ring_order: 2,
            ..Wanted::default()
        };
        assert_eq!(Agreed::settle(&old, &wanted).nodes(), 9);
    }

    #[test]
    fn a_few_disks_have_all_that_they_want() {
        let (each, all) = connect(8, true, agreed(4, 2));
        assert_eq!(each, [(4, 2); 8]);
        assert_eq!(all, 8 * 35);
        let (each, _) = connect(4, false, agreed(16, 2));
        assert_eq!(each, [(16, 2); 4]);
    }

    #[test]
    fn queues_come_before_pages() {
        let (each, _) = connect(12, true, agreed(16, 2));
        assert!(
            each.iter()
                .all(|(queues, order)| *queues > 1 || *order == 0),
            "{each:?}"
        );
        assert_eq!(each[0], (14, 0));
    }

    #[test]
    fn many_disks_have_a_place_each() {
        // So many that come one by one. Beyond them there are those that xenstored allows above our limit.
        for (most, one_by_one) in [(agreed(1, 2), 60), (agreed(4, 2), 36), (agreed(16, 2), 17)] {
            for (known, disks) in [(true, 72), (false, one_by_one)] {
                for disks in 1..=disks {
                    let (each, all) = connect(disks, known, most);
                    assert!(all <= ALL, "{disks}: {all} {each:?}");
                }
            }
        }
        // No more is to be done for more of them.
        let (each, _) = connect(200, true, agreed(16, 4));
        assert_eq!(each[199], (1, 0));
    }

    #[test]
    fn numbers_that_cannot_be_are_borne() {
        let taken = Taken {
            disks: u32::MAX,
            nodes: u32::MAX,
        };
        assert_eq!(taken.share(0), LEAST);
        assert_eq!(taken.share(u32::MAX), LEAST);
        assert_eq!(Taken::default().share(u32::MAX), LEAST);
        assert_eq!(agreed(16, 4).within(0), agreed(1, 0));
    }
}
