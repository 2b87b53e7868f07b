// SPDX-License-Identifier: GPL-2.0

//! The interface as the stack and `ethtool` see it.

use crate::{
    counters::{
        self,
        Counter, //
    },
    queue::Queue,
};
use abi::net::features::Offer;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use linux::net::{
    device::{
        Device,
        Driver,
        Stats,
        Xmit, //
    },
    features::Features,
    napi::Napi,
    queue::TxQueue,
    skb::SkBuff, //
};

/// Features that depend on the backend.
const NEGOTIATED: Features = Features::SG
    .with(Features::IP_CSUM)
    .with(Features::IPV6_CSUM);

/// What the user can switch.
pub(crate) const HW_FEATURES: Features = NEGOTIATED;

/// What is always on: the backend says which checksums are right.
pub(crate) const FIXED_FEATURES: Features = Features::RXCSUM;

/// MTU without scatter-gather: a packet has to fit one slot.
const MTU_ONE_SLOT: u32 = 1500;

/// Largest MTU: with its header, and a VLAN's, the packet's size goes into 16 bits.
const MTU_MAX: u32 = 65535 - 18;

/// The driver's data of an interface.
#[pin_data]
pub(crate) struct Interface {
    /// What of [`NEGOTIATED`] the backend takes, as bits. All until it has said so.
    possible: Atomic<u64>,
}

impl Interface {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            possible: Atomic::new(NEGOTIATED.bits()),
        })
    }

    /// Takes note of what the backend offers. The stack has to be told to ask again.
    pub(crate) fn set_offer(&self, offer: &Offer) {
        let possible = Features::NONE
            .with_if(offer.sg, Features::SG)
            .with_if(offer.csum_v4, Features::IP_CSUM)
            .with_if(offer.csum_v6, Features::IPV6_CSUM);
        self.possible.store(possible.bits(), Relaxed);
    }

    fn possible(&self) -> Features {
        Features::from_bits(self.possible.load(Relaxed))
    }
}

impl Driver for Interface {
    const NAME: &'static CStr = c"oxen_netfront";
    const QUEUE_STATS: &'static [&'static CStr] = counters::NAMES;

    type Queue = Queue;

    fn open(&self, dev: &Device<Self>) -> Result {
        for napi in dev.queues() {
            if Queue::resume(napi) {
                if let Some(queue) = dev.tx_queue(napi.index()) {
                    queue.wake();
                }
            }
        }
        Ok(())
    }

    fn stop(&self, _dev: &Device<Self>) {}

    fn start_xmit(napi: &Napi<Queue>, queue: TxQueue<'_>, skb: SkBuff, more: bool) -> Xmit {
        napi.send(queue, skb, more)
    }

    fn tx_timeout(&self, dev: &Device<Self>, queue: usize) {
        if let Some(napi) = dev.queues().get(queue) {
            Queue::timed_out(napi);
        }
    }

    fn fix_features(&self, _dev: &Device<Self>, wanted: Features) -> Features {
        wanted & (!NEGOTIATED | self.possible())
    }

    fn max_mtu(&self, _dev: &Device<Self>) -> u32 {
        if self.possible().contains(Features::SG) {
            MTU_MAX
        } else {
            MTU_ONE_SLOT
        }
    }

    fn stats(&self, dev: &Device<Self>) -> Stats {
        let mut stats = Stats::default();
        for napi in dev.queues() {
            let add = |sum: &mut u64, counter| {
                *sum = sum.saturating_add(napi.counters.get(counter));
            };
            add(&mut stats.rx_packets, Counter::RxPackets);
            add(&mut stats.rx_bytes, Counter::RxBytes);
            add(&mut stats.rx_errors, Counter::RxErrors);
            add(&mut stats.rx_dropped, Counter::RxDropped);
            add(&mut stats.tx_packets, Counter::TxPackets);
            add(&mut stats.tx_bytes, Counter::TxBytes);
            add(&mut stats.tx_errors, Counter::TxErrors);
            add(&mut stats.tx_dropped, Counter::TxDropped);
        }
        stats
    }

    fn queue_stat(queue: &Queue, index: usize) -> u64 {
        queue.counters.by_number(index)
    }
}
