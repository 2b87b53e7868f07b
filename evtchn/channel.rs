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
use linux::cpu;
use xen_core::hypercall::event as hypercall;

/// What a port is bound to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// A port of another domain, now or later.
    Peer,
    /// A virtual irq of a vCPU.
    Virq(u32),
    /// Nothing: this guest fires it.
    Ipi,
    /// Whatever the toolstack has bound it to.
    Toolstack,
}

/// A local port that is ours. Drop closes it, unless the toolstack made it.
///
/// It is masked until a [`Listener`](crate::Listener) takes it. When the domain is restored elsewhere, the port is gone and
/// its number may be another port's: then neither [`notify`](Self::notify) nor drop does anything any more.
pub struct Channel {
    pub(crate) events: Arc<Events>,
    port: Port,
    binding: Binding,
    /// The life of the domain in which the port was bound; none once somebody else closes it.
    epoch: Option<u32>,
}

impl Channel {
    /// Makes a port that `remote` may bind to.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when the domain has no port left, `ENOMEM`, `ENODEV`.
    pub fn alloc_unbound(remote: DomainId) -> Result<Self> {
        Self::bind(events()?, Binding::Peer, || {
            hypercall::alloc_unbound(remote)
        })
    }

    /// Binds a new port to port `remote_port` of domain `remote`. It is pending at first.
    ///
    /// # Errors
    ///
    /// As for [`alloc_unbound`](Self::alloc_unbound), and what Xen says of the remote port.
    pub fn bind_interdomain(remote: DomainId, remote_port: Port) -> Result<Self> {
        Self::bind(events()?, Binding::Peer, || {
            hypercall::bind_interdomain(remote, remote_port)
        })
    }

    /// Binds a new port to a virtual irq of the vCPU that runs CPU `cpu`.
    ///
    /// # Errors
    ///
    /// As for [`alloc_unbound`](Self::alloc_unbound); `EEXIST` if it is bound already, `EINVAL` for no such CPU.
    pub fn bind_virq(virq: u32, cpu: u32) -> Result<Self> {
        let events = events()?;
        let vcpu = events.vcpu(cpu).ok_or(EINVAL)?;
        Self::bind(events, Binding::Virq(virq), || {
            hypercall::bind_virq(virq, vcpu)
        })
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
        let vcpu = events.vcpu(cpu).ok_or(EINVAL)?;
        Self::bind(events, Binding::Ipi, || hypercall::bind_ipi(vcpu))
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
        Self::bind(events()?, Binding::Toolstack, || Ok(port))
    }

    /// Has `bind` make the port, in one life of the domain.
    fn bind(
        events: Arc<Events>,
        binding: Binding,
        bind: impl FnOnce() -> Result<Port>,
    ) -> Result<Self> {
        let (port, epoch) = cpu::held(|_| (bind(), events.epoch()));
        let channel = Self {
            events,
            port: port?,
            binding,
            epoch: Some(epoch),
        };
        channel.events.layout().admit(channel.port)?;
        channel.events.map.admit(channel.port)?;
        Ok(channel)
    }

    /// What the port is bound to.
    pub(crate) fn binding(&self) -> Binding {
        self.binding
    }

    /// Leaves the port to somebody else, who closes it.
    pub(crate) fn hand_over(mut self) {
        self.epoch = None;
    }

    /// Tells whether the port is there: the domain was not restored elsewhere since it was bound.
    pub(crate) fn is_current(&self) -> bool {
        self.epoch == Some(self.events.epoch())
    }

    /// The number of the port, which the remote end needs.
    #[inline]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Fires the remote end's port.
    #[inline]
    pub fn notify(&self) {
        if self.is_current() {
            // It fails only when the remote end has closed its port, and then nobody listens.
            let _ = hypercall::send(self.port);
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // The domain does not stop between the look and the close.
        cpu::held(|_| {
            if self.is_current() {
                self.events
                    .close(self.port, self.binding != Binding::Toolstack);
            }
        });
    }
}

/// Fires the remote end's port, and keeps ours open.
#[derive(Clone)]
pub struct Notifier(Arc<Channel>);

impl Notifier {
    pub(crate) fn new(channel: Channel) -> Result<Self> {
        Ok(Self(Arc::new(channel, GFP_KERNEL)?))
    }

    /// The number of the port, which the remote end needs.
    #[inline]
    pub fn port(&self) -> Port {
        self.0.port()
    }

    /// Fires the remote end's port.
    #[inline]
    pub fn notify(&self) {
        self.0.notify();
    }

    /// Tells whether the port is there: the domain was not restored elsewhere since it was bound.
    pub fn is_current(&self) -> bool {
        self.0.is_current()
    }
}

/// Of the same port, not of one that has its number in another life of the domain.
impl PartialEq for Notifier {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
