// SPDX-License-Identifier: GPL-2.0

//! On which CPU a port fires.

/// A CPU that a port could go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub cpu: u32,
    /// Whether it takes upcalls and stays. A CPU that comes up has no control block at first, and one that goes down takes no
    /// upcall any more: an event for either is lost.
    pub is_ready: bool,
    /// How many ports fire on it.
    pub ports: u32,
}

/// The CPU with the fewest ports among those that are ready.
pub fn choose(candidates: impl Iterator<Item = Candidate>) -> Option<u32> {
    candidates
        .filter(|candidate| candidate.is_ready)
        .min_by_key(|candidate| candidate.ports)
        .map(|candidate| candidate.cpu)
}

/// Where a port fires. The caller holds the port's lock, from the choice on until Xen and the irq core know: of two that move it
/// at once, the second chooses when the first is done, and sees which CPUs are ready by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    cpu: u32,
    /// Which CPU has asked for the last events, and how many they were.
    asker: (u32, u8),
}

/// So many events in a row have a port follow the CPU that asks for them. A thread that moves has its events back soon; two that
/// take turns cost no hypercall.
const FOLLOW: u8 = 2;

impl Place {
    /// A port that fires on `cpu`.
    pub const fn new(cpu: u32) -> Self {
        Self {
            cpu,
            asker: (cpu, 0),
        }
    }

    /// The CPU that it fires on.
    pub const fn cpu(self) -> u32 {
        self.cpu
    }

    /// An event brings what CPU `asker` has asked for. Returns whether it is time to go there.
    #[must_use = "the port does not move by itself"]
    pub fn asked_by(&mut self, asker: u32) -> bool {
        let events = match self.asker {
            (last, events) if last == asker => events.saturating_add(1),
            _ => 1,
        };
        let enough = asker != self.cpu && events >= FOLLOW;
        self.asker = (asker, if enough { 0 } else { events });
        enough
    }

    /// Moves to the CPU that is chosen, by `bind`. Returns where it was.
    ///
    /// # Errors
    ///
    /// Those of `choose` and `bind`: it stays where it is.
    pub fn go<E>(
        &mut self,
        choose: impl FnOnce() -> Result<u32, E>,
        bind: impl FnOnce(u32) -> Result<(), E>,
    ) -> Result<u32, E> {
        let cpu = choose()?;
        bind(cpu)?;
        Ok(core::mem::replace(&mut self.cpu, cpu))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_stays_where_it_is_when_it_cannot_move() {
        let mut place = Place::new(2);
        assert_eq!(place.go(|| Err("none"), |_| Ok(())), Err("none"));
        assert_eq!(place.go(|| Ok(3), |_| Err("refused")), Err("refused"));
        assert_eq!(place.cpu(), 2);
        assert_eq!(place.go(|| Ok::<_, ()>(3), |_| Ok(())), Ok(2));
        assert_eq!(place.cpu(), 3);
    }

    /// How many events of `askers` in turn it takes until the port is to move, if at all.
    fn moves_after(place: &mut Place, askers: &[u32]) -> Option<usize> {
        let mut askers = askers.iter().cycle().take(1000);
        askers.position(|asker| place.asked_by(*asker))
    }

    #[test]
    fn a_port_follows_one_that_asks_again_and_again() {
        let mut place = Place::new(1);
        assert_eq!(moves_after(&mut place, &[1]), None);
        assert_eq!(moves_after(&mut place, &[2]), Some(1));
        assert_eq!(
            moves_after(&mut place, &[2]),
            Some(1),
            "when it could not go"
        );
        assert_eq!(place.go(|| Ok::<_, ()>(2), |_| Ok(())), Ok(1));
        assert_eq!(moves_after(&mut place, &[2]), None);
        assert_eq!(moves_after(&mut place, &[1, 2]), None);
        assert_eq!(moves_after(&mut place, &[1, 3]), None);
    }

    fn of(cpus: &[(u32, bool, u32)]) -> Option<u32> {
        choose(cpus.iter().map(|(cpu, is_ready, ports)| Candidate {
            cpu: *cpu,
            is_ready: *is_ready,
            ports: *ports,
        }))
    }

    #[test]
    fn the_least_loaded_is_taken() {
        assert_eq!(of(&[(0, true, 5), (3, true, 2), (4, true, 9)]), Some(3));
        assert_eq!(of(&[(2, true, 1), (3, true, 1)]), Some(2));
        assert_eq!(of(&[]), None);
    }

    /// One that leaves has the fewest ports of all.
    #[test]
    fn a_cpu_that_is_not_ready_attracts_no_port() {
        assert_eq!(of(&[(0, true, 5), (1, false, 0)]), Some(0));
        assert_eq!(of(&[(1, false, 0)]), None);
    }
}
