// SPDX-License-Identifier: GPL-2.0

//! The interface as the stack and `ethtool` see it.

use crate::{
    control::ControlRing,
    counters::{
        self,
        Counter, //
    },
    programs::Programs,
    queue::{
        groups,
        Queue, //
    },
    steering::{
        Steering,
        Told, //
    }, //
};
use abi::net::{
    features::{
        Offer,
        MTU_MAX, //
    },
    share::Share,
    steering::{
        KEY,
        TABLE, //
    },
    xdp::Refusal,
    RING_SLOTS, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};
use linux::{
    error::EOPNOTSUPP,
    net::{
        device::{
            hash_key,
            Device,
            Driver,
            Stats,
            Xmit, //
        },
        features::Features,
        napi::Napi,
        queue::TxQueue,
        rx_mode::RxMode,
        skb::SkBuff,
        xdp::{
            frame::Frames,
            program::Program,
            reason::Reason, //
        }, //
    },
};

/// Features that depend on the backend.
const NEGOTIATED: Features = Features::SG
    .with(Features::IP_CSUM)
    .with(Features::IPV6_CSUM)
    .with(Features::TSO)
    .with(Features::TSO6)
    .with(Features::RXHASH);

/// What the user can switch.
pub(crate) const HW_FEATURES: Features = NEGOTIATED;

/// What the user has to switch on: it costs the backend a slot for each packet.
pub(crate) const OFF_FEATURES: Features = Features::RXHASH;

/// What is always on: the backend says which checksums are right, and it checks what it is to segment.
pub(crate) const FIXED_FEATURES: Features = Features::RXCSUM.with(Features::GSO_ROBUST);

/// MTU without scatter-gather: a packet has to fit one slot.
const MTU_ONE_SLOT: u32 = 1500;

/// The driver's data of an interface.
#[pin_data]
pub(crate) struct Interface {
    /// What of [`NEGOTIATED`] the backend takes, as bits. All until it has said so.
    possible: Atomic<u64>,
    /// Queues that the backend serves, by its word.
    offered_queues: Atomic<u32>,
    /// The backend keeps a list of groups.
    filters: Atomic<bool>,
    /// Queues that the user wants; 0 for one a CPU.
    wanted_queues: Atomic<u32>,
    #[pin]
    pub(crate) steering: Steering,
    pub(crate) programs: Programs,
    dev: xenbus::Device,
}

impl Interface {
    pub(crate) fn new(dev: xenbus::Device) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            possible: Atomic::new(NEGOTIATED.bits()),
            offered_queues: Atomic::new(1),
            filters: Atomic::new(false),
            wanted_queues: Atomic::new(0),
            steering <- Steering::new(hash_key()),
            programs: Programs::new(),
            dev,
        })
    }

    /// Takes note of what the backend offers. The stack has to be told to ask again.
    pub(crate) fn set_offer(&self, offer: &Offer) {
        let possible = Features::NONE
            .with_if(offer.sg, Features::SG)
            .with_if(offer.csum_v4, Features::IP_CSUM)
            .with_if(offer.csum_v6, Features::IPV6_CSUM)
            .with_if(offer.gso_v4, Features::TSO)
            .with_if(offer.gso_v6, Features::TSO6)
            .with_if(offer.control_ring, Features::RXHASH);
        self.possible.store(possible.bits(), Relaxed);
        self.offered_queues.store(offer.max_queues, Relaxed);
        self.programs.set_offered(offer.headroom);
        self.filters.store(offer.multicast, Relaxed);
    }

    /// What limits the queues, of which there are `made`.
    pub(crate) fn share(&self, made: usize) -> Share {
        let wanted = self.wanted_queues.load(Relaxed);
        Share {
            // CAST: Queues are few.
            made: made as u32,
            offered: self.offered_queues.load(Relaxed),
            wanted: (wanted != 0).then_some(wanted),
        }
    }

    /// The backend has connected, with so many queues and perhaps a control ring.
    pub(crate) fn connected(
        &self,
        netdev: &Device<Self>,
        queues: u32,
        ring: Option<Arc<ControlRing>>,
    ) {
        if self.filters.load(Relaxed) {
            groups::begin(netdev);
        }
        let told = self.steering.connected(queues, ring);
        self.renew_for_hashes(told);
    }

    /// Hashes wait until there is no program.
    fn renew_for_hashes(&self, told: Told) {
        if told == Told::NotHere && !self.programs.attached() {
            self.dev.renew();
        }
    }

    fn possible(&self) -> Features {
        Features::from_bits(self.possible.load(Relaxed))
    }
}

impl Driver for Interface {
    const NAME: &'static CStr = c"oxen_netfront";
    const QUEUE_STATS: &'static [&'static CStr] = counters::NAMES;

    type Queue = Queue;

    // CAST: They fit a page.
    const RING_SLOTS: u32 = RING_SLOTS as u32;

    fn open(&self, dev: &Device<Self>) -> Result {
        for napi in dev.queues() {
            // One that the stack does not use must not stay stopped either: its watchdog takes that for stuck.
            if Queue::resume(napi) || napi.index() >= dev.queue_count() {
                if let Some(queue) = dev.tx_queue(napi.index()) {
                    queue.wake();
                }
            }
        }
        Ok(())
    }

    fn stop(&self, dev: &Device<Self>) {
        // What was sent comes back all the same.
        for napi in dev.queues() {
            Queue::resume(napi);
        }
    }

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

    fn set_rx_mode(&self, dev: &Device<Self>, mode: &RxMode<'_>) {
        groups::want(dev, mode);
    }

    fn set_features(&self, _dev: &Device<Self>, features: Features) {
        let on = features.contains(Features::RXHASH);
        let told = self.steering.set_on(on);
        self.renew_for_hashes(told);
    }

    const HASH_KEY: usize = KEY;
    const HASH_TABLE: usize = TABLE;

    fn hash(&self, _dev: &Device<Self>, key: Option<&mut [u8]>, table: Option<&mut [u32]>) -> bool {
        self.steering.read(key, table)
    }

    fn set_hash(&self, _dev: &Device<Self>, key: Option<&[u8]>, table: Option<&[u32]>) -> Result {
        self.steering.set(key, table)
    }

    fn max_queues(&self, dev: &Device<Self>) -> u32 {
        self.share(dev.queues().len()).most()
    }

    fn set_queues(&self, _dev: &Device<Self>, count: u32) -> Result {
        self.wanted_queues.store(count, Relaxed);
        // Both ends set up rings and channels anew.
        self.dev.renew();
        Ok(())
    }

    fn set_program(&self, dev: &Device<Self>, program: Option<Program>, why: Reason<'_>) -> Result {
        let attached = program.is_some();
        if attached {
            match self.programs.may_attach(dev.mtu()) {
                Ok(()) => {}
                Err(Refusal::Backend) => {
                    why.say(fmt!("the backend does not offer feature-xdp-headroom"));
                    return Err(EOPNOTSUPP);
                }
                Err(Refusal::Mtu(most)) => {
                    why.say(fmt!("with an XDP program the MTU can be {most} at most"));
                    return Err(EINVAL);
                }
            }
        }
        dev.put_program(program);
        if self.programs.set_attached(attached) {
            // The backend has to send something else from now on.
            self.dev.renew();
        }
        Ok(())
    }

    fn xmit_frames(napi: &Napi<Queue>, queue: TxQueue<'_>, frames: &mut Frames<'_>) {
        napi.send_frames(queue, frames);
    }

    fn max_mtu(&self, _dev: &Device<Self>) -> u32 {
        let most = if self.possible().contains(Features::SG) {
            MTU_MAX
        } else {
            MTU_ONE_SLOT
        };
        self.programs.limit(most)
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
