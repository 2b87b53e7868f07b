// SPDX-License-Identifier: GPL-2.0

//! The state that all ports belong to, and the way from an upcall to the ports that fired.

use crate::{
    fifo::Fifo,
    layout::Layout,
    map::Map,
    port::PortState,
    reset, //
};
use abi::{
    event::{
        two_level::TwoLevel,
        vcpu_info, //
    },
    types::{
        Port,
        VcpuId, //
    },
};
use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    AtomicU64,
    Ordering, //
};
use kernel::{
    new_mutex, new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLockIrq, //
    },
};
use linux::{
    cpu,
    delayed::DelayedCall,
    irq,
    new_delayed_call, //
};
use xen_core::{
    hypercall::event as hypercall,
    SharedInfo, //
};

/// No vCPU.
const NONE: u32 = u32::MAX;

/// What is known of one CPU.
struct Cpu {
    /// Its vCPU, [`NONE`] before it was first online.
    vcpu: AtomicU32,
    /// How many ports fire on it.
    ports: AtomicU32,
    /// How many upcalls it has taken.
    upcalls: AtomicU64,
    /// Whether ports can come to it: it takes upcalls, and stays.
    ready: AtomicBool,
}

/// Everything about event channels.
pub(crate) struct Events {
    shared_info: SharedInfo,
    layout: Layout,
    cpus: KVec<Cpu>,
    /// Set when only vCPU 0 is interrupted.
    first_only: AtomicBool,
    pub(crate) map: Map,
    ports: Pin<KBox<Mutex<KVec<Arc<PortState>>>>>,
    /// Ends the events that were held back.
    later: Pin<KBox<DelayedCall<Events>>>,
    /// When that happens next, in ticks; the lock is held while it is scheduled, so that no later time replaces it.
    next: Pin<KBox<SpinLockIrq<u64>>>,
}

impl Events {
    /// Masks everything and chooses a layout.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what Xen says.
    pub(crate) fn new(fifo: bool) -> Result<Arc<Self>> {
        if hypercall::is_fifo() {
            // A module before this one, or a kernel before this one, has left it so.
            reset::reset()?;
        }
        let shared_info = xen_core::shared_info()?;
        let two_level = TwoLevel::new(shared_info.clone());
        // At first load no port is masked, and an upcall would find whatever the firmware has left.
        two_level.mask_all();
        for vcpu in 0..vcpu_info::COUNT {
            vcpu_info::take_upcall(&shared_info, VcpuId(vcpu));
        }
        let mut cpus = KVec::new();
        for _ in 0..cpu::count() {
            let cpu = Cpu {
                vcpu: AtomicU32::new(NONE),
                ports: AtomicU32::new(0),
                upcalls: AtomicU64::new(0),
                ready: AtomicBool::new(false),
            };
            cpus.push(cpu, GFP_KERNEL)?;
        }
        let layout = if fifo {
            Layout::Fifo(Fifo::new()?)
        } else {
            Layout::TwoLevel(two_level)
        };
        let events = Arc::new(
            Self {
                shared_info,
                layout,
                cpus,
                first_only: false.into(),
                map: Map::new()?,
                ports: KBox::pin_init(new_mutex!(KVec::new(), "oxen_evtchn_ports"), GFP_KERNEL)?,
                later: new_delayed_call!("oxen_evtchn_late", Self::end_held_back)?,
                next: KBox::pin_init(new_spinlock_irq!(u64::MAX, "oxen_evtchn_next"), GFP_KERNEL)?,
            },
            GFP_KERNEL,
        )?;
        events.later.start(events.clone());
        Ok(events)
    }

    /// Gives everything back; no port is left, and no upcall comes.
    pub(crate) fn stop(&self) {
        self.later.stop();
        if let Layout::Fifo(_) = self.layout {
            if let Err(error) = reset::reset() {
                pr_err!("Xen does not leave the FIFO layout ({error:?}); its pages are lost.\n");
            }
        }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn cpu(&self, cpu: u32) -> Option<&Cpu> {
        self.cpus.get(cpu as usize)
    }

    /// The vCPU that runs `cpu`, if that was ever online.
    pub(crate) fn vcpu(&self, cpu: u32) -> Option<VcpuId> {
        let id = self.cpu(cpu)?.vcpu.load(Ordering::Relaxed);
        (id != NONE).then_some(VcpuId(id))
    }

    /// How many upcalls `cpu` has taken, and how many ports fire on it.
    pub(crate) fn counts(&self, cpu: u32) -> Option<(u64, u32)> {
        let cpu = self.cpu(cpu)?;
        Some((
            cpu.upcalls.load(Ordering::Relaxed),
            cpu.ports.load(Ordering::Relaxed),
        ))
    }

    /// Learns the vCPU of the CPU that this runs on.
    pub(crate) fn learn(&self, cpu: u32) -> Result<VcpuId> {
        let vcpu = xen_core::vcpu_id().ok_or(ENODEV)?;
        if vcpu_info::offset(vcpu).is_none() {
            pr_err!(
                "vCPU {} has no event channels; Oxen supports the first {} vCPUs, give the guest no more.\n",
                vcpu.0,
                vcpu_info::COUNT
            );
            return Err(ENOSPC);
        }
        self.cpu(cpu)
            .ok_or(EINVAL)?
            .vcpu
            .store(vcpu.0, Ordering::Relaxed);
        Ok(vcpu)
    }

    /// A CPU has come up, and this runs on it: Xen can raise events for it.
    pub(crate) fn online(&self, cpu: u32) -> Result {
        let vcpu = self.learn(cpu)?;
        match &self.layout {
            Layout::Fifo(fifo) => fifo.add_cpu(cpu, vcpu),
            Layout::TwoLevel(_) => Ok(()),
        }
    }

    /// Upcalls reach the CPU: ports may come to it.
    pub(crate) fn set_ready(&self, cpu: u32) {
        if let Some(cpu) = self.cpu(cpu) {
            cpu.ready.store(true, Ordering::SeqCst);
        }
    }

    /// A CPU is about to go, and this runs on it: other CPUs take its ports.
    pub(crate) fn offline(&self, leaving: u32) {
        if let Some(cpu) = self.cpu(leaving) {
            cpu.ready.store(false, Ordering::SeqCst);
        }
        for port in self
            .ports
            .lock()
            .iter()
            .filter(|port| port.cpu() == leaving && !port.is_local())
        {
            let target = self.choose(cpu::online());
            if let Some(cpu) = target.filter(|cpu| port.move_to(*cpu).is_ok()) {
                irq::port::moved(port.irq(), cpu);
            } else {
                pr_err!("port {} cannot leave CPU {leaving}.\n", port.port().0);
            }
        }
    }

    /// Upcalls come on vCPU 0 only.
    pub(crate) fn first_only(&self) {
        self.first_only.store(true, Ordering::Relaxed);
    }

    /// The CPU with the fewest ports.
    pub(crate) fn choose(&self, cpus: impl Iterator<Item = u32>) -> Option<u32> {
        if self.first_only.load(Ordering::Relaxed) {
            return (0..cpu::count()).find(|cpu| self.vcpu(*cpu) == Some(VcpuId(0)));
        }
        cpus.filter(|cpu| {
            self.cpu(*cpu)
                .is_some_and(|cpu| cpu.ready.load(Ordering::SeqCst))
        })
        .min_by_key(|cpu| self.counts(*cpu).map(|(_, ports)| ports))
    }

    /// A port went from one CPU to another.
    pub(crate) fn moved(&self, from: u32, to: u32) {
        if let Some(cpu) = self.cpu(to) {
            cpu.ports.fetch_add(1, Ordering::Relaxed);
        }
        self.left(from);
    }

    fn left(&self, cpu: u32) {
        if let Some(cpu) = self.cpu(cpu) {
            // The first move of a port leaves nothing.
            let _ = cpu
                .ports
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ports| {
                    ports.checked_sub(1)
                });
        }
    }

    pub(crate) fn list(&self, port: Arc<PortState>) -> Result {
        if let Some(cpu) = self.cpu(port.cpu()) {
            cpu.ports.fetch_add(1, Ordering::Relaxed);
        }
        Ok(self.ports.lock().push(port, GFP_KERNEL)?)
    }

    pub(crate) fn unlist(&self, port: &PortState) {
        self.left(port.cpu());
        self.ports
            .lock()
            .retain(|listed| !core::ptr::eq(&**listed, port));
    }

    /// Calls `show` for each port that is listened to.
    pub(crate) fn each_port(&self, mut show: impl FnMut(&PortState)) {
        for port in self.ports.lock().iter() {
            show(port);
        }
    }

    /// The number of the upcall that runs on `cpu`, or of the last one.
    pub(crate) fn upcall_number(&self, cpu: u32) -> u64 {
        self.counts(cpu).map_or(0, |(upcalls, _)| upcalls)
    }

    /// Hands the ports that fired on `cpu` to their interrupts. Returns whether there was an upcall at all.
    ///
    /// In hard-irq context; on `cpu` itself or with its vCPU's upcalls coming here. It ends, since a port that fires
    /// again and again is held back.
    pub(crate) fn upcall(&self, cpu: u32) -> bool {
        let Some(vcpu) = self.vcpu(cpu) else {
            return false;
        };
        let mut any = false;
        while vcpu_info::take_upcall(&self.shared_info, vcpu) {
            if !core::mem::replace(&mut any, true) {
                if let Some(cpu) = self.cpu(cpu) {
                    // Only this CPU counts here, with interrupts off.
                    let number = cpu.upcalls.load(Ordering::Relaxed).wrapping_add(1);
                    cpu.upcalls.store(number, Ordering::Relaxed);
                }
            }
            self.layout.scan(cpu, vcpu, |port| self.fire(cpu, port));
        }
        any
    }

    /// Hands a port that has fired to its interrupt. One that nobody listens to stays as it is: who begins to listen finds
    /// it pending, and masking it here could hit a port of that number that was bound meanwhile.
    ///
    /// In the 2-level layout a scan also finds ports that have fired on other CPUs. Most may be handled anywhere; one that is
    /// bound to its CPU waits for the upcall there.
    fn fire(&self, cpu: u32, port: Port) {
        if let Some(entry) = self.map.get(port) {
            if entry.cpu.is_none_or(|home| home == cpu) {
                irq::dispatch(entry.irq);
            }
        }
    }

    /// Has the events that are held back looked at when `due` comes.
    pub(crate) fn later(&self, due: u64) {
        let mut next = self.next.lock();
        if due < *next {
            *next = due;
            self.later.schedule(milliseconds(due));
        }
    }

    /// Ends the events whose time has come.
    fn end_held_back(&self) -> Option<u32> {
        *self.next.lock() = u64::MAX;
        let now = cpu::ticks();
        for port in self.ports.lock().iter() {
            if let Some(due) = port.end_if_due(now) {
                self.later(due);
            }
        }
        None
    }
}

/// How long it is until `due`, at least 1 ms.
fn milliseconds(due: u64) -> u32 {
    let ticks = due.saturating_sub(cpu::ticks());
    let ms = ticks
        .saturating_mul(1000)
        .div_ceil(u64::from(cpu::ticks_per_second()).max(1));
    u32::try_from(ms).unwrap_or(1000).max(1)
}
