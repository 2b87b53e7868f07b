// SPDX-License-Identifier: GPL-2.0

//! The backend's half of the split drivers, for tests: what Linux's backends lack, and what no honest backend does.
//!
//! The library knows the protocols and nothing of Xen: rings are reached through [`abi::shared::Memory`] and the
//! guest's pages through [`guest::Guest`], so its tests run on the host. The program adds the grants, the event
//! channels and the xenstore, and runs in dom0.

// Names that zerocopy's derives make.
#![allow(non_ascii_idents)]

pub mod block;
pub mod console;
pub mod disk;
pub mod guest;
pub mod net;
pub mod ring;
#[cfg(test)]
mod testing;
