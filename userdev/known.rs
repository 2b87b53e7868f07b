// SPDX-License-Identifier: GPL-2.0

//! The ports of all files of `/dev/xen/evtchn`, which other devices may have to notify, and which a restore takes away.

use abi::types::Port;
use evtchn::Notifier;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use xen_core::resume::{
    Resume,
    Wake, //
};

use crate::inbox::Inbox;

/// A port, and where its file hears of it.
struct Entry {
    port: Notifier,
    inbox: Arc<Inbox>,
}

/// The ports that programs have.
#[pin_data]
pub(crate) struct Known {
    #[pin]
    ports: Mutex<KVec<Entry>>,
}

impl Known {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                ports <- new_mutex!(KVec::new(), "oxen_userdev_known"),
            }),
            GFP_KERNEL,
        )
    }

    /// A program has a port.
    pub(crate) fn add(&self, port: Notifier, inbox: Arc<Inbox>) -> Result {
        let entry = Entry { port, inbox };
        Ok(self.ports.lock().push(entry, GFP_KERNEL)?)
    }

    /// It has closed it. With the last one that was lost, the file fails no more.
    pub(crate) fn remove(&self, port: &Notifier) {
        let mut ports = self.ports.lock();
        let Some(at) = ports.iter().position(|known| known.port == *port) else {
            return;
        };
        if let Ok(Entry { inbox, .. }) = ports.remove(at) {
            let mut own = ports.iter().filter(|k| Arc::ptr_eq(&k.inbox, &inbox));
            inbox.set_lost(own.any(|known| !known.port.is_current()));
        }
    }

    /// What notifies a port of a program's; the port stays open as long as that.
    pub(crate) fn get(&self, port: Port) -> Option<Notifier> {
        let ports = self.ports.lock();
        let mut current = ports.iter().filter(|known| known.port.is_current());
        let known = current.find(|known| known.port.port() == port)?;
        Some(known.port.clone())
    }
}

impl Resume for Known {
    /// Has the files fail whose ports are gone.
    fn late(&self, _wake: Wake) {
        for known in self.ports.lock().iter() {
            if !known.port.is_current() {
                known.inbox.set_lost(true);
            }
        }
    }
}
