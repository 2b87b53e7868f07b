// SPDX-License-Identifier: GPL-2.0

//! The bus `oxen`: which devices the xenstore says there are, and who drives them.
//!
//! A [`scan`] finds nodes and gives each a [`slot`], which puts a [`device`] on the bus. What happens to a device is
//! noted in its [`signal`] and looked at by its own [`task`], so a silent backend keeps nobody waiting but its own device.

pub(crate) mod device;
pub(crate) mod gate;
pub(crate) mod node;
pub(crate) mod oxen;
pub(crate) mod scan;
pub(crate) mod signal;
pub(crate) mod slot;
pub(crate) mod task;
