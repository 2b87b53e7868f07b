// SPDX-License-Identifier: GPL-2.0

//! Whether received packets go through a program (XDP), and whether they can.
//!
//! The program itself is with the queues. It outlives connections; what changes with it is what the backend is asked to send,
//! by a new connection.

use abi::net::xdp::{
    may_attach,
    mtu_max,
    Refusal, //
};
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use linux::net::xdp::run::tail;

/// What is known of programs.
pub(crate) struct Programs {
    attached: Atomic<bool>,
    /// The backend has said what it offers.
    asked: Atomic<bool>,
    /// The backend leaves room before the data.
    offered: Atomic<bool>,
}

impl Programs {
    pub(crate) const fn new() -> Self {
        Self {
            attached: Atomic::new(false),
            asked: Atomic::new(false),
            offered: Atomic::new(false),
        }
    }

    /// Takes note of whether the backend leaves room before the data.
    pub(crate) fn set_offered(&self, offered: bool) {
        self.offered.store(offered, Relaxed);
        self.asked.store(true, Relaxed);
    }

    /// Whether there is a program.
    pub(crate) fn attached(&self) -> bool {
        self.attached.load(Relaxed)
    }

    /// Whether there can be one with this MTU. One that is there can always be replaced.
    pub(crate) fn may_attach(&self, mtu: u32) -> Result<(), Refusal> {
        if self.attached() {
            return Ok(());
        }
        let asked = self.asked.load(Relaxed);
        let offered = asked.then(|| self.offered.load(Relaxed));
        may_attach(offered, mtu, mtu_max(tail()))
    }

    /// There is a program now, or none. Returns whether that is new.
    pub(crate) fn set_attached(&self, attached: bool) -> bool {
        self.attached.xchg(attached, Relaxed) != attached
    }

    /// The largest MTU, of those up to `most`.
    pub(crate) fn limit(&self, most: u32) -> u32 {
        if self.attached() {
            most.min(mtu_max(tail()))
        } else {
            most
        }
    }
}
