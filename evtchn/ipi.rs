// SPDX-License-Identifier: GPL-2.0

//! Interrupts from one CPU to another, as events.
//!
//! Where the local APIC is emulated, sending one costs two or three exits and its end another; an event costs the sender
//! one hypercall and, by the callback vector, the receiver nothing.

use crate::{
    channel::Channel,
    event::LocalHandler,
    events::Events,
    listener::LocalListener, //
};
use abi::types::Port;
use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    Ordering, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::{
    cpu::{
        self,
        ipi::{
            self,
            Kind,
            Sender, //
        },
        Hotplug,
        HotplugListener, //
    },
    new_delayed_call,
    new_spinlock_irq, //
    sync::{
        irq_lock::SpinLockIrq,
        rcu::grace_period, //
    },
    vec::filled,
    workqueue::delayed::DelayedCall, //
};
use xen_core::{
    hypercall::event as hypercall,
    resume::{
        Registration,
        Resume,
        Stage,
        Wake, //
    },
};

impl LocalHandler for KindHandler {
    fn event(&self) {
        self.0.handle();
    }
}

/// Does what the port of a kind stands for.
struct KindHandler(Kind);

/// The ports of one CPU.
struct Ports {
    reschedule: LocalListener<KindHandler>,
    call: LocalListener<KindHandler>,
}

/// The numbers of the ports, which senders read without a lock; 0 for none.
#[derive(Default)]
struct Numbers {
    reschedule: AtomicU32,
    call: AtomicU32,
}

impl Numbers {
    fn set(&self, ports: &Ports) {
        self.reschedule
            .store(ports.reschedule.port().0, Ordering::Release);
        self.call.store(ports.call.port().0, Ordering::Release);
    }
}

#[pin_data]
struct Cpus {
    events: Arc<Events>,
    numbers: KVec<Numbers>,
    /// Whether calls can be handled.
    calls: AtomicBool,
    /// Finds that out, once there are two CPUs. It takes the lock under which CPUs come and go.
    finder: Pin<KBox<DelayedCall<Cpus>>>,
    /// A spinlock: it is looked at while the machine stands still.
    #[pin]
    ports: SpinLockIrq<KVec<Option<Ports>>>,
}

impl Cpus {
    fn new(events: Arc<Events>) -> Result<Arc<Self>> {
        let count = cpu::count() as usize;
        let (numbers, ports) = (filled(count, Numbers::default)?, filled(count, || None)?);
        let this = Arc::pin_init(
            try_pin_init!(Self {
                events,
                numbers,
                calls: AtomicBool::new(false),
                finder: new_delayed_call!("oxen_ipi_find", Self::find)?,
                ports <- new_spinlock_irq!(ports, "oxen_ipi_ports"),
            }),
            GFP_KERNEL,
        )?;
        // `stop` ends this circle.
        this.finder.start(this.clone());
        Ok(this)
    }

    fn find(&self) -> Option<u32> {
        if !self.calls.load(Ordering::Relaxed) {
            self.calls.store(ipi::find_handler(), Ordering::Release);
        }
        None
    }

    fn listen(&self, cpu: u32, kind: Kind, name: &str) -> Result<LocalListener<KindHandler>> {
        LocalListener::new(
            Channel::ipi(self.events.clone(), cpu)?,
            cpu,
            fmt!("oxen-{name}{cpu}"),
            Arc::new(KindHandler(kind), GFP_KERNEL)?,
        )
    }

    /// Ends the ports of a CPU. What was on its way to them is asked for again in the kernel's own way.
    fn end(&self, cpu: u32) {
        if let Some(numbers) = self.numbers.get(cpu as usize) {
            numbers.reschedule.store(0, Ordering::Relaxed);
            numbers.call.store(0, Ordering::Relaxed);
        }
        // A sender has preemption off from its look at the number on.
        grace_period();
        let ports = self
            .ports
            .lock()
            .get_mut(cpu as usize)
            .and_then(Option::take);
        if ports.is_some() {
            drop(ports);
            ipi::nudge(cpu);
        }
    }
}

impl Hotplug for Cpus {
    fn online(&self, cpu: u32) -> Result {
        if self.events.vcpu(cpu).is_none() {
            // The kernel's own way is good for all CPUs.
            return Ok(());
        }
        let ports = Ports {
            reschedule: self.listen(cpu, Kind::Reschedule, "resched")?,
            call: self.listen(cpu, Kind::Call, "call")?,
        };
        let mut all = self.ports.lock();
        // With the lock held, so that a number is of the life of the domain that it is used in.
        if let (Some(slot), Some(numbers)) =
            (all.get_mut(cpu as usize), self.numbers.get(cpu as usize))
        {
            numbers.set(&ports);
            *slot = Some(ports);
        }
        drop(all);
        self.finder.schedule(0);
        Ok(())
    }

    fn offline(&self, cpu: u32) {
        self.end(cpu);
    }
}

impl Resume for Cpus {
    /// The ports have been bound anew, and have fired for what was on its way.
    fn resume(&self, wake: Wake) {
        if wake == Wake::Resumed {
            for (numbers, ports) in self.numbers.iter().zip(self.ports.lock().iter()) {
                if let Some(ports) = ports {
                    numbers.set(ports);
                }
            }
        }
    }
}

impl Sender for Cpus {
    fn send(&self, cpu: u32, kind: Kind) -> bool {
        if kind == Kind::Call && !self.calls.load(Ordering::Acquire) {
            return false;
        }
        let port = self.numbers.get(cpu as usize).map_or(0, |numbers| {
            match kind {
                Kind::Reschedule => &numbers.reschedule,
                Kind::Call => &numbers.call,
            }
            .load(Ordering::Acquire)
        });
        port != 0 && hypercall::send(Port(port)).is_ok()
    }
}

/// Events in the place of interrupts between CPUs, until this is dropped.
pub(crate) struct Ipis {
    _again: Registration,
    sender: Option<ipi::Ipis<Cpus>>,
    listener: Option<Pin<KBox<HotplugListener<Cpus>>>>,
    cpus: Arc<Cpus>,
}

impl Ipis {
    /// Makes the ports, and has the kernel use them.
    ///
    /// # Errors
    ///
    /// What the irq core or Xen says.
    pub(crate) fn new(events: &Arc<Events>) -> Result<Self> {
        let cpus = Cpus::new(events.clone())?;
        let mut ipis = Self {
            _again: Registration::new(Stage::Ports, cpus.clone())?,
            sender: None,
            listener: None,
            cpus: cpus.clone(),
        };
        ipis.listener = Some(HotplugListener::new(c"oxen/ipi:online", cpus.clone())?);
        ipis.sender = Some(ipi::Ipis::new(cpus)?);
        Ok(ipis)
    }
}

impl Drop for Ipis {
    fn drop(&mut self) {
        self.sender = None;
        self.listener = None;
        self.cpus.finder.stop();
        for cpu in cpu::possible() {
            self.cpus.end(cpu);
        }
    }
}
