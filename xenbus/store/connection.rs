// SPDX-License-Identifier: GPL-2.0

//! The connection to the xenstore: its page, its event channel, and the thread that serves both.

use abi::types::Port;
use evtchn::{
    Channel,
    Listener, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use linux::{
    mm::reclaim,
    workqueue::kthread::Thread, //
};
use xen_core::{
    hypercall::hvm,
    Param, //
};

use super::{
    client::Client,
    doorbell::Doorbell,
    pump::Pump, //
};

/// The event channel to the server.
#[pin_data]
pub(crate) struct Wire {
    doorbell: Arc<Doorbell>,
    #[pin]
    listener: Mutex<Option<Listener<Doorbell>>>,
}

impl Wire {
    fn new(doorbell: &Arc<Doorbell>) -> Result<Arc<Self>> {
        let listener = listen(doorbell)?;
        Arc::pin_init(
            pin_init!(Self {
                doorbell: doorbell.clone(),
                listener <- new_mutex!(Some(listener)),
            }),
            GFP_KERNEL,
        )
    }

    /// Sends an event.
    fn notify(&self) {
        if let Some(listener) = &*reclaim::lock(&self.listener) {
            listener.notify();
        }
    }

    /// Takes over the channel of a domain that was restored.
    ///
    /// # Errors
    ///
    /// As [`Connection::new`].
    pub(crate) fn renew(&self) -> Result {
        let former = self.listener.lock().take();
        drop(former);
        let listener = listen(&self.doorbell)?;
        *self.listener.lock() = Some(listener);
        Ok(())
    }
}

/// Listens to the channel that the toolstack has made.
fn listen(doorbell: &Arc<Doorbell>) -> Result<Listener<Doorbell>> {
    let port = u32::try_from(hvm::param(Param::StoreEvtchn)?).map_err(|_| ENODEV)?;
    if port == 0 {
        return Err(ENODEV);
    }
    let channel = Channel::adopt(Port(port))?;
    Listener::new(channel, fmt!("oxen-xenstore"), doorbell.clone())
}

/// The running connection. Dropping it stops the thread and gives page and channel back.
pub(crate) struct Connection {
    /// Before the wire: the thread sends events through it.
    _thread: Thread,
    wire: Arc<Wire>,
}

impl Connection {
    /// Begins to serve the rings.
    ///
    /// # Errors
    ///
    /// `ENODEV` and one sentence in the log when the toolstack has given this domain no xenstore, `ENOMEM`.
    pub(crate) fn new(client: &Arc<Client>, doorbell: &Arc<Doorbell>) -> Result<Self> {
        let begun = xen_core::toolstack_page(Param::StorePfn)
            .and_then(|page| Ok((page, Wire::new(doorbell)?)));
        let (page, wire) = begun.inspect_err(|error| {
            if *error == ENODEV {
                pr_err!(
                    "the toolstack has given this domain no xenstore; there will be no devices\n"
                );
            }
        })?;
        let bell = wire.clone();
        let pump = Pump::new(client.clone(), Page(page), move || bell.notify())?;
        Ok(Self {
            _thread: Thread::spawn(c"oxen-xenstore", move || pump.run())?,
            wire,
        })
    }

    /// Returns the event channel.
    pub(crate) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }
}

/// Lets the ring own its page.
struct Page(xen_core::ToolstackPage);

impl core::ops::Deref for Page {
    type Target = abi::shared::RawMemory;

    fn deref(&self) -> &Self::Target {
        self.0.memory()
    }
}
