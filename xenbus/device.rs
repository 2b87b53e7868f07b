// SPDX-License-Identifier: GPL-2.0

//! Devices as drivers see them.

use core::fmt;

use abi::{
    connection::State,
    types::DomainId,
    xenstore::{
        path::device_number,
        value::Number, //
    },
};
use kernel::{
    device, new_mutex,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc,
        Mutex, //
    },
    time::Delta,
};
use linux::{
    bus,
    wait::{
        Sleep,
        Woken, //
    },
};

use crate::{
    body::Value,
    bus::Oxen,
    driver::Bound,
    keys::Keys,
    slot::Slot,
    store::{
        Shown,
        Store, //
    },
};

/// How long [`Device::close`] waits for each of the backend's two moves.
const CLOSE_LIMIT: Delta = Delta::from_secs(10);

/// What the bus keeps about a device.
#[pin_data]
pub(crate) struct Node {
    pub(crate) store: Store,
    /// `device/vif/0`.
    pub(crate) nodename: CString,
    /// `vif`.
    pub(crate) kind: CString,
    /// `0`.
    pub(crate) name: CString,
    /// The backend's node.
    pub(crate) otherend: CString,
    pub(crate) otherend_id: DomainId,
    pub(crate) slot: Arc<Slot>,
    /// The state that we wrote last; the lock is held while writing.
    #[pin]
    pub(crate) own: Mutex<State>,
    /// The same for whoever must not wait, as a number.
    pub(crate) own_seen: Atomic<u32>,
    /// The backend's state when it was last read, as a number.
    pub(crate) otherend_seen: Atomic<u32>,
    /// The driver, while it is bound; the lock is held during its callbacks.
    #[pin]
    pub(crate) bound: Mutex<Option<Bound>>,
}

impl Node {
    #[expect(clippy::too_many_arguments)]
    pub(crate) fn new(
        store: Store,
        nodename: CString,
        kind: CString,
        name: CString,
        otherend: CString,
        otherend_id: DomainId,
        own: State,
        slot: Arc<Slot>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            store,
            nodename,
            kind,
            name,
            otherend,
            otherend_id,
            slot,
            own_seen: Atomic::new(u32::from(own.number())),
            own <- new_mutex!(own),
            otherend_seen: Atomic::new(0),
            bound <- new_mutex!(None),
        })
    }
}

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
    pub fn otherend(&self) -> &CStr {
        &self.node().otherend
    }

    /// Returns the backend's domain.
    pub fn otherend_id(&self) -> DomainId {
        self.node().otherend_id
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
        Keys::new(self.store(), self.otherend())
    }

    /// Reads a key of the device.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub fn read(&self, key: impl fmt::Display) -> Result<Value> {
        self.keys().read(key)
    }

    /// Writes a key of the device. For several at once use [`Self::transaction`].
    ///
    /// # Errors
    ///
    /// As [`Store::write`].
    pub fn write(&self, key: impl fmt::Display, value: impl fmt::Display) -> Result {
        self.transaction(|keys| keys.write(&key, &value))
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

    /// Changes several keys of the device at once. `with` may run more than once.
    ///
    /// # Errors
    ///
    /// `ENODEV` when the toolstack has removed the device: writing would make its node again. Otherwise as
    /// [`Store::transaction`].
    pub fn transaction<R>(&self, mut with: impl FnMut(&Keys<'_>) -> Result<R>) -> Result<R> {
        self.store().transaction(|store| {
            let keys = Keys::new(store, self.nodename());
            match keys.read("backend") {
                Ok(_) => with(&keys),
                Err(ENOENT | EACCES) => Err(ENODEV),
                Err(error) => Err(error),
            }
        })
    }

    /// Returns the state that we wrote last.
    pub fn state(&self) -> State {
        State::from_number(self.node().own_seen.load(Relaxed)).unwrap_or_default()
    }

    /// Returns the backend's state when it was last looked at.
    pub fn otherend_state(&self) -> State {
        State::from_number(self.node().otherend_seen.load(Relaxed)).unwrap_or_default()
    }

    /// Writes our state.
    ///
    /// # Errors
    ///
    /// As [`Self::transaction`].
    pub fn switch_state(&self, state: State) -> Result {
        let mut own = self.node().own.lock();
        if *own == state {
            return Ok(());
        }
        self.transaction(|keys| keys.write("state", state.as_text()))?;
        *own = state;
        self.node()
            .own_seen
            .store(u32::from(state.number()), Relaxed);
        Ok(())
    }

    /// Reads the backend's state. [`State::Unknown`] when its node is gone.
    ///
    /// # Errors
    ///
    /// `EINVAL` and one sentence in the log when it is no state; `ETIMEDOUT` and the like when the xenstore fails.
    pub fn read_otherend_state(&self) -> Result<State> {
        let state = match self.otherend_read("state") {
            // A folder that is gone reads as one that we have no right to.
            Err(ENOENT | EACCES) => State::Unknown,
            Err(error) => return Err(error),
            Ok(value) => State::parse(value.as_bytes()).map_err(|error| {
                if self.store().client().complain() {
                    dev_warn!(
                        self.as_ref(),
                        "the backend's state is not usable: {}\n",
                        Shown(&error)
                    );
                }
                EINVAL
            })?,
        };
        self.node()
            .otherend_seen
            .store(u32::from(state.number()), Relaxed);
        Ok(state)
    }

    /// Waits until the backend's state is one that `wanted` accepts; tells whether it came to that.
    ///
    /// For [`Driver::remove`](crate::Driver::remove) and the like. A vanished device or an unloading module ends the
    /// wait at once.
    pub fn await_otherend(&self, limit: Delta, mut wanted: impl FnMut(State) -> bool) -> bool {
        let slot = &self.node().slot;
        let until = kernel::time::Instant::<kernel::time::Monotonic>::now() + limit;
        loop {
            let seen = slot.changes();
            match self.read_otherend_state() {
                Ok(state) if wanted(state) => return true,
                Ok(State::Unknown) => return false,
                _ => {}
            }
            let left = until - kernel::time::Instant::now();
            if left.is_negative() || left.is_zero() || slot.is_over() {
                return false;
            }
            let woken = slot.wait().wait(Sleep::Uninterruptible, Some(left), || {
                slot.changes() != seen || slot.is_over()
            });
            if woken == Woken::TimedOut {
                return self.read_otherend_state().is_ok_and(wanted);
            }
        }
    }

    /// Shuts the connection down: Closing, and when the backend has followed or had its time, Closed, and when the
    /// backend has followed again, done. Tells whether the backend followed; what it maps it may still map when not.
    ///
    /// Waits up to twice 10 s for a silent backend and not at all for one that is gone.
    pub fn close(&self) -> bool {
        let live = !matches!(
            self.state(),
            State::Initialising | State::Closed | State::Unknown
        );
        if live && self.switch_state(State::Closing).is_err() {
            return false;
        }
        if live {
            self.await_otherend(CLOSE_LIMIT, |state| {
                !matches!(
                    state,
                    State::Connected
                        | State::Initialised
                        | State::Reconfiguring
                        | State::Reconfigured
                )
            });
        }
        if self.switch_state(State::Closed).is_err() {
            return false;
        }
        !live
            || self.await_otherend(CLOSE_LIMIT, |state| {
                !matches!(
                    state,
                    State::Connected
                        | State::Initialised
                        | State::Closing
                        | State::Reconfiguring
                        | State::Reconfigured
                )
            })
    }

    /// Gives the connection up for an error of ours or the backend's: says so in the log and in the device's `error`
    /// key, where the toolstack finds it, and goes to Closing.
    pub fn fatal(&self, error: Error, why: fmt::Arguments<'_>) {
        dev_err!(self.as_ref(), "{}: {:?}\n", why, error);
        // The toolstack reads a number and a text here.
        let number = error.to_errno().unsigned_abs();
        let written = self.transaction(|keys| keys.write("error", format_args!("{number} {why}")));
        if let Err(error) = written {
            dev_dbg!(
                self.as_ref(),
                "the error could not be written: {:?}\n",
                error
            );
        }
        let _ = self.switch_state(State::Closing);
    }

    /// Tells whether a driver is bound.
    pub(crate) fn is_bound(&self) -> bool {
        self.node().bound.lock().is_some()
    }

    /// Tells whether a driver was bound since the last call.
    pub(crate) fn take_fresh(&self) -> bool {
        let mut bound = self.node().bound.lock();
        match &mut *bound {
            Some(bound) => core::mem::take(&mut bound.fresh),
            None => false,
        }
    }

    /// Tells the driver the backend's state.
    pub(crate) fn deliver_otherend(&self) {
        // Read first: a server that does not answer must not keep the driver from being removed.
        let Ok(state) = self.read_otherend_state() else {
            return;
        };
        // A driver that was bound a moment ago hears of it when its connection is at its beginning.
        if let Some(bound) = self
            .node()
            .bound
            .lock()
            .as_ref()
            .filter(|bound| !bound.fresh)
        {
            bound.instance.otherend_changed(self, state);
        }
    }

    /// Asks for [`Driver::otherend_changed`](crate::Driver::otherend_changed) to be called with the backend's state as
    /// it is then: after a restart, or to try again.
    pub fn reevaluate(&self) {
        self.node().slot.otherend_changed();
    }
}
