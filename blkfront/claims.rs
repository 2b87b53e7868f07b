// SPDX-License-Identifier: GPL-2.0

//! Which disks there are.
//!
//! Two virtual device numbers can mean the same name or share minor numbers, which the block layer would
//! only answer with a warning. So each disk is claimed before it is made.

use abi::block::vbd::Vbd;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
};

/// Most disks at a time.
const SLOTS: usize = 1024;

/// Virtual device numbers that are claimed. 0, which is no valid number, marks a free slot.
static CLAIMED: [Atomic<u32>; SLOTS] = [const { Atomic::new(0) }; SLOTS];

/// A virtual device number whose name and minors belong to one disk until the value is dropped.
pub(crate) struct Claim {
    vbd: Vbd,
    slot: &'static Atomic<u32>,
}

impl Claim {
    /// Claims the disk that `number` means.
    ///
    /// # Errors
    ///
    /// `EBUSY` when another disk collides with it, `ENOSPC` when there are too many disks. Of two colliding
    /// claims at the same moment, both may fail.
    pub(crate) fn new(number: u32, vbd: Vbd) -> Result<Self> {
        let slot = CLAIMED
            .iter()
            .find(|slot| number != 0 && slot.cmpxchg(0, number, Full).is_ok())
            .ok_or(ENOSPC)?;
        let claim = Self { vbd, slot };
        // Being in the table first and looking second, two claims cannot both miss each other.
        let taken = CLAIMED
            .iter()
            .filter(|other| !core::ptr::eq(*other, slot))
            .filter_map(|other| Vbd::parse(other.load(Relaxed)).ok())
            .any(|other| other.collides(&vbd));
        if taken {
            return Err(EBUSY);
        }
        Ok(claim)
    }

    /// What was claimed.
    pub(crate) fn vbd(&self) -> &Vbd {
        &self.vbd
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.slot.store(0, Relaxed);
    }
}

#[kunit_tests(oxen_blkfront_claims)]
mod tests {
    use super::*;

    /// `xvdb`, or one of its partitions.
    const XVDB: u32 = 202 << 8 | 16;

    fn claim(number: u32) -> Result<Claim> {
        Claim::new(number, Vbd::parse(number).map_err(|_| EINVAL)?)
    }

    #[test]
    fn a_disk_is_claimed_once_until_it_goes() -> Result {
        let disk = claim(XVDB)?;
        assert_eq!(claim(XVDB).err(), Some(EBUSY));
        assert_eq!(disk.vbd().first_minor(), 16);
        drop(disk);
        assert!(claim(XVDB).is_ok());
        Ok(())
    }

    #[test]
    fn a_partition_collides_with_its_disk_and_not_with_another_partition() -> Result {
        let one = claim(XVDB | 1)?;
        let _two = claim(XVDB | 2)?;
        assert_eq!(claim(XVDB).err(), Some(EBUSY));
        drop(one);
        assert_eq!(claim(XVDB).err(), Some(EBUSY));
        Ok(())
    }

    #[test]
    fn the_table_has_an_end_and_gets_its_places_back() -> Result {
        let mut claims = KVec::with_capacity(SLOTS, GFP_KERNEL)?;
        // The second format of virtual device numbers has room for as many disks.
        for disk in 0..SLOTS as u32 {
            claims.push(claim(1 << 28 | disk << 8)?, GFP_KERNEL)?;
        }
        assert_eq!(claim(1 << 28 | (SLOTS as u32) << 8).err(), Some(ENOSPC));
        drop(claims);
        assert!(claim(1 << 28).is_ok());
        Ok(())
    }
}
