// SPDX-License-Identifier: GPL-2.0

//! How received packets are hashed and spread over the queues, as the user wants it: it outlives connections.

use crate::control::ControlRing;
use abi::net::steering::{
    even,
    KEY,
    TABLE, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// What the user wants, and the connection that is told.
#[pin_data]
pub(crate) struct Steering {
    #[pin]
    inner: Mutex<Inner>,
}

struct Inner {
    on: bool,
    key: [u8; KEY],
    /// None until the user has set one: all queues get as much.
    table: Option<[u32; TABLE]>,
    connection: Option<Steered>,
}

/// A connection to a backend that has connected, too.
struct Steered {
    queues: u32,
    ring: Option<Arc<ControlRing>>,
}

/// Whether the backend can be told.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use = "the connection has to be renewed"]
pub(crate) enum Told {
    /// It was, or need not be, or will be as soon as it has connected.
    Yes,
    /// Not over this connection, which has no control ring.
    NotHere,
}

impl Steering {
    pub(crate) fn new(key: [u8; KEY]) -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- new_mutex!(
                Inner {
                    on: false,
                    key,
                    table: None,
                    connection: None,
                },
                "oxen_netfront_steering"
            ),
        })
    }

    /// Whether a connection needs a control ring.
    pub(crate) fn is_on(&self) -> bool {
        self.inner.lock().on
    }

    /// The backend has connected, with so many queues.
    pub(crate) fn connected(&self, queues: u32, ring: Option<Arc<ControlRing>>) -> Told {
        let mut inner = self.inner.lock();
        inner.connection = Some(Steered { queues, ring });
        if inner.on {
            inner.tell()
        } else {
            Told::Yes
        }
    }

    /// The connection is not used any more.
    pub(crate) fn disconnected(&self) {
        self.inner.lock().connection = None;
    }

    /// The user wants hashes, or none.
    pub(crate) fn set_on(&self, on: bool) -> Told {
        let mut inner = self.inner.lock();
        if core::mem::replace(&mut inner.on, on) == on {
            return Told::Yes;
        }
        match inner.tell() {
            // There never were hashes over this one.
            Told::NotHere if !on => Told::Yes,
            told => told,
        }
    }

    /// The user wants another key, or another table.
    ///
    /// # Errors
    ///
    /// `EINVAL` if one has another length than ours.
    pub(crate) fn set(&self, key: Option<&[u8]>, table: Option<&[u32]>) -> Result {
        let key = key.map(<[u8; KEY]>::try_from).transpose();
        let table = table.map(<[u32; TABLE]>::try_from).transpose();
        let (key, table) = (key.map_err(|_| EINVAL)?, table.map_err(|_| EINVAL)?);
        let mut inner = self.inner.lock();
        inner.key = key.unwrap_or(inner.key);
        inner.table = table.or(inner.table);
        if inner.on {
            // A connection without a ring is about to be renewed.
            let _ = inner.tell();
        }
        Ok(())
    }

    /// Tells the key and the table. Returns whether the backend hashes by them.
    pub(crate) fn read(&self, key: Option<&mut [u8]>, table: Option<&mut [u32]>) -> bool {
        let inner = self.inner.lock();
        if let Some(key) = key {
            for (to, from) in key.iter_mut().zip(inner.key) {
                *to = from;
            }
        }
        if let Some(table) = table {
            for (to, from) in table.iter_mut().zip(inner.spread()) {
                *to = from;
            }
        }
        let ring = inner.connection.as_ref().and_then(|to| to.ring.as_ref());
        ring.is_some_and(|ring| ring.hashes())
    }
}

impl Inner {
    fn tell(&self) -> Told {
        match &self.connection {
            None => Told::Yes,
            Some(Steered { ring: None, .. }) => Told::NotHere,
            Some(Steered {
                ring: Some(ring), ..
            }) => {
                ring.tell(self.on, &self.key, &self.spread());
                Told::Yes
            }
        }
    }

    /// The table for the queues that there are, which may be fewer than the user knew of.
    fn spread(&self) -> [u32; TABLE] {
        let queues = self.connection.as_ref().map_or(1, |to| to.queues);
        match self.table {
            Some(table) => table.map(|queue| even(queue, queues)),
            // CAST: A few entries.
            None => core::array::from_fn(|index| even(index as u32, queues)),
        }
    }
}
