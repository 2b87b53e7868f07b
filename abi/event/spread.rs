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
pub struct Place(u32);

impl Place {
    /// A port that fires on `cpu`.
    pub const fn new(cpu: u32) -> Self {
        Self(cpu)
    }

    /// The CPU that it fires on.
    pub const fn cpu(self) -> u32 {
        self.0
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
        Ok(core::mem::replace(&mut self.0, cpu))
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
