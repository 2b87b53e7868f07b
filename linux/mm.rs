// SPDX-License-Identifier: GPL-2.0

//! Memory: pages of ours, what is mapped, what is given away, and what happens when it runs short.

pub mod away;
pub mod memremap;
pub mod oom;
pub mod page;
pub mod pages;
pub mod reclaim;
