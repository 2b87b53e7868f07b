// SPDX-License-Identifier: GPL-2.0

//! A connection: the rings and event channels of all queues, and how the backend learns of them.

use crate::{
    control::Control,
    interface::Interface,
    queue::{
        Queue,
        Rings,
        Waker, //
    },
    rx::{
        RxRing,
        Supply,
        Wanted, //
    },
    tx::TxRing, //
};
use abi::{
    net::{
        features::{
            flag,
            keys,
            Offer, //
        },
        gso::GsoAccepted,
        plan::Terms,
        xdp::HEADROOM,
        RING_SLOTS, //
    },
    types::{
        DomainId,
        GrantRef, //
    },
};
use core::fmt;
use evtchn::{
    Channel,
    Listener,
    Notifier, //
};
use grant_table::GrantedPages;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::{
    cpu,
    net::{
        device::Device,
        napi::Napi,
        page_pool::PagePool,
        xdp::run::RxInfo, //
    },
};
use xenbus::Publication;

/// What a queue tells the backend.
struct Published {
    tx_ring: GrantRef,
    rx_ring: GrantRef,
    events: Listener<Waker>,
}

/// A connection to the backend.
pub(crate) struct Connection {
    queues: KVec<Published>,
    /// Room for all rings, so that giving them up needs no memory.
    rings: KVec<Rings>,
    control: Option<Control>,
    wanted: Wanted,
    /// Received packets go through a program.
    program: bool,
    /// The backend knows how to leave room before the data.
    headroom: bool,
}

/// Rings that are no longer used by us, but may be by the backend.
pub(crate) struct Retired {
    queues: KVec<Published>,
    rings: KVec<Rings>,
    control: Option<Control>,
}

impl Connection {
    /// Makes rings and event channels and puts them into `count` queues, or less if grants, ports or memory run short.
    ///
    /// # Errors
    ///
    /// There is not enough for one queue; nothing is left then.
    // As a part of its caller it would take more stack than a function may.
    #[inline(never)]
    pub(crate) fn open(
        dev: &xenbus::Device,
        netdev: &Device<Interface>,
        offer: &Offer,
        count: usize,
    ) -> Result<Self> {
        let trusted = match dev.read(keys::TRUSTED) {
            Ok(value) => flag(value.as_bytes()) != Some(false),
            Err(ENOENT) => true,
            Err(error) => return Err(error),
        };
        let terms = Terms {
            sg: offer.sg,
            trusted,
        };
        let program = netdev.driver().programs.attached();
        // A program gets packets as they were on the line.
        let wanted = Wanted {
            accepted: GsoAccepted {
                v4: !program,
                v6: !program,
            },
            headroom: program && offer.headroom,
            trusted,
        };
        // Packets with a hash and room take three slots; see `held_back`.
        let hashed = netdev.driver().steering.is_on() && !program;
        let mut connection = Self {
            queues: KVec::with_capacity(count, GFP_KERNEL)?,
            rings: KVec::with_capacity(netdev.queues().len(), GFP_KERNEL)?,
            control: match offer.control_ring && hashed {
                true => Some(Control::open(dev)?),
                false => None,
            },
            wanted,
            program,
            headroom: offer.headroom,
        };
        for napi in netdev.queues().iter().take(count) {
            match open_queue(dev, netdev, napi, terms, wanted) {
                Ok(queue) => connection.queues.push(queue, GFP_KERNEL)?,
                Err(error) if connection.queues.is_empty() => return Err(error),
                Err(error) => {
                    dev_warn!(
                        dev.as_ref(),
                        "{} queues instead of {count}: there is not enough for more ({error:?})\n",
                        connection.queues.len()
                    );
                    break;
                }
            }
        }
        connection.spread();
        Ok(connection)
    }

    /// The backend has connected, too.
    pub(crate) fn connected(&self, netdev: &Device<Interface>) {
        let ring = self.control.as_ref().map(|control| control.ring().clone());
        // CAST: Queues are few.
        netdev.driver().connected(netdev, self.len() as u32, ring);
    }

    /// How many queues it has.
    pub(crate) fn len(&self) -> usize {
        self.queues.len()
    }

    /// Has each queue of several interrupt one of the CPUs that send on it. It may be moved later.
    fn spread(&self) {
        if self.len() == 1 {
            return;
        }
        for (index, queue) in self.queues.iter().enumerate() {
            let sends = |cpu: &u32| (*cpu as usize).checked_rem(self.len()) == Some(index);
            let _ = queue.events.set_affinity(cpu::possible().filter(sends));
        }
    }

    /// Adds the keys that tell the backend of it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn add_keys(&self, keys: &mut Publication) -> Result {
        for key in [keys::REQUEST_RX_COPY, keys::RX_NOTIFY, keys::SG] {
            keys.add(key, 1)?;
        }
        let Wanted {
            accepted, headroom, ..
        } = self.wanted;
        keys.add(keys::NO_CSUM_OFFLOAD, u8::from(self.program))?;
        keys.add(keys::IPV6_CSUM_OFFLOAD, u8::from(!self.program))?;
        keys.add(keys::GSO_TCPV4, u8::from(accepted.v4))?;
        keys.add(keys::GSO_TCPV6, u8::from(accepted.v6))?;
        if self.headroom {
            keys.add(keys::XDP_HEADROOM, if headroom { HEADROOM } else { 0 })?;
        }
        if let Some(control) = &self.control {
            control.add_keys(keys)?;
        }
        // A single queue has its keys at the top, several have each their own folder.
        match self.queues.as_slice() {
            [queue] => queue.add_keys(keys, &""),
            queues => {
                keys.add(keys::NUM_QUEUES, queues.len())?;
                for (index, queue) in queues.iter().enumerate() {
                    queue.add_keys(keys, &format_args!("queue-{index}/"))?;
                }
                Ok(())
            }
        }
    }

    /// Takes the rings out of the queues: we use nothing of the connection any more.
    pub(crate) fn retire(self, netdev: &Device<Interface>) -> Retired {
        netdev.carrier_off();
        netdev.stop_queues();
        netdev.driver().steering.disconnected();
        if let Some(control) = &self.control {
            control.ring().retire();
        }
        let mut rings = self.rings;
        for napi in netdev.queues() {
            // There is room for the rings of all queues.
            let _ = rings.push_within_capacity(napi.detach());
            if let Some(queue) = netdev.tx_queue(napi.index()) {
                queue.reset();
            }
        }
        Retired {
            queues: self.queues,
            rings,
            control: self.control,
        }
    }
}

impl Published {
    fn add_keys(&self, keys: &mut Publication, folder: &dyn fmt::Display) -> Result {
        keys.add(format_args!("{folder}{}", keys::TX_RING_REF), self.tx_ring)?;
        keys.add(format_args!("{folder}{}", keys::RX_RING_REF), self.rx_ring)?;
        keys.add(
            format_args!("{folder}{}", keys::EVENT_CHANNEL),
            self.events.port(),
        )
    }
}

impl Retired {
    /// Closes the event channels and ends all grants. To be called when the backend has let go of the rings, or will not.
    pub(crate) fn shut(self, netdev: &Device<Interface>) {
        // No event comes any more when the rings are taken down.
        drop(self.queues);
        drop(self.control);
        for (napi, (tx, rx)) in netdev.queues().iter().zip(self.rings) {
            if let Some(mut ring) = tx {
                ring.shut(&napi.counters);
            }
            if let Some(mut ring) = rx {
                ring.shut(&napi.counters);
            }
            napi.drop_event();
        }
    }
}

/// Makes the rings and the event channel of a queue and puts them in.
fn open_queue(
    dev: &xenbus::Device,
    netdev: &Device<Interface>,
    napi: &Arc<Napi<Queue>>,
    terms: Terms,
    wanted: Wanted,
) -> Result<Published> {
    let peer = dev.otherend_id();
    // One channel for both rings: what comes for them often comes together.
    let events = Listener::new(
        Channel::alloc_unbound(peer)?,
        fmt!("oxen-vif{}-q{}", dev.id()?, napi.index()),
        Arc::new(Waker(napi.clone()), GFP_KERNEL)?,
    )?;
    let (tx_page, rx_page) = (GrantedPages::new(peer, 1)?, GrantedPages::new(peer, 1)?);
    let gref = |page: &GrantedPages| page.grefs().first().copied().ok_or(EINVAL);
    let (tx_ring, rx_ring) = (gref(&tx_page)?, gref(&rx_page)?);
    let tx = tx_ring_in(tx_page, peer, events.notifier(), terms)?;
    let pages = PagePool::new(RING_SLOTS)?;
    let info = RxInfo::new(netdev, napi.index(), &pages)?;
    let supply = Supply { pages, info };
    let rx = RxRing::new(rx_page, peer, events.notifier(), supply, wanted)?;
    napi.attach(tx, KBox::new(rx, GFP_KERNEL)?);
    Ok(Published {
        tx_ring,
        rx_ring,
        events,
    })
}

/// Makes the transmit ring of a queue in its page.
// As a part of its caller it would take more stack than a function may.
#[inline(never)]
fn tx_ring_in(
    page: GrantedPages,
    peer: DomainId,
    notifier: Notifier,
    terms: Terms,
) -> Result<KBox<TxRing>> {
    Ok(KBox::new(
        TxRing::new(page, peer, notifier, terms)?,
        GFP_KERNEL,
    )?)
}
