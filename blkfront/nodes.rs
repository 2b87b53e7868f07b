// SPDX-License-Identifier: GPL-2.0

//! The xenstore nodes that the disks of this module take.

use abi::block::nodes::Taken;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Of all connections that are published.
static DISKS: Atomic<u32> = Atomic::new(0);
static NODES: Atomic<u32> = Atomic::new(0);

/// Nodes that one disk takes until the value is dropped.
pub(crate) struct Nodes(u32);

impl Nodes {
    /// How many one disk more may take, of `disks` in all. Several that ask at once get the same answer, and there is room
    /// for that.
    pub(crate) fn share(disks: u32) -> u32 {
        let taken = Taken {
            disks: DISKS.load(Relaxed),
            nodes: NODES.load(Relaxed),
        };
        taken.share(disks)
    }

    /// Takes so many.
    pub(crate) fn take(nodes: u32) -> Self {
        DISKS.fetch_add(1, Relaxed);
        NODES.fetch_add(nodes, Relaxed);
        Self(nodes)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        NODES.fetch_sub(self.0, Relaxed);
        DISKS.fetch_sub(1, Relaxed);
    }
}
