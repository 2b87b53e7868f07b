// SPDX-License-Identifier: GPL-2.0

//! What a network device is made of; the bus decides when.

use crate::{
    connection::{
        Connection,
        Retired, //
    },
    debug::CountersFile,
    given::Given,
    interface::{
        self,
        Interface, //
    },
    queue::{
        groups,
        Queue, //
    }, //
};
use abi::{
    connection::State,
    net::{
        features::{
            is_frontend_key,
            Offer, //
        },
        share::Share,
        MAX_TX_SIZE, //
    },
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
    cpu,
    error::EOPNOTSUPP,
    net::{
        device::Config,
        registration::Registration, //
    },
};
use xenbus::Publication;

/// Bytes that a queue's limit does not go below: so many large packets that the backend works on some of them while others
/// come, and need not be woken for each.
const MIN_LIMIT: u32 = 8 * MAX_TX_SIZE as u32;

/// Milliseconds after which a queue that sends nothing counts as stuck.
const TX_TIMEOUT_MS: u32 = 30_000;

/// A network device.
#[pin_data]
pub(crate) struct Frontend {
    netdev: Registration<Interface>,
    #[pin]
    inner: Mutex<Inner>,
}

/// What only the callbacks of the bus use.
struct Inner {
    connection: Option<Connection>,
    given: Given,
    counters: Option<CountersFile>,
}

impl xenbus::Driver for Frontend {
    const NAME: &'static CStr = c"oxen_netfront";
    const DEVICE_TYPES: &'static [&'static CStr] = &[c"vif"];
    const PUBLISHED: State = State::Connected;
    type Retired = Retired;

    fn is_own_key(key: &[u8]) -> bool {
        is_frontend_key(key)
    }

    fn probe(dev: &xenbus::Device) -> Result<Arc<Self>> {
        let given = Given::read(dev)?;
        let config = Config {
            // CAST: Queues are few.
            queues: Share::made(cpu::possible().count() as u32),
            mtu: given.mtu,
            mac: given.mac.bytes(),
            hw_features: interface::HW_FEATURES,
            off_features: interface::OFF_FEATURES,
            fixed_features: interface::FIXED_FEATURES,
            tso_max_size: MAX_TX_SIZE,
            tx_timeout: TX_TIMEOUT_MS,
        };
        let netdev = Registration::new(dev.as_ref(), &config, Interface::new(dev.clone()), |_| {
            Queue::new(dev.clone())
        })?;
        for queue in netdev
            .queues()
            .iter()
            .filter_map(|napi| netdev.tx_queue(napi.index()))
        {
            queue.set_min_limit(MIN_LIMIT);
        }
        let counters = CountersFile::new(dev, netdev.queues());
        Arc::pin_init(
            try_pin_init!(Self {
                netdev,
                inner <- new_mutex!(Inner { connection: None, given, counters }, "oxen_netfront"),
            }? Error),
            GFP_KERNEL,
        )
    }

    fn publish(&self, dev: &xenbus::Device, keys: &mut Publication) -> Result {
        let mut failed = Ok(());
        let offer = Offer::read(|key, parse| match dev.otherend_read(key) {
            Ok(value) => parse(value.as_bytes()),
            Err(ENOENT) => None,
            Err(error) => {
                failed = Err(error);
                None
            }
        });
        failed?;
        if !offer.rx_copy {
            dev_err!(
                dev.as_ref(),
                "the backend does not offer feature-rx-copy, which this driver needs\n"
            );
            return Err(EOPNOTSUPP);
        }
        let queues = self.netdev.queues().iter();
        if queues.filter(|queue| queue.patience.take_news()).count() != 0 {
            dev_warn!(
                dev.as_ref(),
                "the backend took no packet; the connection is replaced\n"
            );
        }
        self.netdev.driver().set_offer(&offer);
        if self.netdev.driver().programs.attached() && !offer.headroom {
            dev_warn!(
                dev.as_ref(),
                "the backend does not offer feature-xdp-headroom: packets are moved for the XDP program\n"
            );
        }
        self.take_over(Given::read(dev)?)?;
        // CAST: CPUs are few.
        let cpus = cpu::online().count() as u32;
        let share = self.netdev.driver().share(self.netdev.queues().len());
        // Without room in the store for the keys of several queues there is one.
        let count = if keys.is_short() {
            1
        } else {
            share.count(cpus)
        };
        let connection = Connection::open(dev, &self.netdev, &offer, count as usize)?;
        let count = connection.len();
        let added = connection.add_keys(keys);
        self.inner.lock().connection = Some(connection);
        added?;
        self.netdev.set_queue_count(count)
    }

    fn attach(&self, dev: &xenbus::Device) -> Result {
        for napi in self.netdev.queues() {
            Queue::start(napi);
        }
        if let Some(connection) = &self.inner.lock().connection {
            connection.connected(&self.netdev);
        }
        self.netdev.wake_queues();
        self.netdev.carrier_on();
        self.netdev.notify_peers();
        dev_dbg!(dev.as_ref(), "connected\n");
        Ok(())
    }

    fn update(&self, dev: &xenbus::Device) -> Result {
        groups::update(dev, &self.netdev)
    }

    fn retire(&self, _dev: &xenbus::Device) -> Option<Retired> {
        let connection = self.inner.lock().connection.take()?;
        Some(connection.retire(&self.netdev))
    }

    fn shut(&self, _dev: &xenbus::Device, retired: Retired) {
        retired.shut(&self.netdev);
    }

    fn remove(&self, _dev: &xenbus::Device) {
        self.inner.lock().counters = None;
    }
}

impl Frontend {
    /// Takes over what the toolstack has changed since it was read last; what the user set stays otherwise.
    fn take_over(&self, given: Given) -> Result {
        let before = self.inner.lock().given;
        if given.mac != before.mac {
            self.netdev.set_mac(given.mac.bytes())?;
        }
        let mtu = (given.mtu != before.mtu).then_some(given.mtu);
        self.netdev.update_features(mtu);
        self.inner.lock().given = given;
        Ok(())
    }
}
