// SPDX-License-Identifier: GPL-2.0

//! The ports of a file.

use crate::{
    inbox::{
        Inbox,
        PORTS, //
    },
    known::Known, //
};
use abi::{
    types::Port,
    userdev::fired::Held, //
};
use evtchn::{
    Channel,
    Event,
    Handler,
    Listener, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::{
    error::ENOTCONN,
    new_spinlock_irq,
    sync::irq_lock::SpinLockIrq, //
};

/// A port of a file, as its interrupt sees it.
#[pin_data]
pub(super) struct Firing {
    port: Port,
    inbox: Arc<Inbox>,
    #[pin]
    held: SpinLockIrq<Held<Event>>,
}

impl Firing {
    fn new(port: Port, inbox: Arc<Inbox>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                port,
                inbox,
                held <- new_spinlock_irq!(Held::Nothing, "oxen_userdev_held"),
            }),
            GFP_KERNEL,
        )
    }

    /// The program has written the port back.
    fn written(&self) {
        // The event ends without the lock.
        let then = self.held.lock().written();
        if then.tell {
            self.inbox.tell(self.port);
        }
    }
}

impl Handler for Firing {
    fn event(&self, event: Event) {
        let then = self.held.lock().fired(event);
        if then.tell {
            self.inbox.tell(self.port);
        }
    }
}

/// The ports of a file, in the order of their numbers.
pub(super) struct Ports {
    known: Arc<Known>,
    ports: KVec<Listener<Firing>>,
}

impl Ports {
    pub(super) fn new(known: Arc<Known>) -> Self {
        Self {
            known,
            ports: KVec::new(),
        }
    }

    /// Listens to a new port, whose events go to `inbox`.
    ///
    /// # Errors
    ///
    /// `EIO` when ports of the file were lost, `ENOSPC` when it has too many, `ENOMEM`, what `channel` or the irq core says.
    pub(super) fn add(
        &mut self,
        inbox: &Arc<Inbox>,
        channel: impl FnOnce() -> Result<Channel>,
    ) -> Result<Port> {
        if self.has_lost() {
            return Err(EIO);
        }
        if self.ports.len() >= PORTS {
            return Err(ENOSPC);
        }
        self.ports.reserve(1, GFP_KERNEL)?;
        let channel = channel()?;
        let port = channel.port();
        let firing = Firing::new(port, inbox.clone())?;
        let listener = Listener::new(channel, fmt!("oxen-userdev"), firing)?;
        self.known.add(listener.notifier(), inbox.clone())?;
        let at = self.place(port).unwrap_or_else(|at| at);
        self.ports
            .insert_within_capacity(at, listener)
            .map_err(|_| ENOMEM)?;
        Ok(port)
    }

    /// Where a port is, or where it would be.
    fn place(&self, port: Port) -> core::result::Result<usize, usize> {
        self.ports.binary_search_by_key(&port, Listener::port)
    }

    /// Tells whether any of them was lost as the domain was restored elsewhere.
    fn has_lost(&self) -> bool {
        self.ports.iter().any(|listener| !listener.is_current())
    }

    fn get(&self, port: Port) -> Option<&Listener<Firing>> {
        self.ports.get(self.place(port).ok()?)
    }

    /// Closes a port. From then on it is told no more.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` when it is not one of these.
    pub(super) fn remove(&mut self, port: Port) -> Result {
        let at = self.place(port).map_err(|_| ENOTCONN)?;
        let listener = self.ports.remove(at).map_err(|_| ENOTCONN)?;
        self.known.remove(&listener.notifier());
        Ok(())
    }

    /// Closes all.
    pub(super) fn clear(&mut self) {
        for listener in self.ports.drain_all() {
            self.known.remove(&listener.notifier());
        }
    }

    /// Fires the other end of a port.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` when it is not one of these, `EIO` when it was lost.
    pub(super) fn notify(&self, port: Port) -> Result {
        let listener = self.get(port).ok_or(ENOTCONN)?;
        if !listener.is_current() {
            return Err(EIO);
        }
        listener.notify();
        Ok(())
    }

    /// The program has written a port back.
    pub(super) fn written(&self, port: Port) {
        if let Some(listener) = self.get(port) {
            listener.handler().written();
        }
    }
}
