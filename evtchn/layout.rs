// SPDX-License-Identifier: GPL-2.0

//! The two layouts of pending and mask bits behind one face.

use crate::fifo::Fifo;
use abi::{
    event::{
        fifo::Words,
        two_level::TwoLevel, //
    },
    types::{
        Port,
        VcpuId, //
    },
};
use kernel::prelude::*;
use xen_core::{
    hypercall::event as hypercall,
    SharedInfo, //
};

/// Where the bits of ports lie.
pub(crate) enum Layout {
    /// In the shared info page.
    TwoLevel(TwoLevel<SharedInfo>),
    /// In words of their own.
    Fifo(Fifo),
}

impl Layout {
    /// Its name, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::TwoLevel(_) => "2-level",
            Self::Fifo(_) => "FIFO",
        }
    }

    /// Makes room for a port that Xen has just bound. It is masked then.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOSPC` for a port that the layout does not have.
    pub(crate) fn admit(&self, port: Port) -> Result {
        match self {
            Self::TwoLevel(bits) => {
                if port.0 >= abi::event::two_level::PORTS {
                    return Err(ENOSPC);
                }
                bits.mask(port);
            }
            Self::Fifo(fifo) => {
                fifo.grow(port)?;
                fifo.mask(port);
            }
        }
        Ok(())
    }

    /// All ports are gone, and what Xen knew of the layout: masks everything and tells Xen again. The machine stands still.
    pub(crate) fn restart(&self, vcpu: impl Fn(u32) -> Option<VcpuId>) {
        match self {
            Self::TwoLevel(bits) => bits.mask_all(),
            Self::Fifo(fifo) => {
                if let Err(error) = fifo.restart(vcpu) {
                    pr_err!("Xen does not take the pages of the FIFO layout again ({error:?}): no events come.\n");
                }
            }
        }
    }

    /// Whether there is a word for `port` already.
    pub(crate) fn has(&self, port: Port) -> bool {
        match self {
            Self::TwoLevel(_) => port.0 < abi::event::two_level::PORTS,
            Self::Fifo(fifo) => fifo.has(port),
        }
    }

    /// Masks a port.
    pub(crate) fn mask(&self, port: Port) {
        match self {
            Self::TwoLevel(bits) => bits.mask(port),
            Self::Fifo(fifo) => fifo.mask(port),
        }
    }

    /// Unmasks a port; if it is pending, an upcall follows.
    pub(crate) fn unmask(&self, port: Port) {
        let pending = match self {
            Self::TwoLevel(bits) => bits.unmask(port),
            Self::Fifo(fifo) => fifo.unmask(port),
        };
        if pending {
            // It fails only for a port that is closed, and that one needs no upcall.
            let _ = hypercall::unmask(port);
        }
    }

    /// Makes a port pending, as if Xen had.
    pub(crate) fn set_pending(&self, port: Port) {
        match self {
            Self::TwoLevel(bits) => bits.set_pending(port),
            Self::Fifo(fifo) => fifo.set_pending(port),
        }
    }

    /// Tells whether a port has fired and nobody has taken note of it.
    pub(crate) fn is_pending(&self, port: Port) -> bool {
        match self {
            Self::TwoLevel(bits) => bits.is_pending(port),
            Self::Fifo(fifo) => fifo.is_pending(port),
        }
    }

    /// Takes note that a port has fired.
    pub(crate) fn clear_pending(&self, port: Port) {
        match self {
            Self::TwoLevel(bits) => bits.clear_pending(port),
            Self::Fifo(fifo) => fifo.clear_pending(port),
        }
    }

    /// Takes note that a port has fired, and masks it.
    pub(crate) fn ack(&self, port: Port) {
        match self {
            Self::TwoLevel(bits) => bits.ack(port),
            Self::Fifo(fifo) => fifo.ack(port),
        }
    }

    /// Has Xen raise the port before others, where the layout knows priorities.
    pub(crate) fn prefer(&self, port: Port) {
        if let Self::Fifo(_) = self {
            // A port that Xen does not know is not open.
            let _ = hypercall::set_priority(port, 0);
        }
    }

    /// Calls `handle` for each port that has fired on this CPU. With interrupts off, on the CPU itself.
    pub(crate) fn scan(&self, cpu: u32, vcpu: VcpuId, handle: impl FnMut(Port)) {
        match self {
            Self::TwoLevel(bits) => bits.scan(vcpu, handle),
            Self::Fifo(fifo) => fifo.scan(cpu, handle),
        }
    }
}
