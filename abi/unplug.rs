// SPDX-License-Identifier: GPL-2.0

//! Asking the device model to take away the devices that it emulates.
//!
//! Implements the protocol of Xen's document `hvm-emulated-unplug.pandoc` and the product numbers of its public header
//! `hvm/pvdrivers.h`.

/// Where the protocol's ports begin, and the offsets in there.
pub const BASE: u16 = 0x10;
/// Offset of the 16-bit magic number (read), of the mask of devices to unplug (16-bit write) and of the build number of
/// the drivers (32-bit write).
pub const MAGIC: u16 = 0;
/// Offset of the 8-bit version of the protocol (read), and of the product number of the drivers (16-bit write).
pub const VERSION: u16 = 2;

/// What is read at [`MAGIC`] when the protocol is there.
pub const PRESENT: u16 = 0x49d2;

/// The number that the registry has for drivers without one.
pub const PRODUCT: u16 = 0xffff;

/// A set of kinds of emulated devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// None.
    pub const NONE: Self = Self(0);
    /// IDE and SCSI disks.
    pub const DISKS: Self = Self(1);
    /// Network cards.
    pub const NICS: Self = Self(2);
    /// IDE disks other than the first.
    pub const AUX_DISKS: Self = Self(4);
    /// NVMe disks.
    pub const NVME: Self = Self(8);
    /// Every one.
    pub const ALL: Self = Self(15);

    /// Kinds in either set.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Kinds that are not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Tells whether one of `other` is in the set.
    pub const fn any_of(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The mask that the device model takes.
    pub const fn mask(self) -> u16 {
        self.0
    }

    /// Reads `all`, `none`, or a list of `disks`, `nics`, `aux-disks` and `nvme` with commas.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').try_fold(Self::NONE, |kinds, word| {
            Some(kinds.and(match word.trim() {
                "all" => Self::ALL,
                "none" => Self::NONE,
                "disks" => Self::DISKS,
                "nics" => Self::NICS,
                "aux-disks" => Self::AUX_DISKS,
                "nvme" => Self::NVME,
                _ => return None,
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(Kinds::parse("all"), Some(Kinds::ALL));
        assert_eq!(Kinds::parse("none"), Some(Kinds::NONE));
        assert_eq!(
            Kinds::parse("disks, nvme"),
            Some(Kinds::DISKS.and(Kinds::NVME))
        );
        assert_eq!(Kinds::parse("nics,aux-disks").map(Kinds::mask), Some(6));
        assert_eq!(Kinds::parse(""), None);
        assert_eq!(Kinds::parse("floppy"), None);
        assert_eq!(Kinds::parse("nics,"), None);
    }

    #[test]
    fn sets() {
        let rest = Kinds::ALL.without(Kinds::NICS);
        assert_eq!(rest.mask(), 13);
        assert!(!rest.any_of(Kinds::NICS));
        assert!(rest.any_of(Kinds::DISKS.and(Kinds::NICS)));
    }
}
