// SPDX-License-Identifier: GPL-2.0

//! The state of a port that somebody listens to.

use crate::{
    channel::Binding,
    events::{
        Events,
        Listed, //
    },
    map::Entry,
};
use abi::{
    event::{
        mask::{
            reason,
            Reasons, //
        },
        spread::Place,
        storm::{
            Burst,
            History,
            Rules, //
        },
    },
    types::Port,
};
use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering, //
};
use kernel::{
    fmt,
    prelude::*,
    str::CString,
    sync::Arc, //
};
use linux::{
    cpu::{
        self,
        set::{
            self,
            CpuSet,
            Cpumask, //
        }, //
    },
    irq,
    new_raw_spinlock, //
    sync::{
        counter::Counter,
        raw_lock::RawSpinLock, //
    },
};
use xen_core::hypercall::event as hypercall;

/// What belongs together, under a lock.
struct Mask {
    reasons: Reasons,
    place: Place,
    /// Where the interrupt may go.
    allowed: CpuSet,
    /// It has fired, and no handler was called.
    fired: bool,
    /// Spurious events in a row.
    history: History,
    burst: Burst,
}

/// A port that somebody listens to.
///
/// The lock may be taken under that of the irq descriptor, never the other way round.
#[pin_data]
pub(crate) struct PortState {
    events: Arc<Events>,
    /// Its number, which changes when a local port is bound anew; 0 if that failed.
    number: AtomicU32,
    name: CString,
    irq: AtomicU32,
    /// What it is bound to if it never leaves its CPU.
    local: Option<Binding>,
    #[pin]
    mask: RawSpinLock<Mask>,
    /// Spurious events since the start.
    total_spurious: Counter,
    /// When the event that is being held back is ended, in ticks; 0 for none.
    due: AtomicU64,
}

impl PortState {
    /// A masked port; `local` if it is bound to a CPU for ever: to which, and as what.
    pub(crate) fn new(
        events: Arc<Events>,
        port: Port,
        name: CString,
        local: Option<(u32, Binding)>,
    ) -> Result<Arc<Self>> {
        let cpu = local.map_or(0, |(cpu, _)| cpu);
        let mask = Mask {
            reasons: Reasons::new(reason::IRQ),
            place: Place::new(cpu),
            allowed: CpuSet::new(cpu::possible())?,
            fired: false,
            history: History::default(),
            burst: Burst::default(),
        };
        Arc::pin_init(
            pin_init!(Self {
                events,
                number: AtomicU32::new(port.0),
                name,
                irq: AtomicU32::new(0),
                local: local.map(|(_, binding)| binding),
                mask <- new_raw_spinlock!(mask, "oxen_evtchn_port"),
                total_spurious: Counter::new(),
                due: AtomicU64::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Lets upcalls find the interrupt.
    pub(crate) fn set_irq(&self, irq: u32) {
        self.irq.store(irq, Ordering::Relaxed);
        self.find_by_number();
    }

    /// Has upcalls find the interrupt by the port's number.
    fn find_by_number(&self) {
        let entry = Entry {
            irq: self.irq(),
            cpu: self.is_local().then_some(self.cpu()),
        };
        self.events.map.set(self.port(), Some(entry));
    }

    /// Puts it on the list of ports that are listened to.
    pub(crate) fn list(self: &Arc<Self>) -> Result {
        self.events.list(self.clone())
    }

    /// Closes a local port.
    pub(crate) fn close(&self) {
        // The domain does not stop between the look at the number and the close.
        cpu::held(|_| {
            if self.port() != Port(0) && !self.events.is_over() {
                self.events.close(self.port(), true);
            }
        });
    }

    /// Takes it off the list, for good.
    pub(crate) fn forget(&self) {
        self.abandon();
        self.events.unlist(self);
    }

    /// Takes note that it has fired.
    pub(crate) fn clear_pending(&self) {
        self.events.layout().clear_pending(self.port());
    }

    /// Adds a reason to a locked port. Returns false if it is gone.
    fn add(&self, mask: &mut Mask, why: u32) -> bool {
        mask.reasons
            .add(why, || self.events.layout().mask(self.port()))
    }

    /// Takes a reason from a locked port.
    fn remove(&self, mask: &mut Mask, why: u32) {
        mask.reasons
            .remove(why, || self.events.layout().unmask(self.port()));
    }

    /// Masks the port, for one more [`reason`].
    pub(crate) fn mask(&self, why: u32) {
        self.add(&mut self.mask.lock(), why);
    }

    /// Takes a [`reason`] away.
    pub(crate) fn unmask(&self, why: u32) {
        self.remove(&mut self.mask.lock(), why);
    }

    /// Takes note of an event that is about to be handled. One that is on its way as the port goes to another CPU comes up on
    /// both, and counts where it comes first.
    pub(crate) fn ack(&self) {
        let cpu = cpu::current();
        let mut mask = self.mask.lock();
        let layout = self.events.layout();
        // The bit is only taken down under the lock.
        if layout.is_pending(self.port()) && mask.reasons.take_event(|| layout.ack(self.port())) {
            mask.fired = true;
            mask.burst.fired((cpu, self.events.upcall_number(cpu)));
        }
    }

    /// Takes note of an event that will not be handled now, and masks the port.
    pub(crate) fn mask_ack(&self) {
        let mut mask = self.mask.lock();
        let layout = self.events.layout();
        if self.add(&mut mask, reason::IRQ) && layout.is_pending(self.port()) {
            layout.clear_pending(self.port());
            mask.fired = true;
        }
    }

    /// Returns whether there is an event to be handled. It keeps the port masked until it has ended.
    pub(crate) fn begin(&self) -> bool {
        let mut mask = self.mask.lock();
        core::mem::take(&mut mask.fired) && self.add(&mut mask, reason::EVENT)
    }

    /// Ends an event, now or, if the port is too busy for nothing, a little later.
    pub(crate) fn end(&self, spurious: bool, asked_by: Option<u32>) {
        let rules = Rules {
            per_second: cpu::ticks_per_second().into(),
        };
        let mut mask = self.mask.lock();
        if let Some(cpu) = asked_by {
            self.follow(&mut mask, cpu);
        }
        let mut wait = rules.repeated(mask.burst.count());
        if spurious {
            self.total_spurious.count();
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

    /// Has the port fire on one of `cpus`, now and when it follows those that ask.
    ///
    /// # Errors
    ///
    /// As for [`go`](Self::go).
    pub(crate) fn retarget(&self, cpus: &Cpumask) -> Result {
        let mut mask = self.mask.lock();
        self.go(&mut mask, || self.events.choose(set::online(cpus)))?;
        cpus.copy(&mut mask.allowed);
        Ok(())
    }

    /// Goes where events are asked for, if enough of them are.
    fn follow(&self, mask: &mut Mask, cpu: u32) {
        if mask.place.asked_by(cpu) && set::has(&mask.allowed, cpu) {
            let ready = || self.events.choose([cpu].into_iter());
            // It stays where it is if the CPU takes none.
            let _ = self.go(mask, || ready().filter(|chosen| *chosen == cpu));
        }
    }

    /// Has the locked port fire on the CPU that `choose` gives. A few events may still come up where it was.
    ///
    /// # Errors
    ///
    /// `ENODEV` if it is listened to no more or there is no CPU, `EINVAL` if that has no vCPU; what Xen says.
    fn go(&self, mask: &mut Mask, choose: impl FnOnce() -> Option<u32>) -> Result {
        if !self.add(mask, reason::MOVE) {
            return Err(ENODEV);
        }
        let old = mask.place.go(
            || choose().ok_or(ENODEV),
            |cpu| hypercall::bind_vcpu(self.port(), self.events.vcpu(cpu).ok_or(EINVAL)?),
        );
        if let Ok(old) = old {
            let cpu = mask.place.cpu();
            self.events.moved(old, cpu);
            irq::port::moved(self.irq(), cpu);
        }
        self.remove(mask, reason::MOVE);
        old.map(drop)
    }

    fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// Binds a local port to what it was bound to.
    fn bind_again(&self, binding: Binding) -> Result<Port> {
        let vcpu = self.events.vcpu(self.cpu()).ok_or(EINVAL)?;
        let port = match binding {
            Binding::Virq(virq) => hypercall::bind_virq(virq, vcpu),
            Binding::Ipi => hypercall::bind_ipi(vcpu),
            Binding::Peer | Binding::Toolstack => Err(EINVAL),
        }?;
        // Nothing can be allocated here, but a domain gives its lowest numbers first, and had ports before.
        if self.events.layout().has(port) && self.events.map.has(port) {
            Ok(port)
        } else {
            let _ = hypercall::close(port);
            Err(ENOSPC)
        }
    }

    /// Makes the port fire.
    pub(crate) fn poke(&self) {
        let mut mask = self.mask.lock();
        if self.add(&mut mask, reason::POKE) {
            self.events.layout().set_pending(self.port());
            self.remove(&mut mask, reason::POKE);
        }
    }
}

impl Listed for PortState {
    fn port(&self) -> Port {
        Port(self.number.load(Ordering::Relaxed))
    }

    fn irq(&self) -> u32 {
        self.irq.load(Ordering::Relaxed)
    }

    fn cpu(&self) -> u32 {
        self.mask.lock().place.cpu()
    }

    fn abandon(&self) {
        // The number of one that is gone already may be another port's.
        if self.add(&mut self.mask.lock(), reason::GONE) {
            self.events.map.set(self.port(), None);
        }
    }

    fn lose(&self) {
        if self.is_local() {
            self.events.map.set(self.port(), None);
        } else {
            self.abandon();
        }
    }

    fn rebind(&self) {
        let Some(binding) = self.local else {
            return;
        };
        let bound = self.bind_again(binding);
        if let Err(error) = &bound {
            pr_err!(
                "{} cannot be bound again ({error:?}).\n",
                self.name.to_str().unwrap_or("?")
            );
        }
        self.number
            .store(bound.map_or(0, |port| port.0), Ordering::Relaxed);
        if self.port() == Port(0) {
            return;
        }
        self.find_by_number();
        let layout = self.events.layout();
        layout.prefer(self.port());
        if self.mask.lock().reasons.is_none() {
            layout.unmask(self.port());
        }
        self.poke();
    }

    fn end_if_due(&self, now: u64) -> Option<u64> {
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

    fn leave(&self, cpu: u32) -> Result {
        let mut mask = self.mask.lock();
        if self.is_local() || mask.reasons.has(reason::GONE) || mask.place.cpu() != cpu {
            return Ok(());
        }
        self.go(&mut mask, || self.events.choose(cpu::online()))
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.mask.lock().reasons.has(reason::EVENT);
        writeln!(
            f,
            "port {} irq {} cpu {} spurious {} held {} {}",
            self.port().0,
            self.irq(),
            self.cpu(),
            self.total_spurious,
            u8::from(held),
            self.name.to_str().unwrap_or("?"),
        )
    }
}
