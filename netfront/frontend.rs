// SPDX-License-Identifier: GPL-2.0

//! A network device from the first look to its removal: what it does as its backend's state changes.
//!
//! Nothing here waits for a backend that has yet to come up. If the backend breaks the rules of a ring, the device goes
//! down with one sentence, gives up the connection and makes a new one, a few times a minute at most.

use crate::{
    connection::{
        Connection,
        Retired, //
    },
    counters,
    interface::{
        self,
        Interface, //
    },
    queue::Queue,
    shown::Shown, //
};
use abi::{
    connection::{
        self,
        State,
        Step, //
    },
    net::{
        features::{
            keys,
            Offer, //
        },
        mac::Mac, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
};
use linux::{
    attempts::Attempts,
    delayed::DelayedCall,
    net::device::{
        Config,
        Registration, //
    },
    new_delayed_call, //
};

/// Number of queues.
const QUEUES: u32 = 1;

/// Milliseconds after which a queue that sends nothing counts as stuck.
const TX_TIMEOUT_MS: u32 = 30_000;

/// Milliseconds before a connection is replaced.
const REPLACE_DELAY_MS: u32 = 100;

/// A network device.
#[pin_data]
pub(crate) struct Frontend {
    dev: xenbus::Device,
    /// The backend broke the rules of a ring.
    broken: Atomic<bool>,
    /// Has the bus call us again.
    wake: Pin<KBox<DelayedCall<Frontend>>>,
    #[pin]
    link: Mutex<Link>,
}

/// What belongs to the connection.
struct Link {
    machine: connection::Frontend,
    counters: Option<counters::Shown>,
    netdev: Option<Registration<Interface>>,
    connection: Option<Connection>,
    /// The connection was given up and is to be made again when the backend is ready.
    recovering: bool,
    attempts: Attempts,
}

impl xenbus::Driver for Frontend {
    const NAME: &'static CStr = c"oxen_netfront";
    const DEVICE_TYPES: &'static [&'static CStr] = &[c"vif"];

    fn probe(dev: &xenbus::Device) -> Result<Arc<Self>> {
        let mac = read_mac(dev)?;
        let wake = new_delayed_call!("oxen_netfront_wake", |this: &Frontend| {
            this.dev.reevaluate();
            None
        })?;
        let this = Arc::pin_init(
            try_pin_init!(Self {
                dev: dev.clone(),
                broken: Atomic::new(false),
                wake,
                link <- new_mutex!(Link {
                    machine: connection::Frontend::new(),
                    counters: None,
                    netdev: None,
                    connection: None,
                    recovering: false,
                    attempts: Attempts::new(),
                }, "oxen_netfront_link"),
            }),
            GFP_KERNEL,
        )?;
        let config = Config {
            queues: QUEUES,
            mac: mac.bytes(),
            hw_features: interface::HW_FEATURES,
            fixed_features: interface::FIXED_FEATURES,
            tx_timeout: TX_TIMEOUT_MS,
        };
        let netdev = Registration::new(dev.as_ref(), &config, Interface::new(), |_| {
            Queue::new(this.clone())
        })?;
        let mut link = this.link.lock();
        link.counters = counters::Shown::new(dev, netdev.queues());
        link.netdev = Some(netdev);
        drop(link);
        this.wake.start(this.clone());
        Ok(this)
    }

    fn otherend_changed(self: &Arc<Self>, dev: &xenbus::Device, state: State) {
        let mut link = self.link.lock();
        if self.broken.xchg(false, Relaxed) {
            link.give_up(dev);
        }
        // A backend that begins anew is answered in two steps.
        for _ in 0..2 {
            if link.recovering && link.ready_again(state) {
                link.recovering = false;
                if !link.begin_again(dev) {
                    return;
                }
            }
            match link.machine.otherend(state) {
                Step::Wait | Step::Refresh => return,
                Step::Publish => return link.publish(dev),
                Step::Attach => return link.attach(dev),
                Step::Detach | Step::Abandon => {
                    link.disconnect();
                    link.write_state(dev, State::Closed);
                    link.machine.closed();
                    return;
                }
                Step::Restart => {
                    link.disconnect();
                    if !link.begin_again(dev) {
                        return;
                    }
                }
            }
        }
    }

    fn remove(self: &Arc<Self>, dev: &xenbus::Device) {
        self.wake.stop();
        let mut link = self.link.lock();
        let retired = link.retire();
        // With the rings out of use the interface can go at once; the backend gets its time to let go of them.
        dev.close();
        link.shut(retired);
        link.counters = None;
        drop(link.netdev.take());
    }
}

impl Frontend {
    /// The backend broke the rules of a ring. From any context.
    pub(crate) fn broken(&self, ring: &str, reason: &dyn core::fmt::Display) {
        dev_err!(
            self.dev.as_ref(),
            "{} ring: {}; the connection is replaced\n",
            ring,
            Shown(reason)
        );
        self.broken.store(true, Relaxed);
        self.wake.schedule(REPLACE_DELAY_MS);
    }
}

impl Link {
    /// Reads the offer, makes rings and channels, and tells the backend.
    fn publish(&mut self, dev: &xenbus::Device) {
        let offer = Offer::read(|key, parse| parse(dev.otherend_read(key).ok()?.as_bytes()));
        if !offer.rx_copy {
            dev.fatal(
                EOPNOTSUPP,
                format_args!("backend does not offer feature-rx-copy, which this driver needs"),
            );
            return self.close(dev);
        }
        let Some(netdev) = self.netdev.as_ref() else {
            return;
        };
        netdev.driver().set_offer(&offer);
        netdev.update_features();
        let opened = Connection::open(dev, netdev, &offer).and_then(|connection| {
            self.connection = Some(connection);
            dev.switch_state(State::Connected)
        });
        if let Err(error) = opened {
            dev.fatal(error, format_args!("the connection could not be made"));
            self.close(dev);
        }
    }

    /// The backend has connected.
    fn attach(&mut self, dev: &xenbus::Device) {
        let (Some(netdev), Some(_)) = (self.netdev.as_ref(), self.connection.as_ref()) else {
            return;
        };
        for napi in netdev.queues() {
            Queue::start(napi);
        }
        netdev.wake_queues();
        netdev.carrier_on();
        netdev.notify_peers();
        dev_dbg!(dev.as_ref(), "connected\n");
    }

    /// Stops using the connection. What comes back is to be [`shut`](Self::shut).
    fn retire(&mut self) -> Option<Retired> {
        let connection = self.connection.take()?;
        Some(connection.retire(self.netdev.as_ref()?))
    }

    /// Gives back what belonged to a connection.
    fn shut(&mut self, retired: Option<Retired>) {
        if let (Some(netdev), Some(retired)) = (self.netdev.as_ref(), retired) {
            retired.shut(netdev);
        }
    }

    /// Ends the connection, if there is one.
    fn disconnect(&mut self) {
        let retired = self.retire();
        self.shut(retired);
    }

    /// Ends the connection on our part, for good.
    fn close(&mut self, dev: &xenbus::Device) {
        self.disconnect();
        self.write_state(dev, State::Closed);
        self.machine.closed();
    }

    /// Ends a connection that cannot be used any more, and takes note to make another.
    fn give_up(&mut self, dev: &xenbus::Device) {
        let retired = self.retire();
        if retired.is_none() {
            return;
        }
        dev.close();
        self.shut(retired);
        self.machine.closed();
        self.recovering = true;
    }

    /// Whether the backend's state lets us begin again.
    fn ready_again(&self, state: State) -> bool {
        self.machine.phase() == connection::Phase::Closed
            && matches!(state, State::Closed | State::Initialising | State::InitWait)
    }

    /// Goes back to the beginning, unless that happened too often.
    fn begin_again(&mut self, dev: &xenbus::Device) -> bool {
        if !self.attempts.another() {
            dev_err!(
                dev.as_ref(),
                "gives up after {} connections within a minute; detach and attach the device to try again\n",
                Attempts::MOST
            );
            self.write_state(dev, State::Closed);
            self.machine.closed();
            return false;
        }
        self.write_state(dev, State::Initialising);
        self.machine.restarted();
        true
    }

    fn write_state(&self, dev: &xenbus::Device, state: State) {
        if let Err(error) = dev.switch_state(state) {
            // The toolstack may have taken the device away already.
            dev_dbg!(dev.as_ref(), "state could not be written: {:?}\n", error);
        }
    }
}

/// Reads the hardware address, which some toolstacks leave to the backend's folder.
fn read_mac(dev: &xenbus::Device) -> Result<Mac> {
    let value = dev
        .read(keys::MAC)
        .or_else(|_| dev.otherend_read(keys::MAC))
        .inspect_err(|_| {
            dev_err!(dev.as_ref(), "there is no key mac in the xenstore\n");
        })?;
    Mac::parse(value.as_bytes()).map_err(|error| {
        dev_err!(
            dev.as_ref(),
            "the hardware address in the xenstore is {}\n",
            Shown(&error)
        );
        EINVAL
    })
}
