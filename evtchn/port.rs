// SPDX-License-Identifier: GPL-2.0

//! The state of a port that somebody listens to, and the interrupt that it is.

use crate::{
    event::{
        Event,
        Handler,
        LocalHandler, //
    },
    events::Events,
    map::Entry,
};
use abi::{
    event::storm::{
        History,
        Rules, //
    },
    types::Port,
};
use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering, //
};
use kernel::{
    prelude::*,
    str::CString,
    sync::Arc, //
};
use linux::{
    cpu::{
        self,
        CpuSet, //
    },
    irq::port::Source,
    new_raw_spinlock,
    raw_lock::RawSpinLock, //
};
use xen_core::hypercall::event as hypercall;

/// Reasons for a port to be masked. It is unmasked while there is none.
mod reason {
    /// The irq core wants it so.
    pub(super) const IRQ: u32 = 1;
    /// An event has not been ended.
    pub(super) const EVENT: u32 = 2;
    /// It is on the way to another CPU.
    pub(super) const MOVE: u32 = 4;
    /// It is made to fire.
    pub(super) const POKE: u32 = 8;
    /// It is listened to no more; its number may be another port by now, so its bits are not touched.
    pub(super) const GONE: u32 = 1 << 31;
}

/// What belongs together, under a lock.
struct Mask {
    reasons: u32,
    /// Spurious events in a row.
    history: History,
    /// The last upcall that fired this port, and how often it did.
    upcall: u64,
    repeated: u32,
}

/// A port that somebody listens to.
///
/// The lock may be taken under that of the irq descriptor, never the other way round.
#[pin_data]
pub(crate) struct PortState {
    events: Arc<Events>,
    port: Port,
    pub(crate) name: CString,
    irq: AtomicU32,
    cpu: AtomicU32,
    /// Whether it never leaves its CPU.
    local: bool,
    #[pin]
    mask: RawSpinLock<Mask>,
    /// Spurious events since the start.
    total_spurious: AtomicU64,
    /// When the event that is being held back is ended, in ticks; 0 for none.
    due: AtomicU64,
}

impl PortState {
    /// A masked port; `cpu` if it is bound to one for ever.
    pub(crate) fn new(
        events: Arc<Events>,
        port: Port,
        name: CString,
        cpu: Option<u32>,
    ) -> Result<Arc<Self>> {
        let (local, cpu) = (cpu.is_some(), cpu.unwrap_or(0));
        let mask = Mask {
            reasons: reason::IRQ,
            history: History::default(),
            upcall: 0,
            repeated: 0,
        };
        Arc::pin_init(
            pin_init!(Self {
                events,
                port,
                name,
                irq: AtomicU32::new(0),
                cpu: AtomicU32::new(cpu),
                local,
                mask <- new_raw_spinlock!(mask, "oxen_evtchn_port"),
                total_spurious: AtomicU64::new(0),
                due: AtomicU64::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// The number of the port.
    pub(crate) fn port(&self) -> Port {
        self.port
    }

    /// Its interrupt, 0 before it has one.
    pub(crate) fn irq(&self) -> u32 {
        self.irq.load(Ordering::Relaxed)
    }

    /// The CPU that it fires on.
    pub(crate) fn cpu(&self) -> u32 {
        self.cpu.load(Ordering::Relaxed)
    }

    /// Whether it never leaves its CPU.
    pub(crate) fn is_local(&self) -> bool {
        self.local
    }

    /// Spurious events since the start.
    pub(crate) fn total_spurious(&self) -> u64 {
        self.total_spurious.load(Ordering::Relaxed)
    }

    /// Whether an event has not been ended.
    pub(crate) fn is_held(&self) -> bool {
        self.mask.lock().reasons & reason::EVENT != 0
    }

    /// Lets upcalls find the interrupt.
    pub(crate) fn set_irq(&self, irq: u32) {
        self.irq.store(irq, Ordering::Relaxed);
        let entry = Entry {
            irq,
            cpu: self.local.then_some(self.cpu()),
        };
        self.events.map.set(self.port, Some(entry));
    }

    /// Puts it on the list of ports that are listened to.
    pub(crate) fn list(self: &Arc<Self>) -> Result {
        self.events.list(self.clone())
    }

    /// Takes it off, for good: whatever still holds an event of it changes nothing any more.
    pub(crate) fn forget(&self) {
        self.mask(reason::GONE);
        self.events.map.set(self.port, None);
        self.events.unlist(self);
    }

    /// Adds a reason to a locked port. Returns false if it is gone.
    fn add(&self, mask: &mut Mask, why: u32) -> bool {
        if mask.reasons & reason::GONE != 0 {
            return false;
        }
        if mask.reasons == 0 {
            self.events.layout().mask(self.port);
        }
        mask.reasons |= why;
        true
    }

    /// Takes a reason from a locked port.
    fn remove(&self, mask: &mut Mask, why: u32) {
        let before = mask.reasons;
        mask.reasons &= !why;
        if before != 0 && mask.reasons == 0 {
            self.events.layout().unmask(self.port);
        }
    }

    fn mask(&self, why: u32) {
        self.add(&mut self.mask.lock(), why);
    }

    fn unmask(&self, why: u32) {
        self.remove(&mut self.mask.lock(), why);
    }

    /// Takes note of an event that is about to be handled.
    fn ack(&self) {
        let upcall = self.events.upcall_number(cpu::current());
        let mut mask = self.mask.lock();
        if mask.reasons & reason::GONE != 0 {
            return;
        }
        mask.reasons |= reason::EVENT;
        self.events.layout().ack(self.port);
        mask.repeated = if mask.upcall == upcall {
            mask.repeated.saturating_add(1)
        } else {
            1
        };
        mask.upcall = upcall;
    }

    /// Ends an event, now or, if the port is too busy for nothing, a little later.
    pub(crate) fn end(&self, spurious: bool) {
        let rules = Rules {
            per_second: cpu::ticks_per_second().into(),
        };
        let mut mask = self.mask.lock();
        let mut wait = rules.repeated(mask.repeated);
        if spurious {
            self.total_spurious.fetch_add(1, Ordering::Relaxed);
            wait = wait.max(rules.spurious(&mut mask.history));
        } else {
            rules.useful(&mut mask.history);
        }
        if wait == 0 {
            self.remove(&mut mask, reason::EVENT);
            return;
        }
        drop(mask);
        let due = cpu::ticks().wrapping_add(wait).max(1);
        self.due.store(due, Ordering::Release);
        self.events.later(due);
    }

    /// Ends an event that was held back, if it is time. Returns when it will be.
    pub(crate) fn end_if_due(&self, now: u64) -> Option<u64> {
        match self.due.load(Ordering::Acquire) {
            0 => None,
            due if due <= now => {
                self.due.store(0, Ordering::Relaxed);
                self.unmask(reason::EVENT);
                None
            }
            due => Some(due),
        }
    }

    /// Makes the port fire.
    pub(crate) fn poke(&self) {
        let mut mask = self.mask.lock();
        if self.add(&mut mask, reason::POKE) {
            self.events.layout().set_pending(self.port);
            self.remove(&mut mask, reason::POKE);
        }
    }

    /// Has the port fire on `cpu` from now on. A few events may still come up where it was.
    pub(crate) fn move_to(&self, cpu: u32) -> Result {
        let vcpu = self.events.vcpu(cpu).ok_or(EINVAL)?;
        let mut mask = self.mask.lock();
        if !self.add(&mut mask, reason::MOVE) {
            return Err(ENODEV);
        }
        let moved = hypercall::bind_vcpu(self.port, vcpu);
        if moved.is_ok() {
            let old = self.cpu.swap(cpu, Ordering::Relaxed);
            self.events.moved(old, cpu);
        }
        self.remove(&mut mask, reason::MOVE);
        moved
    }
}

/// A port and who handles its events.
pub(crate) struct Bound<H> {
    pub(crate) state: Arc<PortState>,
    pub(crate) handler: Arc<H>,
}

impl<H: Handler> Source for Bound<H> {
    fn ack(&self) {
        self.state.ack();
    }

    fn mask(&self) {
        self.state.mask(reason::IRQ);
    }

    fn mask_ack(&self) {
        self.state.mask(reason::IRQ);
        self.state.events.layout().clear_pending(self.state.port);
    }

    fn unmask(&self) {
        self.state.unmask(reason::IRQ);
    }

    fn retrigger(&self) {
        self.state.poke();
    }

    fn retarget(&self, cpus: &CpuSet<'_>) -> Option<u32> {
        let cpu = self.state.events.choose(cpus.online())?;
        self.state.move_to(cpu).ok().map(|()| cpu)
    }

    fn handle(this: &Arc<Self>) {
        // The irq core may run the handler again without `ack`, for an event that came meanwhile.
        this.state.mask(reason::EVENT);
        this.handler.event(Event::new(this.state.clone()));
    }
}

/// A port that never leaves its CPU, and who handles its events.
pub(crate) struct Local<H> {
    pub(crate) state: Arc<PortState>,
    pub(crate) handler: Arc<H>,
}

impl<H: LocalHandler> Source for Local<H> {
    // Only Xen and we fire such a port, so it is not masked meanwhile.
    fn ack(&self) {
        self.state.events.layout().clear_pending(self.state.port);
    }

    fn mask(&self) {
        self.state.mask(reason::IRQ);
    }

    fn mask_ack(&self) {
        self.mask();
        self.ack();
    }

    fn unmask(&self) {
        self.state.unmask(reason::IRQ);
    }

    fn retrigger(&self) {
        self.state.poke();
    }

    fn retarget(&self, _cpus: &CpuSet<'_>) -> Option<u32> {
        None
    }

    fn handle(this: &Arc<Self>) {
        this.handler.event();
    }
}
