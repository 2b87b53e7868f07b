// SPDX-License-Identifier: GPL-2.0

//! A disk: its keys, its rings, and the words that steer it.

use crate::life::{Front, Service, DIED};
use crate::node::{key, Keys};
use crate::xen::events::{Events, Port};
use crate::xen::grants::{Grants, Mapping, Pages, Way};
use abi::block::features::{MAX_QUEUES, MAX_RING_ORDER};
use anyhow::{ensure, Context, Result};
use backend::block::script::Hostile;
use backend::block::{Block, Served, REQUEST, RESPONSE};
use backend::ring::BackRing;
use clap::Args;
use std::process;
use std::rc::Rc;

/// What a disk offers.
#[derive(Args, Clone, Debug)]
pub(crate) struct Offer {
    /// Queues.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=MAX_QUEUES as i64))]
    pub(crate) queues: u16,
    /// Size of a ring, as a power of two of pages.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=MAX_RING_ORDER as i64))]
    pub(crate) ring_order: u8,
    /// Offers larger rings by their older name.
    #[arg(long)]
    pub(crate) old_rings: bool,
    /// Segments of an indirect request; with 0 there are none.
    #[arg(long, default_value_t = 256)]
    pub(crate) indirect: u16,
    /// Grants may stay mapped from request to request.
    #[arg(long)]
    pub(crate) persistent: bool,
    /// Maps grants, and does not have Xen copy.
    #[arg(long)]
    pub(crate) map: bool,
    /// Keeps mapped what it has mapped for a request, until it is told to release it.
    #[arg(long)]
    pub(crate) keep_mapped: bool,
    /// Offers no flush.
    #[arg(long)]
    pub(crate) no_flush: bool,
    /// Offers a barrier instead of a flush.
    #[arg(long)]
    pub(crate) barrier: bool,
    /// Offers to discard sectors.
    #[arg(long)]
    pub(crate) discard: bool,
    /// Offers to discard them unrecoverably, too.
    #[arg(long, requires = "discard")]
    pub(crate) secure: bool,
    /// The disk may only be read.
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Counts what else is to be seen in mapped pages.
    #[arg(long)]
    pub(crate) peek: bool,
    /// Whether the toolstack trusts the backend with the guest's pages.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) trusted: Option<u8>,
    /// Bytes of a sector.
    #[arg(long, default_value_t = 512)]
    pub(crate) sector_size: u32,
}

/// One ring and its port.
struct Queue {
    ring: BackRing<Mapping>,
    port: Port,
    /// Events that it got.
    events: u64,
    /// The frontend has broken its rules.
    broken: bool,
}

/// A disk that a guest uses.
pub(crate) struct Vbd {
    grants: Grants,
    events: Rc<Events>,
    domain: u16,
    offer: Offer,
    block: Block,
    pages: Pages,
    /// How data is reached without persistent grants.
    way: Way,
    queues: Vec<Queue>,
    /// Rings of connections that have ended.
    kept: Vec<Mapping>,
}

impl Vbd {
    pub(crate) fn new(
        grants: Grants,
        events: Rc<Events>,
        domain: u16,
        offer: Offer,
        mut block: Block,
    ) -> Self {
        block.read_only = offer.read_only;
        block.segments = offer.indirect;
        block.flush = !offer.no_flush;
        block.discard = offer.discard;
        block.secure = offer.secure;
        let way = if offer.map || offer.keep_mapped {
            Way::Map
        } else {
            Way::Copy
        };
        let mut pages = Pages::new(grants.clone(), way, offer.keep_mapped);
        pages.peek = offer.peek;
        Self {
            grants,
            events,
            domain,
            offer,
            block,
            pages,
            way,
            queues: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// The grants of one queue's ring.
    fn ring_refs(&self, front: &Front<'_>, folder: &str) -> Result<Vec<u32>> {
        let order = match front.number("ring-page-order")? {
            _ if self.offer.old_rings => match front.number("num-ring-pages")? {
                Some(pages) => {
                    ensure!(
                        pages.is_power_of_two(),
                        "the frontend's ring has {pages} pages"
                    );
                    Some(pages.ilog2())
                }
                None => None,
            },
            None => None,
            Some(order) => {
                ensure!(
                    order <= self.offer.ring_order.into(),
                    "the frontend's ring has order {order}"
                );
                Some(order)
            }
        };
        if let (None | Some(0), Some(gref)) = (order, front.number(&format!("{folder}ring-ref"))?) {
            return Ok(vec![gref]);
        }
        (0..1u32 << order.unwrap_or(0))
            .map(|at| front.needed(&format!("{folder}ring-ref{at}")))
            .collect()
    }

    fn serve(&mut self, at: usize) -> Result<()> {
        let Some(queue) = self.queues.get_mut(at).filter(|queue| !queue.broken) else {
            return Ok(());
        };
        let (events, port) = (&self.events, queue.port);
        let served = self.block.serve(&mut queue.ring, &mut self.pages, &mut || {
            events.notify(port);
        });
        match served {
            Ok(Served::Waits) => Ok(()),
            Ok(Served::Die) => process::exit(DIED),
            Err(why) => {
                queue.broken = true;
                Err(why)
            }
        }
    }
}

impl Service for Vbd {
    fn offer(&self) -> Keys {
        let rings = if self.offer.old_rings {
            key("max-ring-pages", 1 << self.offer.ring_order)
        } else {
            key("max-ring-page-order", self.offer.ring_order)
        };
        vec![
            key("multi-queue-max-queues", self.offer.queues),
            rings,
            key("feature-persistent", u8::from(self.offer.persistent)),
            key("feature-max-indirect-segments", self.offer.indirect),
        ]
    }

    fn described(&self) -> Keys {
        let info = if self.offer.read_only { 4 } else { 0 };
        let flush = !self.offer.no_flush;
        let mut keys = vec![
            key("sectors", self.block.disk.sectors()),
            key("info", info),
            key("sector-size", self.offer.sector_size),
            key("physical-sector-size", self.offer.sector_size),
            key(
                "feature-flush-cache",
                u8::from(flush && !self.offer.barrier),
            ),
            key("feature-barrier", u8::from(flush && self.offer.barrier)),
            key("feature-discard", u8::from(self.offer.discard)),
        ];
        if self.offer.discard {
            keys.push(key("discard-granularity", 4096.max(self.offer.sector_size)));
            keys.push(key("discard-alignment", 0));
            keys.push(key("discard-secure", u8::from(self.offer.secure)));
        }
        keys
    }

    fn connect(&mut self, front: &Front<'_>) -> Result<()> {
        if let Some(protocol) = front.text("protocol")? {
            ensure!(protocol == "x86_64-abi", "the frontend speaks {protocol:?}");
        }
        let count = front.number("multi-queue-num-queues")?.unwrap_or(1);
        ensure!(
            count > 0 && count <= self.offer.queues.into(),
            "the frontend has {count} queues"
        );
        let persistent = front.number("feature-persistent")? == Some(1)
            && front.was_offered("feature-persistent")?;
        if persistent {
            self.pages.way = Way::Persistent;
        } else if self.pages.way == Way::Persistent {
            self.pages.way = self.way;
        }
        for at in 0..count {
            let folder = if count > 1 {
                format!("queue-{at}/")
            } else {
                String::new()
            };
            let refs = self.ring_refs(front, &folder)?;
            let ring = self.grants.map(&refs, true).context("the ring")?;
            let ring = BackRing::new(ring, REQUEST, RESPONSE)?;
            let remote = front.needed(&format!("{folder}event-channel"))?;
            let port = self.events.bind(self.domain, remote)?;
            self.queues.push(Queue {
                ring,
                port,
                events: 0,
                broken: false,
            });
        }
        Ok(())
    }

    fn disconnect(&mut self) {
        for queue in self.queues.drain(..) {
            self.events.unbind(queue.port);
            if self.offer.keep_mapped {
                self.kept.push(queue.ring.into_memory());
            }
        }
        self.pages.disconnect();
    }

    fn event(&mut self, port: Port) -> Result<()> {
        match self.queues.iter().position(|queue| queue.port == port) {
            Some(at) => {
                if let Some(queue) = self.queues.get_mut(at) {
                    queue.events += 1;
                }
                self.serve(at)
            }
            None => Ok(()),
        }
    }

    fn ports(&self) -> Vec<Port> {
        self.queues.iter().map(|queue| queue.port).collect()
    }

    fn command(&mut self, words: &[&str]) -> Result<bool> {
        match *words {
            ["hang"] => self.block.hung = true,
            ["resume"] => {
                self.block.resume();
                (0..self.queues.len()).try_for_each(|at| self.serve(at))?;
            }
            // Answers one request more, and hangs again.
            ["step"] => {
                self.block.resume();
                self.block.hang_after = Some(self.block.requests + 1);
                (0..self.queues.len()).try_for_each(|at| self.serve(at))?;
            }
            // What is mapped for a request stays mapped, from now on and until `release`.
            ["keep"] => (self.pages.way, self.pages.keep) = (Way::Map, true),
            ["release"] => {
                self.pages.keep = false;
                self.kept.clear();
                self.pages.release();
            }
            // Writes over what it keeps: nobody else may be using it.
            ["scrawl"] => self.pages.scrawl(),
            ["die-after", requests] => {
                self.block.die_after = Some(self.block.requests + requests.parse::<u64>()?);
            }
            ["hang-after", requests] => {
                self.block.hang_after = Some(self.block.requests + requests.parse::<u64>()?);
            }
            ["hostile", name] => {
                let hostile =
                    Hostile::by_name(name).with_context(|| format!("there is no script {name}"))?;
                self.block.play(Some(hostile), 0, 1);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn counts(&self) -> String {
        format!(
            "requests={} failed={} acts={} kept={} queues={} flushes={} discards={} erased={} maps={} stray={} used={} slots={}",
            self.block.requests,
            self.block.failed,
            self.block.script.acts(),
            self.pages.kept() + self.kept.len(),
            self.queues.len(),
            self.block.flushes,
            self.block.discards,
            self.block.erased,
            self.pages.maps,
            self.pages.stray,
            self.queues.iter().filter(|queue| queue.events > 0).count(),
            self.queues.first().map_or(0, |queue| queue.ring.slots()),
        )
    }
}
