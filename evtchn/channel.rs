// SPDX-License-Identifier: GPL-2.0

//! Bound ports.

use crate::{
    events,
    events::Events, //
};
use abi::types::{
    DomainId,
    Port, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use xen_core::hypercall::event as hypercall;

/// A local port that is ours. Drop closes it, unless the toolstack made it.
///
/// It is masked until a [`Listener`](crate::Listener) takes it.
pub struct Channel {
    pub(crate) events: Arc<Events>,
    port: Port,
    owned: bool,
}

impl Channel {
    /// Makes a port that `remote` may bind to.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when the domain has no port left, `ENOMEM`, `ENODEV`.
    pub fn alloc_unbound(remote: DomainId) -> Result<Self> {
        let events = events()?;
        let port = hypercall::alloc_unbound(remote)?;
        Self::admit(events, port, true)
    }

    /// Binds a new port to port `remote_port` of domain `remote`. It is pending at first.
    ///
    /// # Errors
    ///
    /// As for [`alloc_unbound`](Self::alloc_unbound), and what Xen says of the remote port.
    pub fn bind_interdomain(remote: DomainId, remote_port: Port) -> Result<Self> {
        let events = events()?;
        let port = hypercall::bind_interdomain(remote, remote_port)?;
        Self::admit(events, port, true)
    }

    /// Binds a new port to a virtual irq of the vCPU that runs CPU `cpu`.
    ///
    /// # Errors
    ///
    /// As for [`alloc_unbound`](Self::alloc_unbound); `EEXIST` if it is bound already, `EINVAL` for no such CPU.
    pub fn bind_virq(virq: u32, cpu: u32) -> Result<Self> {
        let events = events()?;
        let port = hypercall::bind_virq(virq, events.vcpu(cpu).ok_or(EINVAL)?)?;
        Self::admit(events, port, true)
    }

    /// Makes a port that fires on CPU `cpu` when it is notified.
    ///
    /// # Errors
    ///
    /// As for [`alloc_unbound`](Self::alloc_unbound); `EINVAL` for no such CPU.
    pub fn bind_ipi(cpu: u32) -> Result<Self> {
        Self::ipi(events()?, cpu)
    }

    pub(crate) fn ipi(events: Arc<Events>, cpu: u32) -> Result<Self> {
        let port = hypercall::bind_ipi(events.vcpu(cpu).ok_or(EINVAL)?)?;
        Self::admit(events, port, true)
    }

    /// Takes over a port that the toolstack has made, as for the store and the console. Drop leaves it open.
    ///
    /// # Errors
    ///
    /// `EINVAL` for port 0, `ENOSPC` for a number that is no port, `ENOMEM`, `ENODEV`.
    pub fn adopt(port: Port) -> Result<Self> {
        if port == Port(0) {
            return Err(EINVAL);
        }
        Self::admit(events()?, port, false)
    }

    fn admit(events: Arc<Events>, port: Port, owned: bool) -> Result<Self> {
        let channel = Self {
            events,
            port,
            owned,
        };
        channel.events.layout().admit(port)?;
        channel.events.map.admit(port)?;
        Ok(channel)
    }

    /// The number of the port, which the remote end needs.
    #[inline]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Fires the remote end's port.
    #[inline]
    pub fn notify(&self) {
        // It fails only when the remote end has closed its port, and then nobody listens.
        let _ = hypercall::send(self.port);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.events.layout().mask(self.port);
        if self.owned {
            // A port of ours that is bound can always be closed.
            let _ = hypercall::close(self.port);
        }
    }
}
