// SPDX-License-Identifier: GPL-2.0

//! Which disk a virtual device number means, and the name and minor numbers it gets in the guest.
//!
//! Xen's `xen-vbd-interface(7)` packs a kind (xvd, sd, hd), a disk and a partition into one number, in
//! two formats. Whatever the kind, the disk is an `xvd*` here, on Linux's block major 202.

use core::fmt;

/// The block major of `xvd*` disks.
pub const MAJOR: u32 = 202;

/// Longest name of a disk, in bytes: `xvd`, five letters and a partition of three digits.
pub const MAX_NAME: usize = 11;

/// Marks a number of the extended format: `1 << 28 | disk << 8 | partition`.
const EXTENDED: u32 = 1 << 28;
/// Numbers from here on are reserved.
const RESERVED: u32 = 2 << 28;
/// Minors per disk in the short format, and per disk in the extended one.
const SHORT_MINORS: u32 = 16;
const EXTENDED_MINORS: u32 = 256;
/// Linux has 20 bits of minor number.
const MINOR_LIMIT: u32 = 1 << 20;

/// IDE majors, each with two disks of 64 minors.
const IDE: [u32; 2] = [3, 22];
const IDE_MINORS: u32 = 64;
/// SCSI majors, each with sixteen disks of 16 minors.
const SCSI: [u32; 16] = [
    8, 65, 66, 67, 68, 69, 70, 71, 128, 129, 130, 131, 132, 133, 134, 135,
];

/// Why a virtual device number names no disk that we can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VbdError {
    /// The number is in a reserved range or has an unknown major.
    Unknown,
    /// The disk or the partition needs a minor number beyond Linux's.
    TooLarge,
}

impl fmt::Display for VbdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VbdError::Unknown => "virtual device number is in no known format",
            VbdError::TooLarge => "virtual device number has no room among the minor numbers",
        })
    }
}

/// A disk, or one partition of a disk that the host partitions for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vbd {
    disk: u32,
    partition: u32,
    first_minor: u32,
    minors: u32,
}

impl Vbd {
    /// Reads a virtual device number.
    ///
    /// # Errors
    ///
    /// [`VbdError`] when the number means nothing, or means a disk that has no minor numbers.
    pub fn parse(number: u32) -> Result<Self, VbdError> {
        if number >= RESERVED {
            return Err(VbdError::Unknown);
        }
        if number & EXTENDED != 0 {
            let low = number & !EXTENDED;
            return Self::build(low >> 8, low & 0xff, EXTENDED_MINORS);
        }
        let (major, minor) = (number >> 8, number & 0xff);
        if major == MAJOR {
            return Self::build(minor / SHORT_MINORS, minor % SHORT_MINORS, SHORT_MINORS);
        }
        if let Some(at) = position(&IDE, major) {
            let disk = at.wrapping_mul(2).wrapping_add(minor / IDE_MINORS);
            return Self::build(disk, minor % IDE_MINORS, SHORT_MINORS);
        }
        if let Some(at) = position(&SCSI, major) {
            let disk = at.wrapping_mul(16).wrapping_add(minor / SHORT_MINORS);
            return Self::build(disk, minor % SHORT_MINORS, SHORT_MINORS);
        }
        Err(VbdError::Unknown)
    }

    fn build(disk: u32, partition: u32, per_disk: u32) -> Result<Self, VbdError> {
        if partition >= per_disk {
            return Err(VbdError::TooLarge);
        }
        let minors = if partition == 0 { per_disk } else { 1 };
        let first_minor = disk
            .checked_mul(per_disk)
            .and_then(|base| base.checked_add(partition))
            .ok_or(VbdError::TooLarge)?;
        match first_minor.checked_add(minors) {
            Some(end) if end <= MINOR_LIMIT => Ok(Self {
                disk,
                partition,
                first_minor,
                minors,
            }),
            _ => Err(VbdError::TooLarge),
        }
    }

    /// Which partition, or 0 for the whole disk.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Whether this is a single partition, with no partition table of its own.
    pub fn is_partition(&self) -> bool {
        self.partition != 0
    }

    /// First minor number.
    pub fn first_minor(&self) -> u32 {
        self.first_minor
    }

    /// Number of minor numbers: the disk and its partitions.
    pub fn minors(&self) -> u32 {
        self.minors
    }

    /// Whether both would get the same name or share a minor number.
    ///
    /// Different numbers can: `hda`, `sda` and `xvda` are all `xvda`, and the minors of the two formats
    /// overlap.
    pub fn collides(&self, other: &Self) -> bool {
        let same_minor = self.first_minor < other.first_minor.saturating_add(other.minors)
            && other.first_minor < self.first_minor.saturating_add(self.minors);
        let same_name = self.disk == other.disk
            && (self.partition == other.partition || self.partition == 0 || other.partition == 0);
        same_minor || same_name
    }
}

impl fmt::Display for Vbd {
    /// Writes the name of the disk, such as `xvda`, `xvdaa` or `xvdb2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Letters count like numbers without a zero: z is followed by aa.
        let mut letters = ['a'; 8];
        let mut count = 0usize;
        let mut rest = self.disk;
        for slot in letters.iter_mut() {
            *slot = char::from(b'a'.wrapping_add((rest % 26) as u8));
            count = count.saturating_add(1);
            rest /= 26;
            if rest == 0 {
                break;
            }
            rest = rest.wrapping_sub(1);
        }
        f.write_str("xvd")?;
        for letter in letters.iter().take(count).rev() {
            fmt::Write::write_char(f, *letter)?;
        }
        if self.partition != 0 {
            write!(f, "{}", self.partition)?;
        }
        Ok(())
    }
}

fn position(majors: &[u32], major: u32) -> Option<u32> {
    let at = majors.iter().position(|&m| m == major)?;
    u32::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u32) -> String {
        Vbd::parse(number).unwrap().to_string()
    }

    #[test]
    fn names_of_the_short_format() {
        assert_eq!(name(51712), "xvda");
        assert_eq!(name(51713), "xvda1");
        assert_eq!(name(51728), "xvdb");
        assert_eq!(name(202 << 8 | 15 << 4 | 15), "xvdp15");
    }

    #[test]
    fn names_of_the_extended_format() {
        assert_eq!(name(1 << 28 | 16 << 8), "xvdq");
        assert_eq!(name(1 << 28 | 25 << 8), "xvdz");
        assert_eq!(name(1 << 28 | 26 << 8), "xvdaa");
        assert_eq!(name(1 << 28 | 536 << 8 | 37), "xvdtq37");
        assert_eq!(name(1 << 28 | 701 << 8), "xvdzz");
        assert_eq!(name(1 << 28 | 702 << 8), "xvdaaa");
        assert_eq!(name(1 << 28 | 16), "xvda16");
    }

    #[test]
    fn ide_and_scsi_numbers_become_xvd() {
        assert_eq!(name(768), "xvda");
        assert_eq!(name(832), "xvdb");
        assert_eq!(name(5632), "xvdc");
        assert_eq!(name(5696), "xvdd");
        assert_eq!(name(5632 + 2), "xvdc2");
        assert_eq!(name(2048), "xvda");
        assert_eq!(name(2051), "xvda3");
        assert_eq!(name(65 << 8), "xvdq");
        assert_eq!(name(135 << 8 | 15 << 4), "xvdiv");
    }

    #[test]
    fn partitions_are_told_from_disks() {
        let parts = |number| {
            let vbd = Vbd::parse(number).unwrap();
            (vbd.disk, vbd.partition(), vbd.is_partition())
        };
        assert_eq!(parts(51728), (1, 0, false));
        assert_eq!(parts(51747), (2, 3, true));
        assert_eq!(parts(1 << 28 | 16 << 8 | 5), (16, 5, true));
    }

    #[test]
    fn minors_follow_the_format() {
        let minors = |n| {
            Vbd::parse(n)
                .map(|v| (v.first_minor(), v.minors()))
                .unwrap()
        };
        assert_eq!(minors(51712), (0, 16));
        assert_eq!(minors(51728), (16, 16));
        assert_eq!(minors(51729), (17, 1));
        assert_eq!(minors(1 << 28 | 16 << 8), (4096, 256));
        assert_eq!(minors(1 << 28 | 16 << 8 | 3), (4099, 1));
        assert_eq!(minors(832), (16, 16));
        assert_eq!(minors(1 << 28 | 4095 << 8), (0xfff00, 256));
    }

    #[test]
    fn bad_numbers_are_refused() {
        for number in [
            0,
            1,
            1 << 8,
            7 << 8,
            201 << 8,
            203 << 8,
            0xffff,
            2 << 28,
            u32::MAX,
        ] {
            assert_eq!(Vbd::parse(number), Err(VbdError::Unknown), "{number:#x}");
        }
        assert_eq!(Vbd::parse(1 << 28 | 4096 << 8), Err(VbdError::TooLarge));
        assert_eq!(Vbd::parse((1 << 28) - 1 | 1 << 28), Err(VbdError::TooLarge));
        // An IDE disk has 63 partitions, an xvd disk of the short format 15.
        assert_eq!(Vbd::parse(768 + 16), Err(VbdError::TooLarge));
    }

    #[test]
    fn collisions_by_name_or_minor() {
        let collide = |a, b| {
            let (a, b) = (Vbd::parse(a).unwrap(), Vbd::parse(b).unwrap());
            assert_eq!(a.collides(&b), b.collides(&a));
            a.collides(&b)
        };
        assert!(collide(51712, 768));
        assert!(collide(51712, 51713));
        assert!(collide(51713, 2049));
        assert!(!collide(51713, 51714));
        assert!(!collide(51712, 51728));
        // The same name with other minors, and the same minors with another name.
        assert!(collide(1 << 28 | 1 << 8, 51728));
        assert!(collide(1 << 28 | 1 << 8, 65 << 8));
        let (extended, scsi) = (1 << 28 | 16 << 8, 65 << 8);
        assert!(collide(extended, scsi));
        assert!(collide(extended | 1, scsi) && collide(extended, scsi | 1));
        assert!(collide(extended | 1, scsi | 1) && !collide(extended | 1, scsi | 2));
        assert!(!collide(1 << 28 | 16 << 8, 51712));
    }

    /// Every number gives an error or a name that fits, and never a panic.
    #[test]
    fn any_number_is_handled() {
        let mut number = 0u32;
        for _ in 0..100_000 {
            number = number.wrapping_mul(1664525).wrapping_add(1013904223);
            for n in [number, number >> 3, number >> 14] {
                if let Ok(vbd) = Vbd::parse(n) {
                    assert!(vbd.to_string().len() <= MAX_NAME);
                    assert!(vbd.first_minor() + vbd.minors() <= MINOR_LIMIT);
                }
            }
        }
    }
}
