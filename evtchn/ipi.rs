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
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use linux::{
    cpu::{
        self,
        Hotplug,
        HotplugListener, //
    },
    ipi::{
        self,
        Kind,
        Sender, //
    },
    rcu::grace_period,
};
use xen_core::hypercall::event as hypercall;

impl LocalHandler for KindHandler {
    fn event(&self) {
        self.0.handle();
    }
}

/// Does what the port of a kind stands for.
struct KindHandler(Kind);

/// The ports of one CPU.
struct Ports {
    _reschedule: LocalListener<KindHandler>,
    _call: LocalListener<KindHandler>,
}

/// The numbers of the ports, which senders read without a lock; 0 for none.
#[derive(Default)]
struct Numbers {
    reschedule: AtomicU32,
    call: AtomicU32,
}

#[pin_data]
struct Cpus {
    events: Arc<Events>,
    numbers: KVec<Numbers>,
    /// Whether calls can be handled; the lock of `ports` is held while that is found out.
    calls: AtomicBool,
    #[pin]
    ports: Mutex<KVec<Option<Ports>>>,
}

impl Cpus {
    fn new(events: Arc<Events>) -> Result<Arc<Self>> {
        let (mut numbers, mut ports) = (KVec::new(), KVec::new());
        for _ in 0..cpu::count() {
            numbers.push(Numbers::default(), GFP_KERNEL)?;
            ports.push(None, GFP_KERNEL)?;
        }
        Arc::pin_init(
            pin_init!(Self {
                events,
                numbers,
                calls: AtomicBool::new(false),
                ports <- new_mutex!(ports, "oxen_ipi_ports"),
            }),
            GFP_KERNEL,
        )
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
        let ports = Ports {
            _reschedule: self.listen(cpu, Kind::Reschedule, "resched")?,
            _call: self.listen(cpu, Kind::Call, "call")?,
        };
        if let Some(numbers) = self.numbers.get(cpu as usize) {
            let (reschedule, call) = (ports._reschedule.port(), ports._call.port());
            numbers.reschedule.store(reschedule.0, Ordering::Release);
            numbers.call.store(call.0, Ordering::Release);
        }
        let mut all = self.ports.lock();
        if let Some(slot) = all.get_mut(cpu as usize) {
            *slot = Some(ports);
        }
        if !self.calls.load(Ordering::Relaxed) {
            self.calls.store(ipi::find_handler(), Ordering::Release);
        }
        Ok(())
    }

    fn offline(&self, cpu: u32) {
        self.end(cpu);
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
        for cpu in cpu::possible() {
            self.cpus.end(cpu);
        }
    }
}
