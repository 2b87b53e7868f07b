// SPDX-License-Identifier: GPL-2.0

//! Size and kind of the disk, from numbers that the backend wrote.
//!
//! `sectors`, and every sector number in the ring, counts 512 bytes whatever `sector-size` says: the
//! latter only tells how requests have to be aligned (Xen's `io/blkif.h`).

use crate::types::PAGE_SIZE;
use core::fmt;

/// Bytes in the unit of `sectors` and of the ring.
pub const SECTOR: u32 = 512;

/// Smallest and largest logical sector that we take. A larger one would not fit into a granted page.
pub const MAX_SECTOR_SIZE: u32 = PAGE_SIZE as u32;

/// Most sectors that Linux allows on a disk: the byte count has to fit into an `i64`.
pub const MAX_SECTORS: u64 = (i64::MAX as u64) / SECTOR as u64;

/// Bits of the `info` key.
const INFO_REMOVABLE: u64 = 2;
const INFO_READONLY: u64 = 4;

/// What the backend's directory says about the disk. A missing or malformed number is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// `sectors`
    pub sectors: Option<u64>,
    /// `sector-size`
    pub sector_size: Option<u64>,
    /// `physical-sector-size`
    pub physical_sector_size: Option<u64>,
    /// `info`
    pub info: Option<u64>,
}

impl Described {
    /// Reads every key with `number`, which gives `None` for what is missing or malformed.
    pub fn read(mut number: impl FnMut(&'static str) -> Option<u64>) -> Self {
        Self {
            sectors: number("sectors"),
            sector_size: number("sector-size"),
            physical_sector_size: number("physical-sector-size"),
            info: number("info"),
        }
    }
}

/// Why a description makes no disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadGeometry {
    /// There is no `sectors` key with a number in it.
    NoSectors,
    /// `sectors` is beyond what Linux can address.
    TooLarge,
    /// `sector-size` is no power of two from 512 to [`MAX_SECTOR_SIZE`].
    SectorSize,
}

impl fmt::Display for BadGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadGeometry::NoSectors => "the backend does not tell the size of the disk",
            BadGeometry::TooLarge => "the backend tells an impossible size of the disk",
            BadGeometry::SectorSize => "the backend tells an unusable sector size",
        })
    }
}

/// A disk as the block layer can take it.
///
/// # Invariants
///
/// `sector_size` and `physical_sector_size` are powers of two, 512 or more, the first at most
/// [`MAX_SECTOR_SIZE`] and at most the second. `sectors` is at most [`MAX_SECTORS`] and a whole number of
/// logical sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    sectors: u64,
    sector_size: u32,
    physical_sector_size: u32,
    read_only: bool,
    removable: bool,
}

impl Geometry {
    /// Checks a description.
    ///
    /// # Errors
    ///
    /// [`BadGeometry`] when there is no sane disk in it. A bad physical sector size is only a hint that
    /// went wrong: the logical one is used instead.
    pub fn check(described: &Described) -> Result<Self, BadGeometry> {
        let sectors = described.sectors.ok_or(BadGeometry::NoSectors)?;
        if sectors > MAX_SECTORS {
            return Err(BadGeometry::TooLarge);
        }
        let sector_size = described.sector_size.unwrap_or(u64::from(SECTOR));
        let sector_size =
            power(sector_size, SECTOR, MAX_SECTOR_SIZE).ok_or(BadGeometry::SectorSize)?;
        let physical_sector_size = described
            .physical_sector_size
            .and_then(|size| power(size, sector_size, 1 << 16))
            .unwrap_or(sector_size);
        let info = described.info.unwrap_or(0);
        let unit = u64::from(sector_size / SECTOR).max(1);
        // INVARIANT: the tail that is no whole logical sector cannot be reached and is left out.
        Ok(Self {
            sectors: sectors.saturating_sub(sectors.checked_rem(unit).unwrap_or(0)),
            sector_size,
            physical_sector_size,
            read_only: info & INFO_READONLY != 0,
            removable: info & INFO_REMOVABLE != 0,
        })
    }

    /// Size in units of [`SECTOR`].
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Logical sector size in bytes: the alignment of every request.
    pub fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// Physical sector size in bytes.
    pub fn physical_sector_size(&self) -> u32 {
        self.physical_sector_size
    }

    /// Whether writes are refused by the backend.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Whether the medium can be removed from the drive.
    pub fn removable(&self) -> bool {
        self.removable
    }
}

fn power(value: u64, least: u32, most: u32) -> Option<u32> {
    let value = u32::try_from(value).ok()?;
    (value.is_power_of_two() && value >= least && value <= most).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(sectors: u64) -> Described {
        Described {
            sectors: Some(sectors),
            ..Described::default()
        }
    }

    #[test]
    fn sectors_alone_are_enough() {
        let geometry = Geometry::check(&disk(131072)).unwrap();
        assert_eq!(geometry.sectors(), 131072);
        assert_eq!(
            (geometry.sector_size(), geometry.physical_sector_size()),
            (512, 512)
        );
        assert!(!geometry.read_only() && !geometry.removable());
    }

    #[test]
    fn a_large_sector_does_not_change_the_unit() {
        let described = Described {
            sector_size: Some(4096),
            ..disk(131079)
        };
        let geometry = Geometry::check(&described).unwrap();
        assert_eq!((geometry.sectors(), geometry.sector_size()), (131072, 4096));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert_eq!(
            Geometry::check(&Described::default()),
            Err(BadGeometry::NoSectors)
        );
        assert_eq!(Geometry::check(&disk(u64::MAX)), Err(BadGeometry::TooLarge));
        assert_eq!(
            Geometry::check(&disk(MAX_SECTORS + 1)),
            Err(BadGeometry::TooLarge)
        );
        assert!(Geometry::check(&disk(MAX_SECTORS)).is_ok());
        assert_eq!(Geometry::check(&disk(0)).unwrap().sectors(), 0);
    }

    #[test]
    fn odd_sector_sizes_are_refused() {
        for size in [
            0,
            1,
            256,
            511,
            513,
            1536,
            8192,
            1 << 31,
            1 << 32,
            1 << 41,
            u64::MAX,
        ] {
            let described = Described {
                sector_size: Some(size),
                ..disk(8)
            };
            assert_eq!(
                Geometry::check(&described),
                Err(BadGeometry::SectorSize),
                "{size}"
            );
        }
    }

    #[test]
    fn a_bad_physical_size_falls_back() {
        for (size, expected) in [
            (4096, 4096),
            (512, 512),
            (0, 512),
            (3000, 512),
            (u64::MAX, 512),
        ] {
            let described = Described {
                physical_sector_size: Some(size),
                ..disk(8)
            };
            assert_eq!(
                Geometry::check(&described).unwrap().physical_sector_size(),
                expected
            );
        }
        // Smaller than the logical one makes no sense either.
        let described = Described {
            sector_size: Some(4096),
            physical_sector_size: Some(512),
            ..disk(8)
        };
        assert_eq!(
            Geometry::check(&described).unwrap().physical_sector_size(),
            4096
        );
    }

    #[test]
    fn info_bits() {
        let described = Described {
            info: Some(0xffff_fff4),
            ..disk(8)
        };
        let geometry = Geometry::check(&described).unwrap();
        assert!(geometry.read_only() && !geometry.removable());
        let of = |info| {
            Geometry::check(&Described {
                info: Some(info),
                ..disk(8)
            })
            .unwrap()
        };
        assert!(of(2).removable() && !of(2).read_only());
    }
}
