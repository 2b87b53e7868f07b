// SPDX-License-Identifier: GPL-2.0

//! A network interface: its keys, its rings, and the words that steer it.

use crate::life::{Front, Service};
use crate::node::{key, Keys};
use crate::tap::Tap;
use crate::xen::events::{Events, Port};
use crate::xen::grants::{Grants, Mapping, Pages, Way};
use abi::net::features::keys;
use abi::net::wire::{RX_SLOT, TX_SLOT};
use anyhow::{ensure, Context, Result};
use backend::net::control::{self, Control};
use backend::net::receive::{Layout, Receive};
use backend::net::script::{Hostile, Script};
use backend::net::transmit::{self, Filters};
use backend::ring::BackRing;
use clap::Args;
use std::os::fd::RawFd;
use std::rc::Rc;

/// Bytes that a frontend may want before the data: Linux's `XDP_PACKET_HEADROOM` with a margin.
const MOST_HEADROOM: u32 = 1024;

/// What an interface offers.
#[derive(Args, Clone, Debug)]
pub(crate) struct Offer {
    /// Queues.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) queues: u16,
    /// Takes one packet a slot.
    #[arg(long)]
    pub(crate) no_sg: bool,
    /// Takes no packet to be segmented.
    #[arg(long)]
    pub(crate) no_gso: bool,
    /// Takes no blank checksum.
    #[arg(long)]
    pub(crate) no_csum: bool,
    /// Takes one event channel for both directions.
    #[arg(long)]
    pub(crate) no_split: bool,
    /// Passes on multicast that the guest has asked for, and no other.
    #[arg(long)]
    pub(crate) multicast: bool,
    /// Offers to be told at any time which multicast the guest wants, and takes so many addresses. Passes all on.
    #[arg(long)]
    pub(crate) groups: Option<usize>,
    /// Hashes packets and spreads them over the queues as the guest says on a control ring.
    #[arg(long)]
    pub(crate) control_ring: bool,
    /// Leaves room before the data if the frontend asks for it.
    #[arg(long)]
    pub(crate) xdp: bool,
    /// Sends a hash with each packet, asked for or not.
    #[arg(long)]
    pub(crate) hash: bool,
    /// Does not serve so many connections at first.
    #[arg(long, default_value_t = 0)]
    pub(crate) ignore: u32,
}

/// One queue.
struct Queue {
    tx: BackRing<Mapping>,
    rx: Receive<Mapping>,
    tx_port: Port,
    rx_port: Port,
    /// The frontend has broken its rules, or we have.
    broken: bool,
}

/// An interface that a guest uses.
pub(crate) struct Vif {
    grants: Grants,
    events: Rc<Events>,
    domain: u16,
    offer: Offer,
    tap: Tap,
    pages: Pages,
    queues: Vec<Queue>,
    /// The control ring and its port.
    ring: Option<(BackRing<Mapping>, Port)>,
    control: Control,
    script: Script,
    /// The guest tells which multicast it wants.
    filtered: bool,
    wanted: Filters,
    /// Neither direction is served.
    hung: bool,
    /// Nor is it in this connection.
    ignores: bool,
    sent: u64,
    received: u64,
    lost: u64,
    next: usize,
}

impl Vif {
    pub(crate) fn new(
        grants: Grants,
        events: Rc<Events>,
        domain: u16,
        offer: Offer,
        tap: Tap,
    ) -> Self {
        let pages = Pages::new(grants.clone(), Way::Copy, false);
        Self {
            grants,
            events,
            domain,
            offer,
            tap,
            pages,
            queues: Vec::new(),
            ring: None,
            control: Control::default(),
            script: Script::default(),
            filtered: false,
            wanted: Filters::default(),
            hung: false,
            ignores: false,
            sent: 0,
            received: 0,
            lost: 0,
            next: 0,
        }
    }

    fn map(&self, gref: u32, slot: usize) -> Result<BackRing<Mapping>> {
        BackRing::new(self.grants.map(&[gref], true)?, slot, slot)
    }

    /// Serves the control ring.
    fn serve_control(&mut self) -> Result<()> {
        let Some((ring, port)) = &mut self.ring else {
            return Ok(());
        };
        let queues = self.queues.len();
        match (self.control).serve(ring, &mut self.pages, queues, &mut self.script) {
            Ok(true) => self.events.notify(*port),
            Ok(false) => {}
            Err(why) => {
                self.events.unbind(*port);
                self.ring = None;
                return Err(why);
            }
        }
        Ok(())
    }

    fn open(&self, front: &Front<'_>, folder: &str, layout: Layout) -> Result<Queue> {
        let needed = |name: &str| front.needed(&format!("{folder}{name}"));
        let tx = self.map(needed(keys::TX_RING_REF)?, TX_SLOT)?;
        let rx = self.map(needed(keys::RX_RING_REF)?, RX_SLOT)?;
        let bind = |name: &str| self.events.bind(self.domain, needed(name)?);
        let one = front.number(&format!("{folder}{}", keys::EVENT_CHANNEL))?;
        let (tx_port, rx_port) = if one.is_some() {
            let port = bind(keys::EVENT_CHANNEL)?;
            (port, port)
        } else {
            (bind(keys::EVENT_CHANNEL_TX)?, bind(keys::EVENT_CHANNEL_RX)?)
        };
        Ok(Queue {
            tx,
            rx: Receive::new(rx, layout),
            tx_port,
            rx_port,
            broken: false,
        })
    }

    /// Serves both directions of a queue.
    fn serve(&mut self, at: usize) -> Result<()> {
        if self.hung || self.ignores {
            return Ok(());
        }
        let Some(queue) = self.queues.get_mut(at).filter(|queue| !queue.broken) else {
            return Ok(());
        };
        let (events, port) = (&self.events, queue.tx_port);
        let served = transmit::serve(
            &mut queue.tx,
            &mut self.pages,
            &mut self.wanted,
            &mut self.script,
            &mut || {
                events.notify(port);
            },
        )
        .and_then(|sent| {
            let (passed, notify) = queue.rx.pass(&mut self.pages, &mut self.script)?;
            if notify {
                events.notify(queue.rx_port);
            }
            self.received += passed;
            Ok(sent)
        });
        let sent = match served {
            Ok(sent) => sent,
            Err(why) => {
                queue.broken = true;
                return Err(why);
            }
        };
        for packet in &sent.packets {
            self.lost += u64::from(!self.tap.put(packet));
            self.sent += 1;
        }
        self.lost += sent.errors;
        Ok(())
    }

    /// Whether a packet for this address is for the guest.
    fn is_wanted(&self, data: &[u8]) -> bool {
        let Some(address) = data.first_chunk::<6>() else {
            return false;
        };
        let multicast = address[0] & 1 != 0 && *address != [0xff; 6];
        !self.filtered || !multicast || self.wanted.has(address)
    }
}

impl Service for Vif {
    fn offer(&self) -> Keys {
        let flag = |name: &str, set: bool| key(name, u8::from(set));
        let gso = !self.offer.no_gso;
        vec![
            flag(keys::RX_COPY, true),
            flag("feature-rx-flip", false),
            flag(keys::SG, !self.offer.no_sg),
            flag(keys::GSO_TCPV4, gso),
            flag(keys::GSO_TCPV6, gso),
            flag(keys::NO_CSUM_OFFLOAD, self.offer.no_csum),
            flag(keys::IPV6_CSUM_OFFLOAD, !self.offer.no_csum),
            flag(keys::SPLIT_EVENT_CHANNELS, !self.offer.no_split),
            flag(
                keys::MULTICAST,
                self.offer.multicast || self.offer.groups.is_some(),
            ),
            flag(keys::DYNAMIC_MULTICAST, self.offer.groups.is_some()),
            flag("feature-xdp-headroom", self.offer.xdp),
            flag("feature-ctrl-ring", self.offer.control_ring),
            key(keys::MAX_QUEUES, self.offer.queues),
        ]
    }

    fn described(&self) -> Keys {
        Vec::new()
    }

    fn connect(&mut self, front: &Front<'_>) -> Result<()> {
        let is_set = |name: &str| Ok::<_, anyhow::Error>(front.number(name)?.unwrap_or(0) != 0);
        ensure!(
            is_set(keys::REQUEST_RX_COPY)?,
            "the frontend wants pages flipped"
        );
        let count = front.number(keys::NUM_QUEUES)?.unwrap_or(1);
        ensure!(
            count > 0 && count <= self.offer.queues.into(),
            "the frontend has {count} queues"
        );
        let headroom = front.number("xdp-headroom")?.unwrap_or(0);
        ensure!(
            headroom <= MOST_HEADROOM,
            "the frontend wants {headroom} bytes before the data"
        );
        let layout = Layout {
            headroom: if self.offer.xdp { headroom as u16 } else { 0 },
        };
        self.filtered = self.offer.multicast && is_set(keys::REQUEST_MULTICAST)?;
        self.wanted = Filters::new(self.offer.groups);
        self.tap.offload(
            !is_set(keys::NO_CSUM_OFFLOAD)?,
            is_set(keys::GSO_TCPV4)? && is_set(keys::SG)?,
            is_set(keys::GSO_TCPV6)? && is_set(keys::SG)?,
        )?;
        for at in 0..count {
            let folder = if count > 1 {
                format!("queue-{at}/")
            } else {
                String::new()
            };
            let queue = self.open(front, &folder, layout)?;
            self.queues.push(queue);
        }
        self.control = if self.offer.hash {
            Control::unasked()
        } else {
            Control::default()
        };
        if let Some(gref) = front
            .number("ctrl-ring-ref")?
            .filter(|_| self.offer.control_ring)
        {
            let ring = self.map(gref, size_of::<control::Request>())?;
            let remote = front.needed("event-channel-ctrl")?;
            self.ring = Some((ring, self.events.bind(self.domain, remote)?));
        }
        self.script.reconnected();
        self.ignores = self.offer.ignore > 0;
        self.offer.ignore = self.offer.ignore.saturating_sub(1);
        Ok(())
    }

    fn disconnect(&mut self) {
        if let Some((_, port)) = self.ring.take() {
            self.events.unbind(port);
        }
        for queue in self.queues.drain(..) {
            self.events.unbind(queue.tx_port);
            if queue.rx_port != queue.tx_port {
                self.events.unbind(queue.rx_port);
            }
        }
        self.pages.disconnect();
    }

    fn event(&mut self, port: Port) -> Result<()> {
        if self
            .ring
            .as_ref()
            .is_some_and(|(_, control)| *control == port)
        {
            return self.serve_control();
        }
        let has = |queue: &Queue| queue.tx_port == port || queue.rx_port == port;
        match self.queues.iter().position(has) {
            Some(at) => self.serve(at),
            None => Ok(()),
        }
    }

    fn ports(&self) -> Vec<Port> {
        self.queues
            .iter()
            .flat_map(|queue| [queue.tx_port, queue.rx_port])
            .collect()
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.tap.fd())
    }

    fn readable(&mut self) -> Result<()> {
        // Not all at once: the guest has its turn.
        for _ in 0..64 {
            let Some(mut packet) = self.tap.take()? else {
                break;
            };
            if !self.is_wanted(&packet.data) {
                continue;
            }
            let count = self.queues.len().max(1);
            packet.hash = self.control.hash(&packet.data);
            let at = match packet.hash {
                Some(hash) => self.control.queue(hash, count),
                // Packets of no flow in particular go round the queues.
                None => {
                    self.next = self.next.wrapping_add(1);
                    self.next % count
                }
            };
            let taken = match self.queues.get_mut(at) {
                Some(queue) if !self.hung && !self.ignores => queue.rx.push(packet),
                _ => false,
            };
            self.lost += u64::from(!taken);
        }
        for at in 0..self.queues.len() {
            if let Err(why) = self.serve(at) {
                eprintln!("backend: the frontend breaks the rules: {why:#}");
            }
        }
        Ok(())
    }

    fn command(&mut self, words: &[&str]) -> Result<bool> {
        match *words {
            ["hang"] => self.hung = true,
            ["resume"] => {
                self.hung = false;
                (0..self.queues.len()).try_for_each(|at| self.serve(at))?;
            }
            // What the guest sends stays mapped, from now on and until `release`.
            ["keep"] => (self.pages.way, self.pages.keep) = (Way::Map, true),
            ["release"] => {
                self.pages.keep = false;
                self.pages.release();
            }
            ["scrawl"] => self.pages.scrawl(),
            ["hostile", ref names @ ..] => {
                let by_name = |name: &&str| {
                    Hostile::by_name(name).with_context(|| format!("there is no script {name}"))
                };
                let scripts: Result<Vec<_>> = names.iter().map(by_name).collect();
                self.script.play(scripts?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn counts(&self) -> String {
        format!(
            "sent={} received={} lost={} acts={} kept={} queues={} filters={}",
            self.sent,
            self.received,
            self.lost,
            self.script.acts(),
            self.pages.kept(),
            self.queues.len(),
            self.wanted.count()
        )
    }
}
