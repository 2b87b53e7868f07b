// SPDX-License-Identifier: GPL-2.0

//! How many queues a connection has.

/// Most queues of an interface. One takes 522 grants, and a guest has 16384 to 32768 for all its devices.
pub const MAX_QUEUES: u32 = 16;

/// What limits the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Queues that the interface was made with.
    pub made: u32,
    /// Most that the backend serves, by its own word.
    pub offered: u32,
    /// What the user wants, if anything.
    pub wanted: Option<u32>,
}

impl Share {
    /// The queues of an interface in a guest that can have so many CPUs.
    pub fn made(cpus: u32) -> u32 {
        cpus.clamp(1, MAX_QUEUES)
    }

    /// Most queues that can be used.
    pub fn most(&self) -> u32 {
        self.offered.min(self.made).max(1)
    }

    /// The queues to use with so many CPUs online: one for each, unless the user wants more or less.
    pub fn count(&self, cpus: u32) -> u32 {
        self.wanted.unwrap_or(cpus).clamp(1, self.most())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Share = Share {
        made: 4,
        offered: 8,
        wanted: None,
    };

    #[test]
    fn each_cpu_has_a_queue_if_the_backend_has_so_many() {
        assert_eq!([1, 2, 4, 5].map(|cpus| ALL.count(cpus)), [1, 2, 4, 4]);
        let few = Share { offered: 2, ..ALL };
        assert_eq!([1, 2, 4].map(|cpus| few.count(cpus)), [1, 2, 2]);
        assert_eq!([0, 1, 16, 17, 4096].map(Share::made), [1, 1, 16, 16, 16]);
    }

    #[test]
    fn what_the_user_wants_is_had_as_far_as_it_can_be() {
        let wants = |wanted| Share {
            wanted: Some(wanted),
            ..ALL
        };
        assert_eq!([0, 1, 3, 9].map(|n| wants(n).count(2)), [1, 1, 3, 4]);
    }

    #[test]
    fn no_word_of_a_backend_gives_none_or_more_than_there_are() {
        for offered in [0, 1, 4, 5, u32::MAX] {
            for cpus in [0, 1, u32::MAX] {
                let count = Share { offered, ..ALL }.count(cpus);
                assert!((1..=4).contains(&count), "{offered} {cpus} {count}");
            }
        }
    }
}
