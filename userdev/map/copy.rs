// SPDX-License-Identifier: GPL-2.0

//! Copies between a program and pages of other domains, which need not be mapped for it.
//!
//! They go through a page of ours: so no page of the program is held while Xen copies.

use abi::{
    shared::Memory,
    userdev::gntdev::{
        Segment,
        Segments,
        Way, //
    },
};
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use linux::{
    miscdev::Argument,
    mm::pages::OwnedPages, //
};
use xen_core::hypercall::grant::{
    self,
    End, //
};

/// Most segments of a command.
const MOST: u32 = 4096;

/// What a copy goes through.
struct Copier {
    page: OwnedPages,
    bytes: KVec<u8>,
}

impl Copier {
    fn new() -> Result<Self> {
        Ok(Self {
            page: OwnedPages::new(1)?,
            bytes: KVec::from_elem(0, kernel::page::PAGE_SIZE, GFP_KERNEL)?,
        })
    }

    /// Copies; returns what Xen says.
    fn copy(&mut self, segment: &Segment) -> Result<i16> {
        let length = segment.length;
        let way = segment.way().ok_or(EINVAL)?;
        // No segment is longer than a page.
        let bytes = self.bytes.get_mut(..length.into()).ok_or(EINVAL)?;
        let own = End::Own(&self.page);
        match way {
            Way::In(foreign, address) => {
                let status = grant::copy(End::Foreign(foreign), own, length)?;
                if status == 0 {
                    self.page.memory().read(0, bytes);
                    program(address, length).writer().write_slice(bytes)?;
                }
                Ok(status)
            }
            Way::Out(address, foreign) => {
                program(address, length).reader().read_slice(bytes)?;
                self.page.memory().write(0, bytes);
                grant::copy(own, End::Foreign(foreign), length)
            }
            Way::Across(from, to) => grant::copy(End::Foreign(from), End::Foreign(to), length),
        }
    }
}

/// Memory of the program.
fn program(address: u64, length: u16) -> UserSlice {
    // CAST: `usize` has 64 bits.
    UserSlice::new(UserPtr::from_addr(address as usize), length.into())
}

/// Copies segment by segment, and tells the program what Xen says of each.
///
/// # Errors
///
/// `E2BIG` for too many, `EINVAL` for one that both ends of are the program's or that goes over the end of a page, `EFAULT`;
/// those before it are copied then.
pub(super) fn copy(argument: Argument) -> Result {
    let Segments {
        count, segments, ..
    } = argument.read()?;
    if count > MOST {
        return Err(E2BIG);
    }
    let mut copier = Copier::new()?;
    for number in 0..u64::from(count) {
        let at = segments.wrapping_add(number.wrapping_mul(size_of::<Segment>() as u64));
        // CAST: `usize` has 64 bits.
        let place = Argument::new(at as usize);
        let mut segment: Segment = place.read()?;
        segment.status = copier.copy(&segment)?;
        place.write(&segment)?;
    }
    Ok(())
}
