// SPDX-License-Identifier: GPL-2.0

//! The control ring of a connection, over which the backend is told how to hash what it sends us.

use abi::{
    net::{
        features::keys,
        steering::{
            Asking,
            ControlRequest,
            ControlResponse,
            Progress,
            WrongAnswer,
            KEY,
            TABLE, //
        },
    },
    ring::FrontRing,
    shared::Memory,
    types::GrantRef, //
};
use core::fmt;
use evtchn::{
    Channel,
    Event,
    Handler,
    Listener,
    Notifier, //
};
use grant_table::GrantedPages;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SetOnce, //
    },
};
use linux::{
    fmt::Shown,
    new_spinlock_irq,
    sync::irq_lock::SpinLockIrq, //
};
use xenbus::Publication;

/// Bytes of an entry of the table.
const ENTRY: usize = 4;

/// The ring, and what is said over it.
#[pin_data]
pub(crate) struct ControlRing {
    #[pin]
    inner: SpinLockIrq<Inner>,
    key: GrantedPages,
    table: GrantedPages,
    notifier: SetOnce<Notifier>,
    /// The backend hashes as it was told.
    hashes: Atomic<bool>,
    /// Nothing is said any more.
    retired: Atomic<bool>,
    dev: xenbus::Device,
}

struct Inner {
    ring: FrontRing<ControlRequest, ControlResponse, GrantedPages>,
    asking: Asking,
}

/// The ring and its port, as the backend learns of them. Dropping it takes them down.
pub(crate) struct Control {
    ring: GrantRef,
    events: Listener<ControlRing>,
}

impl Control {
    /// Makes the ring, its pages and its port.
    ///
    /// # Errors
    ///
    /// There is not enough of something.
    pub(crate) fn open(dev: &xenbus::Device) -> Result<Self> {
        let peer = dev.otherend_id();
        let page = GrantedPages::new(peer, 1)?;
        let (key, table) = (
            GrantedPages::read_only(peer, 1)?,
            GrantedPages::read_only(peer, 1)?,
        );
        let gref = |pages: &GrantedPages| pages.grefs().first().copied().ok_or(EINVAL);
        let ring = gref(&page)?;
        let inner = Inner {
            asking: Asking::new(gref(&key)?, gref(&table)?),
            ring: FrontRing::new(page).ok_or(EINVAL)?,
        };
        let shared = Arc::pin_init(
            pin_init!(ControlRing {
                inner <- new_spinlock_irq!(inner, "oxen_netfront_control"),
                key,
                table,
                notifier: SetOnce::new(),
                hashes: Atomic::new(false),
                retired: Atomic::new(false),
                dev: dev.clone(),
            }),
            GFP_KERNEL,
        )?;
        let events = Listener::new(
            Channel::alloc_unbound(peer)?,
            fmt!("oxen-vif{}-ctrl", dev.id()?),
            shared,
        )?;
        events.handler().notifier.populate(events.notifier());
        Ok(Self { ring, events })
    }

    /// Adds the keys that tell the backend of it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn add_keys(&self, keys: &mut Publication) -> Result {
        keys.add(keys::CTRL_RING_REF, self.ring)?;
        keys.add(keys::EVENT_CHANNEL_CTRL, self.events.port())
    }

    /// The ring.
    pub(crate) fn ring(&self) -> &Arc<ControlRing> {
        self.events.handler()
    }
}

impl ControlRing {
    /// Has the backend hash, or not hash, by this key and table, as soon as it has answered what it was asked before.
    pub(crate) fn tell(&self, on: bool, key: &[u8; KEY], table: &[u32; TABLE]) {
        self.key.write(0, key);
        for (index, queue) in table.iter().enumerate() {
            self.table.store_u32(index.wrapping_mul(ENTRY), *queue);
        }
        let mut inner = self.inner.lock();
        if let Some(request) = inner.asking.begin(on) {
            self.ask(&mut inner, &request);
        }
    }

    /// Whether the backend hashes as it was told.
    pub(crate) fn hashes(&self) -> bool {
        self.hashes.load(Relaxed)
    }

    /// Says nothing any more, and takes nothing.
    pub(crate) fn retire(&self) {
        // An event that runs is waited for.
        let _inner = self.inner.lock();
        self.retired.store(true, Relaxed);
    }

    fn ask(&self, inner: &mut Inner, request: &ControlRequest) {
        self.hashes.store(false, Relaxed);
        // There is room: one is asked after the other.
        let _ = inner.ring.write(request);
        if let (true, Some(notifier)) = (inner.ring.publish(), self.notifier.as_ref()) {
            notifier.notify();
        }
    }

    /// Takes the responses that are there. Returns whether there was any.
    fn take(&self, inner: &mut Inner) -> Result<bool, Broken> {
        let mut taken = false;
        loop {
            let Some(response) = inner.ring.take()? else {
                if inner.ring.arm(1)? {
                    continue;
                }
                return Ok(taken);
            };
            taken = true;
            match inner.asking.answer(&response)? {
                Progress::Ask(request) => self.ask(inner, &request),
                Progress::Done(on) => self.hashes.store(on, Relaxed),
                Progress::Refused(step, status) => dev_warn!(
                    self.dev.as_ref(),
                    "the backend does not spread what is received by a hash: it refuses {}, with status {}\n",
                    Shown(step),
                    status
                ),
            }
        }
    }
}

impl Handler for ControlRing {
    fn event(&self, event: Event) {
        let mut inner = self.inner.lock();
        if self.retired.load(Relaxed) {
            return;
        }
        match self.take(&mut inner) {
            Ok(true) => {}
            Ok(false) => event.spurious(),
            Err(broken) => {
                self.retired.store(true, Relaxed);
                self.dev.broken(format_args!("control ring: {broken}"));
            }
        }
    }
}

/// How the backend broke the rules.
enum Broken {
    Ring(abi::ring::Broken),
    Answer(WrongAnswer),
}

impl From<abi::ring::Broken> for Broken {
    fn from(broken: abi::ring::Broken) -> Self {
        Broken::Ring(broken)
    }
}

impl From<WrongAnswer> for Broken {
    fn from(wrong: WrongAnswer) -> Self {
        Broken::Answer(wrong)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Ring(broken) => broken.fmt(f),
            Broken::Answer(wrong) => wrong.fmt(f),
        }
    }
}
