// SPDX-License-Identifier: GPL-2.0

//! Devices as drivers see them.

use core::fmt;

use abi::{
    connection::{
        BadState,
        State,
        Written, //
    },
    types::DomainId,
    xenstore::{
        path::device_number,
        value::Number, //
    },
};
use kernel::{
    device,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::ordering::Relaxed,
        Arc, //
    },
};
use linux::{
    bus,
    fmt::Shown, //
};

use super::{
    node::{
        End,
        Node,
        Oxen, //
    },
    signal::Signal, //
};
use crate::store::{
    body::Value,
    keys::Keys,
    text::text,
    watch::{
        Watch,
        WatchHandler, //
    },
    Store, //
};

/// A device on the bus: a counted reference, so a driver may keep a clone.
///
/// `AsRef` gives the [`device::Device`] for parents and logs: `dev_info!(dev.as_ref(), …)`.
#[derive(Clone)]
pub struct Device(ARef<bus::Device<Oxen>>);

impl From<&bus::Device<Oxen>> for Device {
    fn from(device: &bus::Device<Oxen>) -> Self {
        Self(device.into())
    }
}

impl AsRef<device::Device> for Device {
    fn as_ref(&self) -> &device::Device {
        (*self.0).as_ref()
    }
}

impl Device {
    pub(crate) fn node(&self) -> &Node {
        self.0.data()
    }

    /// Returns the device's node in the xenstore, as `device/vif/0`.
    pub fn nodename(&self) -> &CStr {
        &self.node().nodename
    }

    /// Returns the device's type, as `vif`.
    pub fn devicetype(&self) -> &CStr {
        &self.node().kind
    }

    /// Returns the device's name among its type, as `0`.
    pub fn name(&self) -> &CStr {
        &self.node().name
    }

    /// Returns the device's number among its type, as 51712 for a disk.
    ///
    /// # Errors
    ///
    /// `EINVAL` and one sentence in the log when its name is no number.
    pub fn id(&self) -> Result<u32> {
        device_number(self.name().to_bytes()).map_err(|error| {
            dev_err!(
                self.as_ref(),
                "its name in the xenstore is not usable: {}\n",
                Shown(&error)
            );
            EINVAL
        })
    }

    /// Returns the backend's node in the xenstore.
    pub(crate) fn otherend(&self) -> Arc<CString> {
        self.node().end.lock().path.clone()
    }

    /// Returns the backend's domain.
    pub fn otherend_id(&self) -> DomainId {
        self.node().end.lock().id
    }

    /// Returns the xenstore.
    pub fn store(&self) -> &Store {
        &self.node().store
    }

    /// Returns the device's own keys.
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(self.store(), self.nodename())
    }

    /// Returns the backend's keys.
    pub fn otherend_keys(&self) -> Keys<'_> {
        Keys::below(self.store(), self.otherend())
    }

    /// Reads a key of the device.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub fn read(&self, key: impl fmt::Display) -> Result<Value> {
        self.keys().read(key)
    }

    /// Reads a key of the backend.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub fn otherend_read(&self, key: impl fmt::Display) -> Result<Value> {
        self.otherend_keys().read(key)
    }

    /// Reads a number of the backend; `None` when there is no such key.
    ///
    /// # Errors
    ///
    /// As [`Store::number`].
    pub fn otherend_number<T: Number>(&self, key: impl fmt::Display) -> Result<Option<T>> {
        self.otherend_keys().number(key)
    }

    /// Returns the state that we wrote last.
    pub fn state(&self) -> State {
        State::from_number(self.node().own_seen.load(Relaxed)).unwrap_or_default()
    }

    /// Returns the backend's state when it was last looked at.
    pub fn otherend_state(&self) -> State {
        State::from_number(self.node().otherend_seen.load(Relaxed)).unwrap_or_default()
    }

    /// Changes keys with `with`, which may run more than once, and writes our state, all at once.
    ///
    /// # Errors
    ///
    /// `ENODEV` when the node is not this device's any more, which ends the device. Otherwise as [`Store::transaction`].
    pub(crate) fn write_state(
        &self,
        state: State,
        mut with: impl FnMut(&Keys<'_>) -> Result,
    ) -> Result {
        let node = self.node();
        let mut own = node.own.lock();
        let mut ours = true;
        let result = self.store().transaction(|store| {
            let keys = Keys::new(store, self.nodename());
            ours = read_state(&keys)?.is_ok_and(|state| own.is_ours(state));
            // An answer that is lost does not say whether the write is.
            own.may_have_written(state);
            if ours && own.state() == State::Unknown {
                // Is there a node at all? To write would make one.
                ours = present(keys.read("backend"))?.is_some();
            }
            if !ours {
                return Err(ENODEV);
            }
            with(&keys)?;
            keys.write("state", state.as_text())
        });
        match result {
            Ok(()) => {
                own.wrote(state);
                node.own_seen.store(u32::from(state.number()), Relaxed);
            }
            Err(_) if !ours => node.signal.vanish(),
            Err(_) => {}
        }
        result
    }

    /// Writes one key, while our state stays as it is. For [`Driver::update`](crate::Driver::update).
    ///
    /// # Errors
    ///
    /// `ENODEV` when the node is not this device's any more, which ends the device. Otherwise as [`Store::transaction`].
    pub fn write_key(&self, key: impl fmt::Display, value: impl fmt::Display) -> Result {
        let node = self.node();
        let mut own = node.own.lock();
        let mut ours = true;
        let result = self.store().transaction(|store| {
            let keys = Keys::new(store, self.nodename());
            ours = read_state(&keys)?.is_ok_and(|state| own.is_ours(state));
            if !ours || own.state() == State::Unknown {
                return Err(ENODEV);
            }
            keys.write(&key, &value)
        });
        if !ours {
            node.signal.vanish();
        }
        result
    }

    /// Reads the backend's state, [`State::Unknown`] when its node is gone, and whether the toolstack keeps the device
    /// online.
    ///
    /// # Errors
    ///
    /// `EINVAL` and one sentence in the log when it is no state; `ETIMEDOUT` and the like when the xenstore fails.
    pub(crate) fn read_otherend(&self) -> Result<(State, bool)> {
        let keys = self.otherend_keys();
        let state = read_state(&keys)?.map_err(|error| {
            if self.store().client().complain() {
                dev_warn!(
                    self.as_ref(),
                    "the backend's state is not usable: {}\n",
                    Shown(&error)
                );
            }
            EINVAL
        })?;
        self.node()
            .otherend_seen
            .store(u32::from(state.number()), Relaxed);
        let online = match state {
            // Nobody asks in other states.
            State::Closing | State::Closed => match keys.number::<u32>("online") {
                Ok(online) => online != Some(0),
                Err(EINVAL | EACCES) => true,
                Err(error) => return Err(error),
            },
            _ => true,
        };
        Ok((state, online))
    }

    /// The domain was restored: where the backend is, and what our state key holds, has to be found out.
    pub(crate) fn resumed(&self) {
        let node = self.node();
        *node.own.lock() = Written::default();
        node.own_seen.store(0, Relaxed);
        node.otherend_seen.store(0, Relaxed);
        node.signal.resume();
    }

    /// The other end was found again after that.
    ///
    /// # Errors
    ///
    /// As [`Store::watch`].
    pub(crate) fn found_again(&self, end: End) -> Result {
        let node = self.node();
        let watch = watch_otherend(self.store(), &end, &node.signal)?;
        *node.end.lock() = end;
        let former = node.watch.lock().replace(watch);
        drop(former);
        node.signal.found();
        Ok(())
    }

    /// Ends the watch on the backend's state.
    pub(crate) fn unwatch(&self) {
        let watch = self.node().watch.lock().take();
        drop(watch);
    }

    /// Says in the log and in the store, where the toolstack looks for it, what keeps the device from working.
    pub(crate) fn report(&self, error: Error, why: fmt::Arguments<'_>) {
        dev_err!(self.as_ref(), "{}: {:?}\n", why, error);
        let written = self.store().report_error(self.nodename(), error, why);
        if let Err(error) = written {
            dev_dbg!(
                self.as_ref(),
                "the error could not be written: {:?}\n",
                error
            );
        }
    }

    /// Takes back what [`Self::report`] said.
    pub(crate) fn unreport(&self) {
        let _ = self.store().unreport_error(self.nodename());
    }

    /// Tells whether a driver is bound.
    pub(crate) fn is_bound(&self) -> bool {
        self.node().bound.lock().is_some()
    }

    pub(crate) fn signal(&self) -> &Signal {
        &self.node().signal
    }

    /// The backend broke the rules: the connection is replaced by a new one, and the log gets the reason. From any
    /// context.
    pub fn broken(&self, reason: impl fmt::Display) {
        self.signal().fail(format_args!("{reason}"));
    }

    /// Has the connection, if there is one, replaced by a new one that the driver publishes otherwise. From any context.
    pub fn renew(&self) {
        self.signal().renew();
    }

    /// Has the driver's [`update`](crate::Driver::update) called, as soon as the backend is connected. From any context.
    pub fn update(&self) {
        self.signal().update();
    }
}

/// Watches the backend's state.
///
/// # Errors
///
/// As [`Store::watch`].
pub(crate) fn watch_otherend(store: &Store, end: &End, signal: &Arc<Signal>) -> Result<Watch> {
    let changed = Arc::new(OtherendWatch(signal.clone()), GFP_KERNEL)?;
    store.watch(format_args!("{}/state", text(&end.path)), changed)
}

/// What that watch tells.
struct OtherendWatch(Arc<Signal>);

impl WatchHandler for OtherendWatch {
    fn changed(&self, _path: &[u8]) {
        self.0.otherend_changed();
    }
}

/// Reads a `state` key: [`State::Unknown`] when there is none.
fn read_state(keys: &Keys<'_>) -> Result<core::result::Result<State, BadState>> {
    Ok(match present(keys.read("state"))? {
        Some(value) => State::parse(value.as_bytes()),
        None => Ok(State::Unknown),
    })
}

/// A folder that is gone reads as one that we have no right to.
fn present(value: Result<Value>) -> Result<Option<Value>> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(ENOENT | EACCES) => Ok(None),
        Err(error) => Err(error),
    }
}
