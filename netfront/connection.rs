// SPDX-License-Identifier: GPL-2.0

//! A connection: the rings and event channels of all queues, and how the backend learns of them.

use crate::{
    interface::Interface,
    queue::{
        Direction,
        Queue,
        Waker, //
    },
    ring::{
        Notifier,
        SharedPage, //
    },
    rx::RxRing,
    tx::TxRing, //
};
use abi::{
    net::{
        features::{
            flag,
            keys,
            Offer, //
        },
        gso::GsoAccepted, //
    },
    types::GrantRef, //
};
use core::fmt;
use evtchn::{
    Channel,
    Listener, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::net::{
    device::Device,
    napi::Napi, //
};
use xenbus::Keys;

/// Kinds of packets to be segmented that we let the backend send.
const ACCEPTED: GsoAccepted = GsoAccepted {
    v4: false,
    v6: false,
};

/// What a queue has told the backend.
struct Published {
    tx_ring: GrantRef,
    rx_ring: GrantRef,
    tx_notifier: Notifier,
    /// If it is not the same.
    rx_notifier: Option<Notifier>,
}

/// A connection to the backend.
pub(crate) struct Connection {
    queues: KVec<Published>,
    /// Room for all rings, so that giving them up needs no memory.
    rings: KVec<Rings>,
}

/// The rings of a queue, as far as it had some.
type Rings = (Option<TxRing>, Option<RxRing>);

/// Rings that are no longer used by us, but may be by the backend.
pub(crate) struct Retired {
    rings: KVec<Rings>,
}

impl Connection {
    /// Makes rings and event channels, puts them into the queues, and writes their keys.
    ///
    /// # Errors
    ///
    /// Whatever is short; nothing is left of it then.
    pub(crate) fn open(
        dev: &xenbus::Device,
        netdev: &Device<Interface>,
        offer: &Offer,
    ) -> Result<Self> {
        let trusted = match dev.read(keys::TRUSTED) {
            Ok(value) => flag(value.as_bytes()) != Some(false),
            Err(_) => true,
        };
        let mut connection = Self {
            queues: KVec::with_capacity(netdev.queues().len(), GFP_KERNEL)?,
            rings: KVec::with_capacity(netdev.queues().len(), GFP_KERNEL)?,
        };
        let opened = netdev
            .queues()
            .iter()
            .try_for_each(|napi| {
                let queue = open_queue(dev, napi, offer, trusted)?;
                connection
                    .queues
                    .push(queue, GFP_KERNEL)
                    .map_err(Error::from)
            })
            .and_then(|()| dev.transaction(|keys| connection.write_keys(keys)));
        match opened {
            Ok(()) => Ok(connection),
            Err(error) => {
                connection.retire(netdev).shut(netdev);
                Err(error)
            }
        }
    }

    fn write_keys(&self, keys: &Keys<'_>) -> Result {
        for key in [keys::REQUEST_RX_COPY, keys::RX_NOTIFY, keys::SG] {
            keys.write(key, 1)?;
        }
        keys.write(keys::IPV6_CSUM_OFFLOAD, 1)?;
        keys.write(keys::GSO_TCPV4, u8::from(ACCEPTED.v4))?;
        keys.write(keys::GSO_TCPV6, u8::from(ACCEPTED.v6))?;
        // A single queue has its keys at the top, several have each their own folder.
        match self.queues.as_slice() {
            [queue] => queue.write_keys(keys, &""),
            queues => {
                keys.write(keys::NUM_QUEUES, queues.len())?;
                for (index, queue) in queues.iter().enumerate() {
                    queue.write_keys(keys, &format_args!("queue-{index}/"))?;
                }
                Ok(())
            }
        }
    }

    /// Takes the rings out of the queues and closes the event channels: we use nothing of it any more.
    pub(crate) fn retire(self, netdev: &Device<Interface>) -> Retired {
        netdev.carrier_off();
        netdev.stop_queues();
        let mut rings = self.rings;
        for napi in netdev.queues() {
            // There is room for the rings of all queues.
            let _ = rings.push_within_capacity(napi.detach());
            if let Some(queue) = netdev.tx_queue(napi.index()) {
                queue.reset();
            }
        }
        Retired { rings }
    }
}

impl Published {
    fn write_keys(&self, keys: &Keys<'_>, folder: &dyn fmt::Display) -> Result {
        keys.write(format_args!("{folder}{}", keys::TX_RING_REF), self.tx_ring)?;
        keys.write(format_args!("{folder}{}", keys::RX_RING_REF), self.rx_ring)?;
        let tx = self.tx_notifier.port();
        match &self.rx_notifier {
            None => keys.write(format_args!("{folder}{}", keys::EVENT_CHANNEL), tx),
            Some(rx) => {
                keys.write(format_args!("{folder}{}", keys::EVENT_CHANNEL_TX), tx)?;
                keys.write(
                    format_args!("{folder}{}", keys::EVENT_CHANNEL_RX),
                    rx.port(),
                )
            }
        }
    }
}

impl Retired {
    /// Ends all grants. To be called when the backend has let go of the rings, or will not.
    pub(crate) fn shut(self, netdev: &Device<Interface>) {
        for (napi, (tx, rx)) in netdev.queues().iter().zip(self.rings) {
            if let Some(ring) = tx {
                ring.shut(&napi.counters);
            }
            if let Some(ring) = rx {
                ring.shut(&napi.counters);
            }
            napi.drop_events();
        }
    }
}

/// Makes the rings and event channels of a queue and puts them in.
fn open_queue(
    dev: &xenbus::Device,
    napi: &Arc<Napi<Queue>>,
    offer: &Offer,
    trusted: bool,
) -> Result<Published> {
    let peer = dev.otherend_id();
    let listen = |direction: Direction, suffix: &str| -> Result<Notifier> {
        let waker = Arc::new(
            Waker {
                napi: napi.clone(),
                direction,
            },
            GFP_KERNEL,
        )?;
        let listener = Listener::new(
            Channel::alloc_unbound(peer)?,
            fmt!("oxen-vif{}-q{}{suffix}", dev.id()?, napi.index()),
            waker,
        )?;
        Ok(Arc::new(listener, GFP_KERNEL)?)
    };
    let (tx_notifier, rx_notifier) = if offer.split_event_channels {
        (
            listen(Direction::Tx, "-tx")?,
            Some(listen(Direction::Rx, "-rx")?),
        )
    } else {
        (listen(Direction::Both, "")?, None)
    };

    let (tx_page, rx_page) = (SharedPage::new(peer, 1)?, SharedPage::new(peer, 1)?);
    let gref = |page: &SharedPage| page.grefs().first().copied().ok_or(EINVAL);
    let published = Published {
        tx_ring: gref(&tx_page)?,
        rx_ring: gref(&rx_page)?,
        tx_notifier: tx_notifier.clone(),
        rx_notifier: rx_notifier.clone(),
    };
    let rx_notifier = rx_notifier.unwrap_or_else(|| tx_notifier.clone());
    let tx = TxRing::new(tx_page, peer, tx_notifier)?;
    let rx = RxRing::new(rx_page, peer, rx_notifier, ACCEPTED, trusted)?;
    napi.attach(tx, rx);
    Ok(published)
}
