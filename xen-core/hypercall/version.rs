// SPDX-License-Identifier: GPL-2.0

//! Version and features of Xen: `version.h`.

use super::{
    call,
    command, //
};
use abi::hypercall::{
    version::{
        self,
        FeatureInfo, //
    },
    Hypercall,
};
use kernel::prelude::*;

/// Asks for the version: the major one in the upper half.
///
/// # Errors
///
/// As Xen says.
pub fn version() -> Result<u32> {
    // SAFETY: The command takes no structure and touches no memory.
    let packed = unsafe { call(Hypercall::XenVersion, [version::VERSION, 0, 0]) }?;
    u32::try_from(packed).map_err(|_| EIO)
}

/// Asks for what follows the version, as in `.1-rc2`; up to 16 bytes with a zero at the end.
///
/// # Errors
///
/// As Xen says.
pub fn extraversion() -> Result<[u8; 16]> {
    let mut text = [0u8; 16];
    // SAFETY: The command writes 16 bytes.
    unsafe { command(Hypercall::XenVersion, version::EXTRAVERSION, &mut text) }?;
    Ok(text)
}

/// Asks for 32 of the features that Xen has.
///
/// # Errors
///
/// `EINVAL` beyond the last ones.
pub fn features(index: u32) -> Result<u32> {
    let mut argument = FeatureInfo { index, submap: 0 };
    // SAFETY: Number and structure belong together.
    unsafe { command(Hypercall::XenVersion, version::GET_FEATURES, &mut argument) }?;
    Ok(argument.submap)
}
