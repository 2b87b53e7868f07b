// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/gntalloc`: what a program asks.

use super::{
    command,
    notify::Notify, //
};
use core::mem::size_of;

/// What a program asks of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Pages for another domain ([`Alloc`]).
    Alloc,
    /// No more of them, once they are not mapped here either ([`Dealloc`]).
    Dealloc,
    /// What the other domain is to see then ([`Notify`]).
    SetNotify,
}

impl Command {
    /// All of them, with their numbers.
    pub const ALL: [(u32, Self); 3] = [
        // The structure has room for a first reference, and is as long as its alignment makes it.
        (command(b'G', 5, size_of::<Alloc>() + 8), Self::Alloc),
        (command(b'G', 6, size_of::<Dealloc>()), Self::Dealloc),
        (command(b'G', 7, size_of::<Notify>()), Self::SetNotify),
    ];

    /// The command of a number.
    pub fn from_number(number: u32) -> Option<Self> {
        super::find(&Self::ALL, number)
    }
}

/// In [`Alloc::flags`]: the other domain may write (`GNTALLOC_FLAG_WRITABLE`).
pub const WRITABLE: u16 = 1;

crate::shared::wire! {
    /// `ioctl_gntalloc_alloc_gref`, up to the references, of which there are `count` behind it.
    pub struct Alloc {
        /// In: the domain.
        pub domain: u16,
        /// In: [`WRITABLE`].
        pub flags: u16,
        /// In: how many pages.
        pub count: u32,
        /// Out: where they are in the file.
        pub index: u64,
    }

    /// `ioctl_gntalloc_dealloc_gref`.
    pub struct Dealloc {
        /// Where they are in the file.
        pub index: u64,
        /// How many pages.
        pub count: u32,
        /// Padding.
        pub pad: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_one_command() {
        for (number, command) in Command::ALL {
            assert_eq!(Command::from_number(number), Some(command));
        }
        for number in [0, u32::MAX, 0x0018_4700, 0x4018_4705] {
            assert_eq!(Command::from_number(number), None);
        }
    }
}
