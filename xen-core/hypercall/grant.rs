// SPDX-License-Identifier: GPL-2.0

//! Grant table operations: `grant_table.h`.

use super::call;
use abi::{
    hypercall::{
        grant::{
            self,
            GetVersion,
            QuerySize,
            SetVersion, //
        },
        Hypercall,
    },
    shared::{
        zeroed,
        Pod, //
    },
    types::DomainId,
};
use kernel::prelude::*;

/// How long the grant table is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Frames that it has.
    pub frames: u32,
    /// Frames that it may have.
    pub max_frames: u32,
}

/// Makes one grant table operation.
fn operation<T: Pod>(number: usize, argument: &mut T) -> Result {
    let address = core::ptr::from_mut(argument) as usize;
    // SAFETY: The callers below pair numbers with structures, of which there is one; none of them touches other memory.
    unsafe { call(Hypercall::GrantTableOp, [number, address, 1]) }.map(|_| ())
}

/// Asks for the size of our grant table.
///
/// # Errors
///
/// `EIO` when Xen refuses.
pub fn query_size() -> Result<Size> {
    let mut argument = QuerySize {
        domain: DomainId::SELF,
        ..zeroed()
    };
    operation(grant::QUERY_SIZE, &mut argument)?;
    if argument.status != 0 {
        return Err(EIO);
    }
    Ok(Size {
        frames: argument.frames,
        max_frames: argument.max_frames,
    })
}

/// Asks for the version of our grant table.
///
/// # Errors
///
/// As Xen says.
pub fn version() -> Result<u32> {
    let mut argument = GetVersion {
        domain: DomainId::SELF,
        ..zeroed()
    };
    operation(grant::GET_VERSION, &mut argument)?;
    Ok(argument.version)
}

/// Makes our grant table one of version 1.
///
/// # Errors
///
/// `EBUSY` when an entry is in use.
pub fn set_version_1() -> Result {
    operation(grant::SET_VERSION, &mut SetVersion { version: 1 })
}
