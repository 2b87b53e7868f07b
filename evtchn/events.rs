// SPDX-License-Identifier: GPL-2.0

//! The state that all ports belong to, and the way from an upcall to the ports that fired.

use crate::{
    fifo::Fifo,
    layout::Layout,
    map::Map,
    reset, //
};
use abi::{
    event::{
        spread::{
            self,
            Candidate, //
        },
        storm::NextLook,
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
    fmt,
    prelude::*,
    sync::Arc, //
};
use linux::{
    cpu,
    irq,
    new_delayed_call,
    new_spinlock_irq,
    sync::irq_lock::SpinLockIrq,
    vec::filled,
    workqueue::delayed::DelayedCall, //
};
use xen_core::{
    hypercall::event as hypercall,
    resume::{
        Resume,
        Wake, //
    },
    SharedInfo, //
};

/// No vCPU.
const NONE: u32 = u32::MAX;

/// What is known of one CPU.
struct Cpu {
    /// Its vCPU, [`NONE`] before it was first online and if it has no event channels.
    vcpu: AtomicU32,
    /// How many ports fire on it.
    ports: AtomicU32,
    /// How many upcalls it has taken.
    upcalls: AtomicU64,
    /// Whether ports can come to it: it takes upcalls, and stays.
    ready: AtomicBool,
}

/// A port that is listened to.
pub(crate) trait Listed: Send + Sync {
    /// Its number.
    fn port(&self) -> Port;

    /// Its interrupt, 0 before it has one.
    fn irq(&self) -> u32;

    /// The CPU that it fires on.
    fn cpu(&self) -> u32;

    /// Ends an event that was held back, if it is time. Returns when it will be.
    fn end_if_due(&self, now: u64) -> Option<u64>;

    /// Has it fire on another CPU if it fires on `cpu` and can leave that.
    ///
    /// # Errors
    ///
    /// As for [`PortState::go`](crate::port::PortState::go).
    fn leave(&self, cpu: u32) -> Result;

    /// From here on, whatever still holds an event of it changes nothing any more.
    fn abandon(&self);

    /// The port is gone with the domain that had it: nothing is to find it by its number. The machine stands still.
    fn lose(&self);

    /// Binds a local port anew after that, and has it fire: what was on its way to it is lost.
    fn rebind(&self);

    /// Prints its line for people.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

type Ports = KVec<Arc<dyn Listed>>;

/// Everything about event channels.
pub(crate) struct Events {
    shared_info: SharedInfo,
    layout: Layout,
    cpus: KVec<Cpu>,
    /// Set when only vCPU 0 is interrupted.
    first_only: AtomicBool,
    pub(crate) map: Map,
    /// A spinlock: the list is gone through while the machine stands still.
    ports: Pin<KBox<SpinLockIrq<Ports>>>,
    /// Ends the events that were held back.
    later: Pin<KBox<DelayedCall<Events>>>,
    /// When that happens next, in ticks; the lock is held while it is scheduled, so that no later time replaces it.
    next: Pin<KBox<SpinLockIrq<NextLook>>>,
    /// Counts the lives of the domain: ports of an earlier one are gone.
    epoch: AtomicU32,
    /// Set when all ports were closed from below: no port number means anything any more.
    over: AtomicBool,
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
        let cpus = filled(cpu::count() as usize, || Cpu {
            vcpu: AtomicU32::new(NONE),
            ports: AtomicU32::new(0),
            upcalls: AtomicU64::new(0),
            ready: AtomicBool::new(false),
        })?;
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
                ports: KBox::pin_init(
                    new_spinlock_irq!(KVec::new(), "oxen_evtchn_ports"),
                    GFP_KERNEL,
                )?,
                later: new_delayed_call!("oxen_evtchn_late", Self::end_held_back)?,
                next: KBox::pin_init(
                    new_spinlock_irq!(NextLook::new(), "oxen_evtchn_next"),
                    GFP_KERNEL,
                )?,
                epoch: AtomicU32::new(0),
                over: false.into(),
            },
            GFP_KERNEL,
        )?;
        events.later.start(events.clone());
        Ok(events)
    }

    /// Lets go of the ports that drivers still have, since the machine is about to run another kernel. An unload has none.
    pub(crate) fn abandon(&self) {
        let ports = core::mem::take(&mut *self.ports.lock());
        if !ports.is_empty() {
            self.over.store(true, Ordering::SeqCst);
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
        ports.iter().for_each(|port| port.abandon());
    }

    /// Whether the ports that drivers have mean nothing any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// The number of the domain's life. A caller with preemption off stays in it.
    #[inline]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Masks a port of this life, and closes it if `owned`.
    pub(crate) fn close(&self, port: Port, owned: bool) {
        self.layout.mask(port);
        if owned {
            // A port of ours that is bound can always be closed.
            let _ = hypercall::close(port);
        }
    }

    /// Gives everything back; no port is left, and no upcall comes.
    pub(crate) fn stop(&self) {
        self.later.stop();
        if self.is_over() || matches!(self.layout, Layout::Fifo(_)) {
            if let Err(error) = reset::reset() {
                pr_err!("Xen does not reset the event channels ({error:?}); the pages of the FIFO layout are lost.\n");
            }
        }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn cpu(&self, cpu: u32) -> Option<&Cpu> {
        self.cpus.get(cpu as usize)
    }

    /// The vCPU that runs `cpu`, if that was ever online and has event channels.
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

    /// A CPU has come up, and this runs on it. Returns whether Xen can raise events for it.
    ///
    /// It can for the first 32 vCPUs, whose records lie in the shared info page. A page for the record of another one could
    /// not be taken back from Xen, and an unload has to.
    pub(crate) fn online(&self, cpu: u32) -> Result<bool> {
        let vcpu = xen_core::vcpu_id().ok_or(ENODEV)?;
        if vcpu_info::offset(vcpu).is_none() {
            if vcpu.0 == vcpu_info::COUNT {
                pr_info!(
                    "only the first {} vCPUs have event channels: interrupts of devices go to those, the others keep the kernel's own timers\n",
                    vcpu_info::COUNT
                );
            }
            return Ok(false);
        }
        self.cpu(cpu)
            .ok_or(EINVAL)?
            .vcpu
            .store(vcpu.0, Ordering::Relaxed);
        if let Layout::Fifo(fifo) = &self.layout {
            fifo.add_cpu(cpu, vcpu)?;
        }
        Ok(true)
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
        for port in self.ports.lock().iter() {
            if let Err(error) = port.leave(leaving) {
                pr_err!(
                    "port {} cannot leave CPU {leaving} ({error:?}).\n",
                    port.port().0
                );
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
        spread::choose(cpus.filter_map(|cpu| {
            self.cpu(cpu).map(|known| Candidate {
                cpu,
                is_ready: known.ready.load(Ordering::SeqCst),
                ports: known.ports.load(Ordering::Relaxed),
            })
        }))
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

    pub(crate) fn list(&self, port: Arc<dyn Listed>) -> Result {
        if let Some(cpu) = self.cpu(port.cpu()) {
            cpu.ports.fetch_add(1, Ordering::Relaxed);
        }
        Ok(self.ports.lock().push(port, GFP_ATOMIC)?)
    }

    pub(crate) fn unlist(&self, port: &dyn Listed) {
        self.left(port.cpu());
        let mut ports = self.ports.lock();
        let at = ports
            .iter()
            .position(|listed| core::ptr::addr_eq(&raw const **listed, &raw const *port));
        let listed = at.and_then(|at| ports.remove(at).ok());
        drop(ports);
        drop(listed);
    }

    /// Calls `show` for each port that is listened to.
    pub(crate) fn each_port(&self, mut show: impl FnMut(&dyn Listed)) {
        for port in self.ports.lock().iter() {
            show(&**port);
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
        if next.want(due) {
            self.later.schedule(milliseconds(due));
        }
    }

    /// Ends the events whose time has come.
    fn end_held_back(&self) -> Option<u32> {
        self.next.lock().begin();
        let now = cpu::ticks();
        for port in self.ports.lock().iter() {
            if let Some(due) = port.end_if_due(now) {
                self.later(due);
            }
        }
        None
    }
}

impl Resume for Events {
    /// All ports are gone. Those that this guest itself has bound, it binds again; drivers and the toolstack's lines get new
    /// ones with their new connections.
    fn resume(&self, wake: Wake) {
        if wake == Wake::Cancelled {
            return;
        }
        self.epoch.fetch_add(1, Ordering::SeqCst);
        let ports = self.ports.lock();
        ports.iter().for_each(|port| port.lose());
        self.layout.restart(|cpu| self.vcpu(cpu));
        ports.iter().for_each(|port| port.rebind());
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
