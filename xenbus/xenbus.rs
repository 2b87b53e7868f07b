// SPDX-License-Identifier: GPL-2.0

//! Xenstore client and the `oxen` bus.
//!
//! [`store()`] is the client: requests with time limits, transactions, watches. The bus finds the devices that the
//! toolstack lists in the xenstore; [`Driver`] is what a frontend supplies, [`module_xenbus_driver!`] makes a module of it.
//! `/dev/xen/xenbus` gives programs the same store.
//!
//! The server and the backends are not trusted. The rules that keep them in their place are in [`abi::xenstore`] and
//! [`abi::connection`]; here is what needs the kernel: threads, waiting, the driver model.

mod bus;
mod chardev;
mod debugfs;
mod follow;
mod instance;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
mod life;
mod shutdown;
mod store;
mod suspend;

pub use self::{
    bus::device::Device,
    follow::{
        Complaints,
        Follow,
        Following, //
    },
    instance::{
        require,
        store, //
    },
    life::{
        driver::Driver,
        publication::Publication,
        registration::Registration, //
    },
    store::{
        body::{
            Children,
            Value, //
        },
        error::is_transient,
        keys::Keys,
        offer::Offer,
        transaction::Transaction,
        watch::{
            Watch,
            WatchHandler, //
        },
        Store, //
    },
};

use abi::xenstore::shares::User;
use kernel::{
    prelude::*,
    sync::Arc,
    time::Delta, //
};
use linux::{
    bus::Registered,
    miscdev,
    module::or_idle,
    power::shutdown::Hook, //
};
use xen_core::resume::{
    self,
    Stage, //
};

use self::{
    bus::scan::{
        Folder,
        Scan, //
    },
    chardev::Session,
    instance::{
        Instance,
        INSTANCE, //
    },
    store::{
        client::{
            Client,
            SETTLE, //
        },
        connection::Connection,
        doorbell::Doorbell, //
    },
};

// Even the root disk is found with the first; with the others the toolstack can end a guest that has any driver, and a
// guest that was built with more memory than it may use gives it back before it runs out.
linux::load_around!(before = "oxen_time", after = "oxen_control oxen_balloon");

linux::own_module!();

module! {
    type: Xenbus,
    name: "oxen_xenbus",
    authors: ["Oxen developers"],
    description: "Xenstore client and device bus",
    license: "GPL",
}

/// What the module does on Xen.
struct Service {
    /// Before the others: nothing is undone twice.
    shutdown: Option<Pin<KBox<Hook<shutdown::Parting>>>>,
    resume: Option<resume::Registration>,
    client: Arc<Client>,
    scan: Arc<Scan>,
    folder: Option<Watch>,
    chardev: Option<Pin<KBox<miscdev::Registration<Session>>>>,
    files: Option<Pin<KBox<debugfs::Files>>>,
    /// Declared last: it stops when nobody has a request under way any more.
    connection: Connection,
}

/// How long a request to the xenstore may take.
const REQUEST_LIMIT: Delta = Delta::from_secs(30);

impl Service {
    fn new(module: &'static ThisModule) -> Result<Self> {
        xen_core::require()?;
        evtchn::require()?;
        grant_table::require()?;

        let doorbell = Arc::pin_init(Doorbell::new(), GFP_KERNEL)?;
        let client = Client::new(doorbell.clone(), REQUEST_LIMIT)?;
        let connection = Connection::new(&client, &doorbell)?;
        let store = Store::new(client.clone(), User::Kernel);
        store.forget_earlier_user();

        let bus = Registered::new(module)?;
        let scan = Scan::new(store.clone(), bus.clone())?;
        // From here on dropping the value undoes it all in the right order.
        let mut this = Self {
            shutdown: None,
            resume: None,
            client,
            scan: scan.clone(),
            folder: None,
            chardev: None,
            files: None,
            connection,
        };
        let instance = Arc::new(
            Instance {
                store: store.clone(),
                bus,
            },
            GFP_KERNEL,
        )?;
        *INSTANCE.lock() = Some(instance);
        // Its first event asks for the first scan.
        let folder = Arc::new(Folder(scan.clone()), GFP_KERNEL)?;
        this.folder = Some(store.watch("device", folder)?);
        this.chardev = Some(KBox::pin_init(miscdev::Registration::new(()), GFP_KERNEL)?);
        // A kernel without debugfs works as well.
        if let Some(dir) = xen_core::debugfs_dir(c"xenbus") {
            let files = debugfs::Files::new(&dir, this.client.clone(), scan);
            this.files = Some(KBox::pin_init(files, GFP_KERNEL)?);
        }
        let parting = shutdown::Parting {
            client: this.client.clone(),
            scan: this.scan.clone(),
        };
        let suspend = suspend::Suspend {
            client: this.client.clone(),
            scan: this.scan.clone(),
            wire: this.connection.wire().clone(),
        };
        let suspend = Arc::new(suspend, GFP_KERNEL)?;
        this.resume = Some(resume::Registration::new(Stage::Store, suspend)?);
        this.shutdown = Some(Hook::new(Arc::new(parting, GFP_KERNEL)?)?);
        Ok(this)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        drop(self.resume.take());
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
