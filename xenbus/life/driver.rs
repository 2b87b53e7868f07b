// SPDX-License-Identifier: GPL-2.0

//! What a frontend driver supplies.

use abi::connection::State;
use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::publication::Publication;
use crate::bus::device::Device;

/// A frontend driver.
///
/// The callbacks of one device run one at a time, on that device's own work. They may wait for the xenstore and for
/// memory, within bounds; only [`flush`](Driver::flush) and [`remove`](Driver::remove) may wait for the backend.
///
/// A connection is made by [`publish`](Driver::publish) and used from [`attach`](Driver::attach) on. It always ends with
/// [`retire`](Driver::retire) and then [`shut`](Driver::shut), whatever the backend does; the time between them belongs to
/// the backend. All writing of states, waiting, trying again and giving up is done by the bus.
///
/// # Examples
///
/// ```ignore
/// struct Frontend { ring: Mutex<Option<Ring>> }
///
/// impl xenbus::Driver for Frontend {
///     const NAME: &'static CStr = c"oxen_example";
///     const DEVICE_TYPES: &'static [&'static CStr] = &[c"example"];
///     const PUBLISHED: State = State::Initialised;
///     type Retired = Ring;
///
///     fn is_own_key(key: &[u8]) -> bool { matches!(key, b"ring-ref" | b"event-channel") }
///     fn probe(dev: &xenbus::Device) -> Result<Arc<Self>> { … }
///     fn publish(&self, dev: &xenbus::Device, keys: &mut xenbus::Publication) -> Result { … }
///     fn attach(&self, dev: &xenbus::Device) -> Result { … }
///     fn retire(&self, dev: &xenbus::Device) -> Option<Ring> { … }
///     fn shut(&self, dev: &xenbus::Device, ring: Ring) { … }
/// }
///
/// xenbus::module_xenbus_driver! {
///     type: Frontend,
///     name: "oxen_example",
///     authors: ["Oxen developers"],
///     description: "Xen example frontend",
///     license: "GPL",
///     alias: ["oxen:example"],
/// }
/// ```
pub trait Driver: Sized + Send + Sync + 'static {
    /// The driver's name under `/sys/bus/oxen/drivers`.
    const NAME: &'static CStr;

    /// The types of devices that it drives, as `vif`.
    const DEVICE_TYPES: &'static [&'static CStr];

    /// The state that tells the backend that the keys are written: [`State::Initialised`], or [`State::Connected`] where
    /// the protocol has it so.
    const PUBLISHED: State;

    /// A connection that this end does not use any more.
    type Retired: Send + 'static;

    /// Tells whether a key of the device's node is one that a frontend writes. Such a key that is not published is left
    /// over, and removed.
    fn is_own_key(key: &[u8]) -> bool;

    /// Sets a device up, without waiting for its backend.
    ///
    /// # Errors
    ///
    /// Whatever keeps the driver from handling the device; it stays unbound then.
    fn probe(dev: &Device) -> Result<Arc<Self>>;

    /// The backend says what it offers: makes rings and channels for it and adds their keys.
    ///
    /// # Errors
    ///
    /// [`retire`](Driver::retire) and [`shut`](Driver::shut) follow, so what was made may be left in place. After an error
    /// that may pass, as `ENOMEM`, it is tried again soon, after any other when a minute has passed.
    fn publish(&self, dev: &Device, keys: &mut Publication) -> Result;

    /// The backend is connected: requests may flow.
    ///
    /// # Errors
    ///
    /// After an error that may pass it is called again, so it must be able to go on from where it failed; any other ends
    /// the connection.
    fn attach(&self, dev: &Device) -> Result;

    /// The connected backend announces itself again: its properties may have changed.
    fn refresh(&self, _dev: &Device) {}

    /// The driver has asked for this with [`Device::update`], and the backend is connected: changes keys with
    /// [`Device::write_key`] that the backend watches.
    ///
    /// # Errors
    ///
    /// After an error that may pass it is called again; any other is left to the driver.
    fn update(&self, _dev: &Device) -> Result {
        Ok(())
    }

    /// The device is being taken away, and its backend still works: sends what must not be lost. May wait for the backend,
    /// a few seconds at most: the toolstack waits for 10.
    fn flush(&self, _dev: &Device) {}

    /// Stops using the connection, at once. `None` when there is none.
    fn retire(&self, dev: &Device) -> Option<Self::Retired>;

    /// Gives a connection back: the backend has let go of it, or is gone, or does not answer.
    fn shut(&self, dev: &Device, retired: Self::Retired);

    /// The device is being taken away, its connection is shut, and none will come unless the toolstack makes the device
    /// anew: fails what waits for one.
    fn end(&self, _dev: &Device) {}

    /// Gives back what is left, after [`end`](Driver::end). No callback comes after this one.
    fn remove(&self, _dev: &Device) {}
}
