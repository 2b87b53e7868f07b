// SPDX-License-Identifier: GPL-2.0

//! What the bus keeps about a device.

use abi::{
    connection::{
        Otherend,
        State,
        Written, //
    },
    types::DomainId,
};
use kernel::{
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::Atomic,
        Arc,
        Mutex, //
    },
};

use super::signal::Signal;
use crate::store::{
    watch::Watch,
    Store, //
};

/// The bus; what it does is in [`super::bus`].
pub(crate) struct Oxen;

/// A driver's hold on one device, its type forgotten.
pub(crate) trait Instance: Send {
    /// Something has happened to the device; its [`Signal`] says what.
    fn run(&mut self);

    /// The driver leaves the device.
    fn remove(&mut self);
}

/// What the xenstore says about a device when it is found.
pub(crate) struct Found {
    /// `device/vif/0`.
    pub(crate) nodename: CString,
    /// `vif`.
    pub(crate) kind: CString,
    /// `0`.
    pub(crate) name: CString,
    pub(crate) end: End,
    pub(crate) state: State,
}

/// The other end of a device.
#[derive(Clone)]
pub(crate) struct End {
    /// The backend's node.
    pub(crate) path: Arc<CString>,
    /// Its domain.
    pub(crate) id: DomainId,
}

impl End {
    pub(crate) fn as_otherend(&self) -> Otherend<'_> {
        Otherend {
            path: self.path.to_bytes(),
            id: self.id,
        }
    }
}

/// A device's node.
#[pin_data]
pub(crate) struct Node {
    pub(crate) store: Store,
    /// `device/vif/0`.
    pub(crate) nodename: CString,
    /// `vif`.
    pub(crate) kind: CString,
    /// `0`.
    pub(crate) name: CString,
    /// Where the backend is, which is elsewhere once the domain was restored.
    #[pin]
    pub(crate) end: Mutex<End>,
    /// The watch on its state, until the device is off the bus.
    #[pin]
    pub(crate) watch: Mutex<Option<Watch>>,
    pub(crate) signal: Arc<Signal>,
    /// What our state key holds; the lock is held while it is written or compared.
    #[pin]
    pub(crate) own: Mutex<Written>,
    /// The state for those who must not wait, as a number.
    pub(crate) own_seen: Atomic<u32>,
    /// The backend's state when it was last read, as a number.
    pub(crate) otherend_seen: Atomic<u32>,
    /// The driver, while it is bound; the lock is held while it works.
    #[pin]
    pub(crate) bound: Mutex<Option<KBox<dyn Instance>>>,
}

impl Node {
    pub(crate) fn new(
        store: Store,
        found: Found,
        watch: Watch,
        signal: Arc<Signal>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            own_seen: Atomic::new(u32::from(found.state.number())),
            own <- new_mutex!(Written::found(found.state)),
            otherend_seen: Atomic::new(0),
            bound <- new_mutex!(None),
            store,
            nodename: found.nodename,
            kind: found.kind,
            name: found.name,
            end <- new_mutex!(found.end),
            watch <- new_mutex!(Some(watch)),
            signal,
        })
    }
}
