// SPDX-License-Identifier: GPL-2.0

//! The connection to the xenstore: its page, its event channel, and the thread that serves both.

use abi::types::Port;
use evtchn::{
    Channel,
    Listener, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::kthread::Thread;
use xen_core::{
    hypercall::hvm,
    Param, //
};

use crate::{
    client::Client,
    doorbell::Doorbell,
    pump::Pump, //
};

/// The running connection. Dropping it stops the thread and gives page and channel back.
pub(crate) struct Link {
    /// Before the listener: the thread sends events through it.
    _thread: Thread,
    _listener: Arc<Listener<Doorbell>>,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    ///
    /// `ENODEV` when the toolstack has given this domain no xenstore.
    pub(crate) fn new(client: &Arc<Client>, doorbell: &Arc<Doorbell>) -> Result<Self> {
        let page = xen_core::toolstack_page(Param::StorePfn);
        let port = hvm::param(Param::StoreEvtchn)
            .and_then(|port| u32::try_from(port).map_err(Error::from))
            .and_then(|port| {
                if port == 0 {
                    Err(ENODEV)
                } else {
                    Ok(Port(port))
                }
            });
        let (Ok(page), Ok(port)) = (page, port) else {
            pr_err!("the toolstack has given this domain no xenstore; there will be no devices\n");
            return Err(ENODEV);
        };
        let channel = Channel::adopt(port)?;
        let listener = Listener::new(channel, fmt!("oxen-xenstore"), doorbell.clone())?;
        let listener = Arc::new(listener, GFP_KERNEL)?;
        let bell = listener.clone();
        let pump = Pump::new(client.clone(), Page(page), move || bell.notify());
        Ok(Self {
            _thread: Thread::spawn(c"oxen-xenstore", move || pump.run())?,
            _listener: listener,
        })
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
