// SPDX-License-Identifier: GPL-2.0

//! Ports with an interrupt.

use crate::{
    channel::{
        Channel,
        Notifier, //
    },
    event::{
        Handler,
        LocalHandler, //
    },
    events::Listed as _,
    port::PortState,
    source::{
        Bound,
        Local, //
    }, //
};
use abi::types::Port;
use kernel::{
    fmt,
    prelude::*,
    str::CString,
    sync::Arc, //
};
use linux::irq::port::PortIrq;

/// A port and its interrupt, with a name in `/proc/interrupts`.
///
/// Drop waits for a running handler, then closes the port, unless a [`Notifier`] is left. In process context only, and never from the handler itself.
pub struct Listener<H: Handler> {
    // The order matters: the interrupt goes before the port.
    irq: PortIrq<Bound<H>>,
    _listed: Listed,
    channel: Notifier,
}

/// Membership of a port in the list of those that listen.
struct Listed(Arc<PortState>);

impl Drop for Listed {
    fn drop(&mut self) {
        self.0.forget();
    }
}

impl<H: Handler> Listener<H> {
    /// Calls `handler` whenever the port fires, on whichever CPU its interrupt has.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the irq core says; the channel is closed then. May sleep.
    pub fn new(channel: Channel, name: fmt::Arguments<'_>, handler: Arc<H>) -> Result<Self> {
        let name = CString::try_from_fmt(name)?;
        let state = PortState::new(
            channel.events.clone(),
            channel.port(),
            CString::try_from_fmt(fmt!("{}", name.to_str().unwrap_or("?")))?,
            None,
        )?;
        state.list()?;
        let listed = Listed(state.clone());
        let bound = Arc::new(Bound { state, handler }, GFP_KERNEL)?;
        let irq = PortIrq::new(bound, name, |bound, irq| bound.state.set_irq(irq))?;
        Ok(Self {
            irq,
            _listed: listed,
            channel: Notifier::new(channel)?,
        })
    }

    /// The number of the port, which the remote end needs.
    #[inline]
    pub fn port(&self) -> Port {
        self.channel.port()
    }

    /// Fires the remote end's port.
    #[inline]
    pub fn notify(&self) {
        self.channel.notify();
    }

    /// What fires the remote end's port from elsewhere. The port stays open until the last of these is dropped.
    pub fn notifier(&self) -> Notifier {
        self.channel.clone()
    }

    /// Tells whether the port is there: the domain was not restored elsewhere since it was bound.
    pub fn is_current(&self) -> bool {
        self.channel.is_current()
    }

    /// The handler.
    pub fn handler(&self) -> &Arc<H> {
        &self.irq.source().handler
    }

    /// Moves the interrupt to one of `cpus`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if none is online or can have it, `ENOMEM`. May sleep.
    pub fn set_affinity(&self, cpus: impl IntoIterator<Item = u32>) -> Result {
        self.irq.set_affinity(cpus)
    }

    /// Waits until the handler does not run. May sleep.
    pub fn synchronize(&self) {
        self.irq.synchronize();
    }

    /// Fires our own port, as if the remote end had.
    pub fn poke(&self) {
        self.irq.source().state.poke();
    }
}

/// A port that fires on one CPU for ever, and its interrupt: a virtual irq of a vCPU, or an IPI.
///
/// Such a port has no [`Event`](crate::Event): only Xen and this guest fire it. Drop as for [`Listener`]; what is fired
/// meanwhile is lost.
///
/// When the domain is restored elsewhere, it is bound anew and fires once.
pub struct LocalListener<H: LocalHandler> {
    // The order matters: the interrupt goes before the port.
    _irq: PortIrq<Local<H>>,
    _listed: Listed,
    port: LocalPort,
}

/// Closes a port that has been handed over.
struct LocalPort(Arc<PortState>);

impl Drop for LocalPort {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<H: LocalHandler> LocalListener<H> {
    /// Calls `handler` whenever the port fires, which it does on `cpu`. It comes before ports of other kinds.
    ///
    /// # Errors
    ///
    /// As for [`Listener::new`].
    pub fn new(
        channel: Channel,
        cpu: u32,
        name: fmt::Arguments<'_>,
        handler: Arc<H>,
    ) -> Result<Self> {
        let name = CString::try_from_fmt(name)?;
        let (events, port) = (channel.events.clone(), channel.port());
        events.layout().prefer(port);
        let state = PortState::new(
            events,
            port,
            CString::try_from_fmt(fmt!("{}", name.to_str().unwrap_or("?")))?,
            Some((cpu, channel.binding())),
        )?;
        state.list()?;
        let listed = Listed(state.clone());
        channel.hand_over();
        let port = LocalPort(state.clone());
        let local = Arc::new(Local { state, handler }, GFP_KERNEL)?;
        let irq = PortIrq::local(local, name, cpu, |local, irq| local.state.set_irq(irq))?;
        Ok(Self {
            _irq: irq,
            _listed: listed,
            port,
        })
    }

    /// The number of the port; 0 for one that could not be bound anew.
    #[inline]
    pub fn port(&self) -> Port {
        self.port.0.port()
    }
}
