// SPDX-License-Identifier: GPL-2.0

//! Xenstore client and the `oxen` bus.
//!
//! [`store()`] is the client: requests with time limits, transactions, watches. [`Driver`] is what a frontend implements
//! to be bound to the devices that the toolstack lists in the xenstore; [`module_xenbus_driver!`] makes a module of it.
//! `/dev/xen/xenbus` gives programs the same store.
//!
//! The server and the backends are not trusted. The rules that keep them in their place are in [`abi::xenstore`] and
//! [`abi::connection`]; here is what needs the kernel: threads, waiting, the driver model.

mod body;
mod bus;
mod chardev;
mod client;
mod debugfs;
mod device;
mod doorbell;
mod driver;
mod keys;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
mod link;
mod pump;
mod request;
mod scan;
mod slot;
mod store;
mod transaction;
mod watch;

pub use self::{
    body::{
        Children,
        Value, //
    },
    device::Device,
    driver::{
        Driver,
        Registration, //
    },
    keys::Keys,
    store::Store,
    transaction::Transaction,
    watch::{
        Watch,
        WatchHandler, //
    },
};

use kernel::{
    prelude::*,
    sync::{
        global_lock,
        Arc, //
    },
    time::Delta,
};
use linux::{
    bus::Registered,
    miscdev,
    module::or_idle,
    workqueue::OwnedQueue, //
};

use self::{
    bus::Oxen,
    chardev::Session,
    client::Client,
    doorbell::Doorbell,
    link::Link,
    scan::{
        Folder,
        Scan, //
    },
};

// Even the root disk is found with it.
linux::load_before!("oxen_time");

module! {
    type: Xenbus,
    name: "oxen_xenbus",
    authors: ["Oxen developers"],
    description: "Xenstore client and device bus",
    license: "GPL",
}

/// What users of this module reach.
pub(crate) struct Instance {
    store: Store,
    scan: Arc<Scan>,
}

impl Instance {
    pub(crate) fn bus(&self) -> &Arc<Registered<Oxen>> {
        self.scan.bus()
    }
}

global_lock! {
    // SAFETY: Initialised first thing in the module's initialiser.
    unsafe(uninit) static INSTANCE: Mutex<Option<Arc<Instance>>> = None;
}

pub(crate) fn instance() -> Result<Arc<Instance>> {
    INSTANCE.lock().as_ref().cloned().ok_or(ENODEV)
}

/// Returns the xenstore.
///
/// # Errors
///
/// `ENODEV` when there is no connection to it.
#[inline(never)]
pub fn store() -> Result<Store> {
    Ok(instance()?.store.clone())
}

/// Ties a user to this module: modpost sees the dependency only in a call.
///
/// # Errors
///
/// `ENODEV` when there is no connection to the xenstore.
#[inline(never)]
pub fn require() -> Result {
    instance().map(drop)
}

/// What the module does on Xen.
struct Service {
    client: Arc<Client>,
    scan: Arc<Scan>,
    folder: Option<Watch>,
    chardev: Option<Pin<KBox<miscdev::Registration<Session>>>>,
    files: Option<Pin<KBox<debugfs::Files>>>,
    /// Declared last: it stops when nobody has a request under way any more.
    _link: Link,
}

/// How long the module waits for answers that nobody needs before it goes away.
const SETTLE: Delta = Delta::from_secs(2);

impl Service {
    fn new(module: &'static ThisModule) -> Result<Self> {
        xen_core::require()?;
        evtchn::require()?;
        grant_table::require()?;

        let doorbell = Arc::pin_init(Doorbell::new(), GFP_KERNEL)?;
        let client = Client::new(doorbell.clone())?;
        let link = Link::new(&client, &doorbell)?;
        let store = Store::new(client.clone());
        forget_old_watches(&store);

        let queue = Arc::new(OwnedQueue::unbound(c"oxen_xenbus")?, GFP_KERNEL)?;
        let bus = Registered::new(module)?;
        let scan = Scan::new(queue, store.clone(), bus)?;
        // From here on dropping the value undoes it all in the right order.
        let mut this = Self {
            client,
            scan: scan.clone(),
            folder: None,
            chardev: None,
            files: None,
            _link: link,
        };
        let instance = Arc::new(
            Instance {
                store: store.clone(),
                scan: scan.clone(),
            },
            GFP_KERNEL,
        )?;
        *INSTANCE.lock() = Some(instance);
        // Its first event asks for the first scan.
        let folder = Arc::new(Folder(scan.clone()), GFP_KERNEL)?;
        this.folder = Some(store.watch("device", folder)?);
        this.chardev = Some(KBox::pin_init(miscdev::Registration::new(), GFP_KERNEL)?);
        // A kernel without debugfs works as well.
        if let Some(dir) = xen_core::debugfs_dir(c"xenbus") {
            let files = debugfs::Files::new(&dir, this.client.clone(), scan);
            this.files = Some(KBox::pin_init(files, GFP_KERNEL)?);
        }
        Ok(this)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.files.take());
        drop(self.chardev.take());
        drop(INSTANCE.lock().take());
        drop(self.folder.take());
        self.scan.stop();
        self.client.close();
        self.client.settle(SETTLE);
    }
}

/// The module.
pub struct Xenbus {
    _service: Option<Service>,
}

impl kernel::Module for Xenbus {
    fn init(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: This runs once, before anything else in the module.
        unsafe { INSTANCE.init() };
        Ok(Self {
            _service: or_idle(Service::new(module))?,
        })
    }
}

/// Firmware or an earlier load may have left watches behind, whose events nobody here knows.
fn forget_old_watches(store: &Store) {
    let supported = store
        .number::<u32>("control/platform-feature-xs_reset_watches")
        .ok()
        .flatten();
    if supported != Some(1) {
        return;
    }
    let reset = body::Message::new()
        .and_then(|message| message.raw(&[0]))
        .and_then(|message| {
            store
                .client()
                .call(abi::xenstore::wire::Kind::ResetWatches, 0, message)
        });
    if let Err(error) = reset {
        pr_warn!(
            "xenstore: watches of an earlier user could not be ended: {:?}\n",
            error
        );
    }
}
