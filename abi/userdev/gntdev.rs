// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/gntdev`: what a program asks.

use super::{
    command,
    domain,
    notify::Notify, //
};
use crate::types::{
    DomainId,
    GrantRef,
    PAGE_SIZE, //
};
use core::mem::size_of;

/// What a program asks of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A place for pages of other domains ([`Map`]), which are mapped with it.
    Map,
    /// No more of them, once they are not mapped here either ([`Unmap`]).
    Unmap,
    /// Where pages at an address are in the file ([`Find`]).
    Find,
    /// How many pages there can be ([`SetMost`]).
    SetMost,
    /// What the other domain is to see when they are let go ([`Notify`]).
    SetNotify,
    /// Copies to and from pages of other domains ([`Segments`]).
    Copy,
}

impl Command {
    /// All of them, with their numbers. Those for DMA buffers are not there.
    pub const ALL: [(u32, Self); 6] = [
        // The structure has room for a first reference.
        (
            command(b'G', 0, size_of::<Map>() + size_of::<Ref>()),
            Self::Map,
        ),
        (command(b'G', 1, size_of::<Unmap>()), Self::Unmap),
        (command(b'G', 2, size_of::<Find>()), Self::Find),
        (command(b'G', 3, size_of::<SetMost>()), Self::SetMost),
        (command(b'G', 7, size_of::<Notify>()), Self::SetNotify),
        (command(b'G', 8, size_of::<Segments>()), Self::Copy),
    ];

    /// The command of a number.
    pub fn from_number(number: u32) -> Option<Self> {
        super::find(&Self::ALL, number)
    }
}

/// In [`Segment::flags`]: the source is a page of another domain (`GNTCOPY_source_gref`).
pub const SOURCE_FOREIGN: u16 = 1;
/// In [`Segment::flags`]: so is the target (`GNTCOPY_dest_gref`).
pub const TARGET_FOREIGN: u16 = 2;
const BOTH_FOREIGN: u16 = SOURCE_FOREIGN | TARGET_FOREIGN;

crate::shared::wire! {
    /// `ioctl_gntdev_map_grant_ref`, up to the references, of which there are `count` behind it.
    pub struct Map {
        /// In: how many.
        pub count: u32,
        /// Padding.
        pub pad: u32,
        /// Out: where they are in the file.
        pub index: u64,
    }

    /// `ioctl_gntdev_grant_ref`.
    pub struct Ref {
        /// The domain.
        pub domain: u32,
        /// Its reference.
        pub gref: GrantRef,
    }

    /// `ioctl_gntdev_unmap_grant_ref`.
    pub struct Unmap {
        /// Where they are in the file.
        pub index: u64,
        /// How many.
        pub count: u32,
        /// Padding.
        pub pad: u32,
    }

    /// `ioctl_gntdev_get_offset_for_vaddr`.
    pub struct Find {
        /// In: the address of the first.
        pub address: u64,
        /// Out: where they are in the file.
        pub index: u64,
        /// Out: how many.
        pub count: u32,
        /// Padding.
        pub pad: u32,
    }

    /// `ioctl_gntdev_set_max_grants`.
    pub struct SetMost {
        /// How many.
        pub count: u32,
    }

    /// `ioctl_gntdev_grant_copy`.
    pub struct Segments {
        /// How many segments.
        pub count: u32,
        /// Padding.
        pub pad: u32,
        /// The address of the first.
        pub segments: u64,
    }

    /// `gntdev_grant_copy_segment`.
    pub struct Segment {
        /// An address, or a place in a page of another domain.
        pub source: u64,
        /// An address, or a place in a page of another domain.
        pub target: u64,
        /// How many bytes.
        pub length: u16,
        /// [`SOURCE_FOREIGN`], [`TARGET_FOREIGN`].
        pub flags: u16,
        /// Out: what Xen says.
        pub status: i16,
        /// Padding.
        pub pad: u16,
    }
}

impl Ref {
    /// The domain, if there can be such a one.
    pub fn domain(&self) -> Option<DomainId> {
        domain(self.domain)
    }
}

/// A place in a page of another domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The domain.
    pub domain: DomainId,
    /// Its reference.
    pub gref: GrantRef,
    /// The first byte in the page.
    pub offset: u16,
}

impl Foreign {
    /// The place that a word of a segment names, with so many bytes behind it in its page.
    fn new(word: u64, length: u16) -> Option<Self> {
        let [g0, g1, g2, g3, o0, o1, d0, d1] = word.to_le_bytes();
        let offset = u16::from_le_bytes([o0, o1]);
        let end = usize::from(offset).checked_add(length.into())?;
        (end <= PAGE_SIZE).then_some(Self {
            domain: domain(u16::from_le_bytes([d0, d1]).into())?,
            gref: GrantRef(u32::from_le_bytes([g0, g1, g2, g3])),
            offset,
        })
    }
}

/// What a segment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a page of another domain to an address.
    In(Foreign, u64),
    /// From an address to a page of another domain.
    Out(u64, Foreign),
    /// From one page of another domain to another.
    Across(Foreign, Foreign),
}

impl Segment {
    /// What it asks for; nothing if both ends are the program's, or one goes over the end of a page.
    pub fn way(&self) -> Option<Way> {
        let foreign = |word| Foreign::new(word, self.length);
        match self.flags {
            SOURCE_FOREIGN => Some(Way::In(foreign(self.source)?, self.target)),
            TARGET_FOREIGN => Some(Way::Out(self.source, foreign(self.target)?)),
            BOTH_FOREIGN => Some(Way::Across(foreign(self.source)?, foreign(self.target)?)),
            _ => None,
        }
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
        for number in [0, u32::MAX, 0x0018_4705, 0x0014_4709, 0x4018_4700] {
            assert_eq!(Command::from_number(number), None);
        }
    }

    fn segment(source: u64, target: u64, length: u16, flags: u16) -> Segment {
        Segment {
            source,
            target,
            length,
            flags,
            status: 0,
            pad: 0,
        }
    }

    #[test]
    fn a_copy_stays_inside_of_a_foreign_page() {
        let word = 0x0007_0ffe_1234_5678;
        let place = Foreign {
            domain: DomainId(7),
            gref: GrantRef(0x1234_5678),
            offset: 0xffe,
        };
        let way = |length, flags| segment(word, word, length, flags).way();
        assert_eq!(way(2, SOURCE_FOREIGN), Some(Way::In(place, word)));
        assert_eq!(way(2, TARGET_FOREIGN), Some(Way::Out(word, place)));
        assert_eq!(way(0, BOTH_FOREIGN), Some(Way::Across(place, place)));
        for flags in [SOURCE_FOREIGN, TARGET_FOREIGN, BOTH_FOREIGN] {
            assert_eq!(way(3, flags), None);
            assert_eq!(way(u16::MAX, flags), None);
        }
        for flags in [0, 4, 5, u16::MAX] {
            assert_eq!(way(2, flags), None);
        }
        // No domain has this number.
        assert_eq!(segment(0x7ff1 << 48, 0, 1, SOURCE_FOREIGN).way(), None);
    }
}
