// SPDX-License-Identifier: GPL-2.0

//! Values of a response's status.

/// Done.
pub const OKAY: i16 = 0;
/// Not done.
pub const ERROR: i16 = -1;
/// The backend cannot do this.
pub const NOT_SUPPORTED: i16 = -2;
