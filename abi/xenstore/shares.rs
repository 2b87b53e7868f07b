// SPDX-License-Identifier: GPL-2.0

//! How the kernel and the programs of a guest share what the xenstore allows a domain.
//!
//! The server has one quota for the domain. A program that used all of it up would leave no transaction, no watch and no
//! request to the kernel's own devices, so each of the two has a limit that leaves something to the other.

/// Transactions of a domain that the server allows at once.
pub const TRANSACTIONS: usize = 10;

/// Who uses the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The kernel.
    Kernel,
    /// A program, by `/dev/xen/xenbus`.
    Program,
}

/// All places that this user may have are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Places of one kind, and how many of them are taken.
///
/// # Invariants
///
/// `kernel <= kernel_max`, `programs <= programs_max` and `kernel + programs <= total`.
#[derive(Debug)]
pub struct Shares {
    total: usize,
    kernel_max: usize,
    programs_max: usize,
    kernel: usize,
    programs: usize,
}

impl Shares {
    /// Makes `total` places, of which the kernel may have `kernel_max` and all programs together `programs_max`.
    pub const fn new(total: usize, kernel_max: usize, programs_max: usize) -> Self {
        Self {
            total,
            kernel_max,
            programs_max,
            kernel: 0,
            programs: 0,
        }
    }

    /// Transactions: xenstored allows a domain [`TRANSACTIONS`] (`--transaction`).
    pub const fn transactions() -> Self {
        Self::new(TRANSACTIONS, 6, 6)
    }

    /// Watches: xenstored allows a domain 128 (`--watch-nb`). Half of them are for programs; how many the kernel needs
    /// depends on its devices, so only the server limits it.
    pub const fn watches() -> Self {
        Self::new(usize::MAX, usize::MAX, 64)
    }

    /// Returns how many places are taken.
    pub fn taken(&self) -> usize {
        self.kernel.saturating_add(self.programs)
    }

    /// Tells whether there is a place for `user`.
    pub fn has_place(&self, user: User) -> bool {
        self.taken() < self.total
            && match user {
                User::Kernel => self.kernel < self.kernel_max,
                User::Program => self.programs < self.programs_max,
            }
    }

    fn of(&mut self, user: User) -> &mut usize {
        match user {
            User::Kernel => &mut self.kernel,
            User::Program => &mut self.programs,
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    ///
    /// [`Full`] when there is none for `user`.
    pub fn take(&mut self, user: User) -> Result<(), Full> {
        if !self.has_place(user) {
            return Err(Full);
        }
        let count = self.of(user);
        *count = count.saturating_add(1);
        Ok(())
    }

    /// Gives a place back that `user` had taken.
    pub fn give_back(&mut self, user: User) {
        let count = self.of(user);
        *count = count.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(shares: &mut Shares, user: User) -> usize {
        let mut count = 0;
        while shares.take(user).is_ok() {
            count += 1;
        }
        count
    }

    #[test]
    fn neither_user_takes_all_transactions() {
        for (first, second) in [(User::Kernel, User::Program), (User::Program, User::Kernel)] {
            let mut shares = Shares::transactions();
            let (a, b) = (take_all(&mut shares, first), take_all(&mut shares, second));
            assert_eq!(a + b, TRANSACTIONS);
            assert!(b >= 4, "{b} left");
        }
    }

    #[test]
    fn programs_leave_watches_to_the_kernel() {
        let mut shares = Shares::watches();
        assert_eq!(take_all(&mut shares, User::Program), 64);
        for _ in 0..64 {
            assert_eq!(shares.take(User::Kernel), Ok(()));
        }
    }

    #[test]
    fn a_place_given_back_can_be_taken_by_the_same_user() {
        let mut shares = Shares::new(4, 3, 2);
        assert_eq!(take_all(&mut shares, User::Program), 2);
        assert_eq!(take_all(&mut shares, User::Kernel), 2);
        assert_eq!(shares.taken(), 4);
        shares.give_back(User::Kernel);
        assert_eq!(shares.take(User::Program), Err(Full));
        assert_eq!(shares.take(User::Kernel), Ok(()));
        shares.give_back(User::Program);
        assert_eq!(shares.take(User::Kernel), Ok(()));
        assert_eq!(shares.take(User::Kernel), Err(Full));
        assert_eq!(shares.take(User::Program), Err(Full));
    }
}
