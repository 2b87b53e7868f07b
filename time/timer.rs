// SPDX-License-Identifier: GPL-2.0

//! A timer for each CPU: the single-shot timer of its vCPU, which raises `VIRQ_TIMER`.

use crate::{
    pause::Watch,
    records::Records, //
};
use abi::{
    hypercall::vcpu::VIRQ_TIMER,
    timer::{
        deadline,
        Armed,
        Fired, //
    },
    types::VcpuId,
};
use evtchn::{
    Channel,
    LocalHandler,
    LocalListener, //
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
    new_raw_spinlock,
    sync::raw_lock::RawSpinLock, //
    time::clockevent::{
        ClockEvent,
        Timer, //
    },
    vec::filled, //
};
use xen_core::hypercall::vcpu;

/// The name in `/sys/devices/system/clockevents`.
const NAME: &CStr = c"oxen";

/// Above the local APIC's, which has 100 or 150, as the kernel's own Xen support has it.
const RATING: i32 = 500;

/// The timers of all vCPUs. Each is used on its CPU alone, with interrupts off.
pub(crate) struct XenTimer {
    records: Arc<Records>,
    armed: KVec<Pin<KBox<RawSpinLock<Armed>>>>,
    watch: Watch,
}

impl XenTimer {
    fn new(records: Arc<Records>) -> Result<Arc<Self>> {
        let mut armed = KVec::new();
        for _ in 0..cpu::count() {
            let one = new_raw_spinlock!(Armed::default(), "oxen_time_armed");
            armed.push(KBox::pin_init(one, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let watch = Watch::new()?;
        let timer = Self {
            records,
            armed,
            watch,
        };
        Ok(Arc::new(timer, GFP_KERNEL)?)
    }

    /// The vCPU of the current CPU, and what its timer is set to.
    fn here(&self) -> Result<(VcpuId, &RawSpinLock<Armed>)> {
        let cpu = cpu::current();
        let armed = self.armed.get(cpu as usize).ok_or(ENODEV)?;
        Ok((self.records.vcpu(cpu).ok_or(ENODEV)?, armed))
    }

    /// The timer of this CPU has fired. Returns whether it was time.
    fn fired(&self) -> bool {
        let Ok((vcpu, armed)) = self.here() else {
            return false;
        };
        let now = self.records.now();
        let fired = armed.lock().fired(now);
        match fired {
            Fired::Due => {
                self.watch.timer_fired(cpu::current(), vcpu, now);
                true
            }
            Fired::Early(time) => vcpu::set_timer(vcpu, time).is_err(),
        }
    }

    /// No timer is set: the domain is another one. Each port fires once, which has the kernel set its timer.
    pub(crate) fn forget(&self) {
        for (cpu, armed) in (0..).zip(self.armed.iter()) {
            *armed.lock() = Armed::default();
            if let Some(vcpu) = self.records.vcpu(cpu) {
                // As when the CPU came.
                let _ = vcpu::stop_periodic_timer(vcpu);
            }
        }
    }
}

impl Timer for XenTimer {
    fn set(&self, delta: u64) -> Result {
        let (vcpu, armed) = self.here()?;
        let now = self.records.now();
        let time = deadline(now, delta);
        let tell = armed.lock().want(now, time);
        if tell {
            vcpu::set_timer(vcpu, time)?;
        }
        Ok(())
    }

    fn stop(&self) {
        if let Ok((vcpu, armed)) = self.here() {
            armed.lock().stop();
            // It fails for another vCPU only.
            let _ = vcpu::stop_timer(vcpu);
        }
    }
}

/// The timer of one CPU and the interrupt by which it fires.
struct One {
    // The interrupt goes first: it refers to the device.
    _listener: LocalListener<Device>,
    device: Arc<Device>,
}

struct Device {
    timer: Arc<XenTimer>,
    event: Pin<KBox<ClockEvent<XenTimer>>>,
}

impl LocalHandler for Device {
    fn event(&self) {
        if self.timer.fired() {
            self.event.fire();
        }
    }
}

/// Gives each CPU its timer as it comes, and takes it back as it goes.
#[pin_data]
struct Cpus {
    records: Arc<Records>,
    timer: Arc<XenTimer>,
    #[pin]
    timers: Mutex<KVec<Option<One>>>,
}

impl Cpus {
    fn make(&self, cpu: u32) -> Result<One> {
        let device = Device {
            timer: self.timer.clone(),
            event: ClockEvent::new(NAME, RATING, cpu, self.timer.clone())?,
        };
        let device = Arc::new(device, GFP_KERNEL)?;
        let channel = Channel::bind_virq(VIRQ_TIMER, cpu)?;
        let listener = LocalListener::new(channel, cpu, fmt!("oxen-timer{cpu}"), device.clone())?;
        Ok(One {
            _listener: listener,
            device,
        })
    }

    fn end(&self, cpu: u32) {
        let one = self
            .timers
            .lock()
            .get_mut(cpu as usize)
            .and_then(Option::take);
        if let Some(one) = one {
            // The kernel goes over to another timer before the port is closed.
            if let Err(error) = one.device.event.stop() {
                pr_err!("CPU {cpu} has no other timer to go over to ({error:?}).\n");
            }
        }
    }
}

impl Hotplug for Cpus {
    fn online(&self, cpu: u32) -> Result {
        let vcpu = self.records.learn(cpu).ok_or(ENODEV)?;
        if !evtchn::has_events(cpu) {
            return Ok(());
        }
        // A vCPU that never asked for it may have a tick.
        let _ = vcpu::stop_periodic_timer(vcpu);
        let one = self.make(cpu)?;
        let device = one.device.clone();
        if let Some(slot) = self.timers.lock().get_mut(cpu as usize) {
            *slot = Some(one);
        }
        device.event.start();
        Ok(())
    }

    fn offline(&self, cpu: u32) {
        self.end(cpu);
    }
}

/// The timers, which the kernel uses until this is dropped.
pub(crate) struct Timers {
    listener: Option<Pin<KBox<HotplugListener<Cpus>>>>,
    cpus: Arc<Cpus>,
}

impl Timers {
    /// Gives each CPU its timer; none if events reach vCPU 0 only.
    ///
    /// # Errors
    ///
    /// What Xen, the irq core or CPU hotplug says.
    pub(crate) fn new(records: &Arc<Records>) -> Result<Option<Self>> {
        evtchn::require()?;
        if !evtchn::reaches_all_cpus() {
            pr_info!("upcalls reach one CPU only, so the kernel keeps its timers.\n");
            return Ok(None);
        }
        let timers = filled(cpu::count() as usize, || None)?;
        let cpus = Arc::pin_init(
            pin_init!(Cpus {
                records: records.clone(),
                timer: XenTimer::new(records.clone())?,
                timers <- new_mutex!(timers, "oxen_time_timers"),
            }? Error),
            GFP_KERNEL,
        )?;
        let mut timers = Self {
            listener: None,
            cpus: cpus.clone(),
        };
        timers.listener = Some(HotplugListener::new(c"oxen/time:online", cpus)?);
        Ok(Some(timers))
    }

    /// The timers, to be forgotten after a migration.
    pub(crate) fn timer(&self) -> Arc<XenTimer> {
        self.cpus.timer.clone()
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.listener = None;
        for cpu in cpu::possible() {
            self.cpus.end(cpu);
        }
    }
}
