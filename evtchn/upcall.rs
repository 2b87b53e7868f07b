// SPDX-License-Identifier: GPL-2.0

//! How Xen interrupts us: by a vector past the local APICs, by a vector on each CPU's APIC, or by the pin of the platform
//! device.
//!
//! | way | Xen | end of interrupt |
//! |---|---|---|
//! | callback | raises one vector on all vCPUs, `HVM_PARAM_CALLBACK_IRQ` | none, which saves an exit where the APIC is emulated |
//! | vector | raises a vector of each vCPU's own, `HVMOP_set_evtchn_upcall_vector` | at the APIC |
//! | intx | raises a pin for events of vCPU 0, `HVM_PARAM_CALLBACK_IRQ` | at the APIC |
//!
//! A vCPU's own vector, once set, wins over the other two until the guest is reset. So each way is tried with an event
//! before it is relied on.

use crate::{
    channel::Channel,
    events::Events, //
};
use abi::hypercall::{
    hvm::{
        callback_via_vector,
        CALLBACK_NONE,
        CALLBACK_PER_VCPU, //
    },
    version::FEATURE_CALLBACK_VECTOR,
};
use core::sync::atomic::{
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
    time::{
        delay::fsleep,
        Delta, //
    },
};
use linux::{
    cpu::{
        self,
        Hotplug,
        HotplugListener,
        Still, //
    },
    irq::{
        line::{
            Handler,
            Line, //
        },
        vector::{
            harmless_vector,
            PerCpu,
            PerCpuVectors, //
        },
    },
    power::shutdown::CrashHook,
    vec::filled, //
};
use xen_core::{
    hypercall::{
        event as hypercall,
        hvm,
        version, //
    },
    resume::{
        Registration,
        Resume,
        Stage,
        Wake, //
    },
    Intx,
    Param, //
};

/// Which way upcalls are to come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// The best that works.
    Best,
    /// By one vector on all CPUs, past their APICs.
    Callback,
    /// By a vector of each CPU's own.
    Vector,
    /// By the pin.
    Intx,
}

impl Path {
    /// Reads the module parameter.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a word that means nothing.
    pub(crate) fn wanted(word: &str) -> Result<Self> {
        match word {
            "" => Ok(Self::Best),
            "callback" => Ok(Self::Callback),
            "vector" => Ok(Self::Vector),
            "intx" => Ok(Self::Intx),
            _ => {
                pr_err!("upcall={word} is none of callback, vector and intx.\n");
                Err(EINVAL)
            }
        }
    }

    /// What [`Best`](Self::Best) is here. Where the hardware virtualises the APIC, an end of interrupt costs nothing and
    /// a vCPU that runs gets its vector without an exit.
    fn resolved(self) -> Self {
        let has_callback =
            || version::features(0).is_ok_and(|bits| bits & (1 << FEATURE_CALLBACK_VECTOR) != 0);
        match self {
            Self::Best if !xen_core::is_apic_virtualised() && has_callback() => Self::Callback,
            Self::Best => Self::Vector,
            other => other,
        }
    }
}

/// How many vectors of each CPU are looked at for one that all have.
const MOST_VECTORS: usize = 16;

/// How long an event on its way to a CPU is waited for. Under emulation it takes up to a second.
const PATIENCE_MS: i64 = 5_000;

/// What raises vectors: Xen, in our name.
struct Apics {
    events: Arc<Events>,
    /// The vector that Xen raises on all CPUs, past their APICs; 0 if there is none.
    common: AtomicU32,
    /// The vector of their own that Xen was given of CPUs, 0 if it was given none.
    own: KVec<AtomicU32>,
}

impl Apics {
    fn new(events: Arc<Events>) -> Result<Arc<Self>> {
        let apics = Self {
            events,
            common: AtomicU32::new(0),
            own: filled(cpu::count() as usize, || AtomicU32::new(0))?,
        };
        Ok(Arc::new(apics, GFP_KERNEL)?)
    }

    fn has_own(&self, cpu: u32) -> bool {
        self.own
            .get(cpu as usize)
            .is_some_and(|own| own.load(Ordering::Relaxed) != 0)
    }

    /// Whether no CPU needs a vector of its own.
    fn all_common(&self) -> bool {
        let own = self.own.iter().any(|own| own.load(Ordering::Relaxed) != 0);
        self.common.load(Ordering::Relaxed) != 0 && !own
    }

    /// Has Xen raise `vector` for `cpu`, through its APIC.
    fn give_own(&self, cpu: u32, vector: u8) -> Result {
        let vcpu = self.events.vcpu(cpu).ok_or(EAGAIN)?;
        // The first vector has to be ended already.
        if let Some(own) = self.own.get(cpu as usize) {
            own.store(vector.into(), Ordering::Relaxed);
        }
        hvm::set_upcall_vector(vcpu, vector)
    }
}

impl PerCpu for Apics {
    fn activate(&self, cpu: u32, vector: u8) -> Result {
        // Of a CPU that was never online, Xen is told when it is.
        if self.has_own(cpu) {
            self.give_own(cpu, vector)?;
        }
        Ok(())
    }

    fn deactivate(&self, cpu: u32) {
        // A vector cannot be taken away, so Xen gets one that does no harm.
        if let Some(vcpu) = self.events.vcpu(cpu).filter(|_| self.has_own(cpu)) {
            let _ = hvm::set_upcall_vector(vcpu, harmless_vector());
        }
    }

    #[inline]
    fn wants_end(&self, cpu: u32) -> bool {
        self.has_own(cpu)
    }

    fn interrupt(&self) {
        self.events.upcall(cpu::current());
    }
}

/// Vectors, and the device that they belong to.
#[pin_data]
struct Vectors {
    apics: Arc<Apics>,
    /// Taken under the lock of CPU hotplug.
    #[pin]
    vectors: Mutex<PerCpuVectors<Apics>>,
}

impl Vectors {
    fn new(events: &Arc<Events>) -> Result<Arc<Self>> {
        let apics = Apics::new(events.clone())?;
        let vectors = PerCpuVectors::new(c"oxen-upcall", apics.clone())?;
        Arc::pin_init(
            pin_init!(Self {
                apics,
                vectors <- new_mutex!(vectors, "oxen_upcall_vectors"),
            }),
            GFP_KERNEL,
        )
    }

    /// Finds a vector that all CPUs can have, which are online now.
    fn agree(&self) -> Option<u8> {
        let _still = Still::new();
        let mut vectors = self.vectors.lock();
        for _ in 0..MOST_VECTORS {
            let found = vectors
                .of(cpu::current())
                .find(|vector| cpu::online().all(|cpu| vectors.of(cpu).any(|has| has == *vector)));
            if found.is_some() {
                return found;
            }
            for cpu in cpu::online() {
                vectors.add(cpu).ok()?;
            }
        }
        None
    }

    /// Has `cpu`, on which this runs, keep the vector that all have, or else one of its own, which Xen is told.
    fn settle(&self, cpu: u32) -> Result {
        let common = self.apics.common.load(Ordering::Relaxed) as u8;
        let mut vectors = self.vectors.lock();
        if common != 0 && !self.apics.has_own(cpu) {
            for _ in 0..MOST_VECTORS {
                if vectors.of(cpu).any(|vector| vector == common) {
                    vectors.keep(cpu, common);
                    return Ok(());
                }
                vectors.add(cpu)?;
            }
            pr_info!("CPU {cpu} cannot have vector {common:#x} and gets one of its own.\n");
        }
        let own = vectors.of(cpu).next().ok_or(ENOSPC)?;
        vectors.keep(cpu, own);
        self.apics.give_own(cpu, own)
    }

    /// Gives `cpu` a vector of its own after all.
    fn fall_back(&self, cpu: u32) -> Result {
        let own = self.vectors.lock().of(cpu).next().ok_or(ENOSPC)?;
        self.apics.give_own(cpu, own)
    }
}

/// Follows CPUs that come and go.
struct Cpus {
    events: Arc<Events>,
    vectors: Option<Arc<Vectors>>,
}

impl Hotplug for Cpus {
    fn online(&self, cpu: u32) -> Result {
        if !self.events.online(cpu)? {
            return Ok(());
        }
        if let Some(vectors) = &self.vectors {
            vectors.settle(cpu)?;
            if !arrives(&self.events, cpu)? {
                // Xen may have a vector of this vCPU's own from an earlier load, which it prefers.
                vectors.fall_back(cpu)?;
                if !arrives(&self.events, cpu)? {
                    pr_err!("CPU {cpu} gets no upcalls: please report it with `xl dmesg`.\n");
                    return Err(EIO);
                }
            }
        }
        self.events.set_ready(cpu);
        Ok(())
    }

    fn offline(&self, cpu: u32) {
        self.events.offline(cpu);
    }
}

/// Raises an event for `cpu` and tells whether an upcall followed. May sleep.
fn arrives(events: &Arc<Events>, cpu: u32) -> Result<bool> {
    let channel = Channel::ipi(events.clone(), cpu)?;
    let before = events.upcall_number(cpu);
    events.layout().unmask(channel.port());
    hypercall::send(channel.port())?;
    let mut arrived = false;
    for _ in 0..PATIENCE_MS {
        arrived = events.upcall_number(cpu) != before;
        if arrived {
            break;
        }
        fsleep(Delta::from_millis(1));
    }
    events.layout().ack(channel.port());
    Ok(arrived)
}

/// Upcalls by pin.
struct Pin0(Arc<Events>);

impl Handler for Pin0 {
    fn interrupt(&self) -> bool {
        // Whatever CPU the pin interrupts, it is vCPU 0 that has fired.
        self.0
            .choose(core::iter::empty())
            .is_some_and(|cpu| self.0.upcall(cpu))
    }
}

enum By {
    Vectors(Arc<Vectors>),
    Intx(#[expect(dead_code)] Line<Pin0>),
}

/// Tells a domain that was restored how its upcalls are to come.
struct Again {
    callback: u64,
    apics: Option<Arc<Apics>>,
}

impl Resume for Again {
    fn resume(&self, wake: Wake) {
        if wake == Wake::Cancelled {
            return;
        }
        let mut told = hvm::set_param(Param::CallbackIrq, self.callback);
        if let Some(apics) = &self.apics {
            for (cpu, own) in (0..).zip(apics.own.iter()) {
                let own = own.load(Ordering::Relaxed);
                if let (1.., Some(vcpu)) = (own, apics.events.vcpu(cpu)) {
                    // CAST: It was a vector.
                    told = told.and(hvm::set_upcall_vector(vcpu, own as u8));
                }
            }
        }
        if let Err(error) = told {
            pr_err!(
                "Xen does not take the vectors of upcalls again ({error:?}): no events come.\n"
            );
        }
    }
}

/// Upcalls, which come until this is dropped.
pub(crate) struct Upcalls {
    /// Comes up before the ports do.
    _again: Registration,
    /// Xen raises the callback for as long as an upcall is pending, and a crash kernel takes none: it would do nothing else.
    _crash: Option<CrashHook>,
    by: By,
    /// Goes before the vectors, since it refers to them.
    cpus: Option<Pin<KBox<HotplugListener<Cpus>>>>,
}

impl Upcalls {
    /// Sets them up.
    ///
    /// # Errors
    ///
    /// What the irq core or Xen says, `ENODEV` without a platform device when only that is left.
    pub(crate) fn new(events: &Arc<Events>, path: Path) -> Result<Self> {
        match path.resolved() {
            Path::Intx => Self::intx(events),
            wanted => match Self::vectors(events, wanted) {
                Err(error) if path == Path::Best => {
                    pr_warn!("no vectors for upcalls ({error:?}), so they all come to vCPU 0.\n");
                    Self::intx(events)
                }
                made => made,
            },
        }
    }

    fn vectors(events: &Arc<Events>, wanted: Path) -> Result<Self> {
        let vectors = Vectors::new(events)?;
        let common = match wanted {
            Path::Callback => vectors.agree(),
            _ => None,
        };
        if wanted == Path::Callback && common.is_none() {
            pr_info!("no vector is free on all CPUs, so each gets one of its own.\n");
        }
        vectors
            .apics
            .common
            .store(common.map_or(0, u32::from), Ordering::Relaxed);
        // A small number raises nothing; it tells the toolstack that there are PV drivers.
        let callback = common.map_or(CALLBACK_PER_VCPU, callback_via_vector);
        // From here on, the drop takes the callback away again.
        let mut upcalls = Self {
            _again: Self::again(callback, Some(vectors.apics.clone()))?,
            _crash: CrashHook::new(silence).ok(),
            by: By::Vectors(vectors.clone()),
            cpus: None,
        };
        hvm::set_param(Param::CallbackIrq, callback)?;
        upcalls.cpus = Some(Self::follow(events, Some(vectors))?);
        Ok(upcalls)
    }

    fn intx(events: &Arc<Events>) -> Result<Self> {
        let Some(Intx { irq, callback }) = xen_core::intx() else {
            pr_err!("no platform device (PCI 5853:0001), which upcall=intx needs; set xen_platform_pci=1 for the guest.\n");
            return Err(ENODEV);
        };
        events.first_only();
        let handler = Arc::new(Pin0(events.clone()), GFP_KERNEL)?;
        let mut upcalls = Self {
            _again: Self::again(callback, None)?,
            _crash: CrashHook::new(silence).ok(),
            by: By::Intx(Line::new(irq, c"oxen-upcall", handler)?),
            cpus: None,
        };
        upcalls.cpus = Some(Self::follow(events, None)?);
        hvm::set_param(Param::CallbackIrq, callback)?;
        let first = events.choose(core::iter::empty()).ok_or(ENODEV)?;
        if !arrives(events, first)? {
            pr_err!("upcall=intx does not work, since Xen prefers a vector that was set before: reboot the guest.\n");
            return Err(EBUSY);
        }
        Ok(upcalls)
    }

    fn again(callback: u64, apics: Option<Arc<Apics>>) -> Result<Registration> {
        let again = Arc::new(Again { callback, apics }, GFP_KERNEL)?;
        Registration::new(Stage::Upcalls, again)
    }

    fn follow(
        events: &Arc<Events>,
        vectors: Option<Arc<Vectors>>,
    ) -> Result<Pin<KBox<HotplugListener<Cpus>>>> {
        let cpus = Cpus {
            events: events.clone(),
            vectors,
        };
        HotplugListener::new(c"oxen/evtchn:online", Arc::new(cpus, GFP_KERNEL)?)
    }

    /// The way, for people.
    pub(crate) fn name(&self) -> &'static str {
        match &self.by {
            By::Vectors(vectors) if vectors.apics.all_common() => "callback",
            By::Vectors(_) => "vector",
            By::Intx(_) => "intx",
        }
    }

    /// Whether each CPU gets its own events.
    pub(crate) fn reach_all_cpus(&self) -> bool {
        matches!(self.by, By::Vectors(_))
    }
}

/// Has Xen raise no upcall. Also for the toolstack, which is told so that there are no PV drivers any more.
fn silence() {
    let _ = hvm::set_param(Param::CallbackIrq, CALLBACK_NONE);
}

impl Drop for Upcalls {
    fn drop(&mut self) {
        silence();
        self.cpus = None;
    }
}

#[kunit_tests(oxen_upcall)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_is_one_of_four_words() {
        assert!(matches!(Path::wanted(""), Ok(Path::Best)));
        assert!(matches!(Path::wanted("callback"), Ok(Path::Callback)));
        assert!(matches!(Path::wanted("vector"), Ok(Path::Vector)));
        assert!(matches!(Path::wanted("intx"), Ok(Path::Intx)));
        for word in ["Vector", "intx ", "pin", "0"] {
            assert_eq!(Path::wanted(word).err(), Some(EINVAL));
        }
    }
}
