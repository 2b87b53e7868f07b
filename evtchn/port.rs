// SPDX-License-Identifier: GPL-2.0

//! One listened port: why it is masked, where it fires, and when its event may end.

use crate::{
    event::{
        Event,
        Handler, //
    },
    events::Events, //
};
use abi::{
    event::storm::{
        History,
        Rules, //
    },
    types::Port, //
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
    /// It is listened to no more; its number may be another port by now.
    pub(super) const GONE: u32 = 1 << 31;
}

/// A port that somebody listens to.
pub(crate) struct PortState {
    events: Arc<Events>,
    port: Port,
    pub(crate) name: CString,
    irq: AtomicU32,
    cpu: AtomicU32,
    masked: AtomicU32,
    /// Spurious events in a row.
    spurious: AtomicU32,
    /// Spurious events since the start.
    total_spurious: AtomicU64,
    /// The last upcall that fired this port, and how often it did, in the lower half.
    fired: AtomicU64,
    /// When the event that is being held back is ended, in ticks; 0 for none.
    due: AtomicU64,
}

impl PortState {
    /// A masked port.
    pub(crate) fn new(events: Arc<Events>, port: Port, name: CString) -> Result<Arc<Self>> {
        let state = Self {
            events,
            port,
            name,
            irq: AtomicU32::new(0),
            cpu: AtomicU32::new(0),
            masked: AtomicU32::new(reason::IRQ),
            spurious: AtomicU32::new(0),
            total_spurious: AtomicU64::new(0),
            fired: AtomicU64::new(0),
            due: AtomicU64::new(0),
        };
        Ok(Arc::new(state, GFP_KERNEL)?)
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

    /// Spurious events since the start.
    pub(crate) fn total_spurious(&self) -> u64 {
        self.total_spurious.load(Ordering::Relaxed)
    }

    /// Whether an event has not been ended.
    pub(crate) fn is_held(&self) -> bool {
        self.masked.load(Ordering::Relaxed) & reason::EVENT != 0
    }

    /// Lets upcalls find the interrupt.
    pub(crate) fn set_irq(&self, irq: u32) {
        self.irq.store(irq, Ordering::Relaxed);
        self.events.map.set(self.port, irq);
    }

    /// Puts it on the list of ports that are listened to.
    pub(crate) fn list(self: &Arc<Self>) -> Result {
        self.events.list(self.clone())
    }

    /// Takes it off, for good: whatever still holds an event of it changes nothing any more.
    pub(crate) fn forget(&self) {
        self.mask(reason::GONE);
        self.events.map.set(self.port, 0);
        self.events.unlist(self);
    }

    fn mask(&self, why: u32) {
        if self.masked.fetch_or(why, Ordering::SeqCst) == 0 {
            self.settle();
        }
    }

    fn unmask(&self, why: u32) {
        let before = self.masked.fetch_and(!why, Ordering::SeqCst);
        if before & why != 0 && before & !why == 0 {
            self.settle();
        }
    }

    /// Makes the port's mask bit agree with the reasons, which others may change meanwhile: whoever sets the bit last has
    /// looked at the reasons after that.
    fn settle(&self) {
        loop {
            let masked = self.masked.load(Ordering::SeqCst);
            if masked != 0 {
                self.events.layout().mask(self.port);
            } else {
                self.events.layout().unmask(self.port);
            }
            if (self.masked.load(Ordering::SeqCst) == 0) == (masked == 0) {
                return;
            }
        }
    }

    /// Ends an event, now or, if the port is too busy for nothing, a little later.
    pub(crate) fn end(&self, spurious: bool) {
        let rules = Rules {
            per_second: cpu::ticks_per_second().into(),
        };
        let mut history = History {
            spurious: self.spurious.load(Ordering::Relaxed),
        };
        let mut wait = rules.repeated(self.fired.load(Ordering::Relaxed) as u32);
        if spurious {
            self.total_spurious.fetch_add(1, Ordering::Relaxed);
            wait = wait.max(rules.spurious(&mut history));
        } else {
            rules.useful(&mut history);
        }
        self.spurious.store(history.spurious, Ordering::Relaxed);
        if wait == 0 {
            self.unmask(reason::EVENT);
        } else {
            let due = cpu::ticks().wrapping_add(wait).max(1);
            self.due.store(due, Ordering::Release);
            self.events.later(due);
        }
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

    /// Takes note that the upcall with this number found the port.
    pub(crate) fn fired_in(&self, upcall: u32) {
        let before = self.fired.load(Ordering::Relaxed);
        let count = if (before >> 32) as u32 == upcall {
            (before as u32).saturating_add(1)
        } else {
            1
        };
        self.fired.store(
            (u64::from(upcall) << 32) | u64::from(count),
            Ordering::Relaxed,
        );
    }

    /// Makes the port fire.
    pub(crate) fn poke(&self) {
        self.mask(reason::POKE);
        self.events.layout().set_pending(self.port);
        self.unmask(reason::POKE);
    }

    /// Has the port fire on `cpu` from now on. A few events may still come up where it was.
    pub(crate) fn move_to(&self, cpu: u32) -> Result {
        let vcpu = self.events.vcpu(cpu).ok_or(EINVAL)?;
        self.mask(reason::MOVE);
        let moved = hypercall::bind_vcpu(self.port, vcpu);
        if moved.is_ok() {
            let old = self.cpu.swap(cpu, Ordering::Relaxed);
            self.events.moved(old, cpu);
        }
        self.unmask(reason::MOVE);
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
        self.state.mask(reason::EVENT);
        self.state.events.layout().clear_pending(self.state.port);
        self.state.fired_in(self.state.events.upcall_number());
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
