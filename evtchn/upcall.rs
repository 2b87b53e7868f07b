// SPDX-License-Identifier: GPL-2.0

//! How Xen interrupts us: by a vector on each CPU, or by the pin of the platform device.

use crate::events::Events;
use abi::hypercall::hvm::CALLBACK_PER_VCPU;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::{
    cpu::{
        Hotplug,
        HotplugListener, //
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
};
use xen_core::{
    hypercall::hvm,
    Intx,
    Param, //
};

/// Which way upcalls are to come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// By vectors if they can be had, else by the pin.
    Best,
    /// By vectors.
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
            "vector" => Ok(Self::Vector),
            "intx" => Ok(Self::Intx),
            _ => {
                pr_err!("upcall={word} is neither vector nor intx.\n");
                Err(EINVAL)
            }
        }
    }
}

/// Follows CPUs that come and go.
struct Cpus(Arc<Events>);

impl Hotplug for Cpus {
    fn online(&self, cpu: u32) -> Result {
        self.0.online(cpu)
    }

    fn offline(&self, cpu: u32) {
        self.0.offline(cpu);
    }
}

/// Upcalls by vector.
struct Vectors(Arc<Events>);

impl PerCpu for Vectors {
    fn activate(&self, cpu: u32, vector: u8) -> Result {
        // A CPU on its way up comes here before it is known.
        let vcpu = if cpu == linux::cpu::current() {
            self.0.learn(cpu)?
        } else {
            self.0.vcpu(cpu).ok_or(EAGAIN)?
        };
        hvm::set_upcall_vector(vcpu, vector)
    }

    fn deactivate(&self, cpu: u32) {
        // A vector cannot be taken away, so Xen gets one that does no harm.
        if let Some(vcpu) = self.0.vcpu(cpu) {
            let _ = hvm::set_upcall_vector(vcpu, harmless_vector());
        }
    }

    fn interrupt(&self) {
        self.0.upcall(linux::cpu::current());
    }
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
    Vector(#[expect(dead_code)] PerCpuVectors<Vectors>),
    Intx(#[expect(dead_code)] Line<Pin0>),
}

/// Upcalls, which come until this is dropped.
pub(crate) struct Upcalls {
    by: By,
    _cpus: Pin<KBox<HotplugListener<Cpus>>>,
}

impl Upcalls {
    /// Sets them up.
    ///
    /// # Errors
    ///
    /// What the irq core or Xen says, `ENODEV` without a platform device when only that is left.
    pub(crate) fn new(events: &Arc<Events>, path: Path) -> Result<Self> {
        let cpus = HotplugListener::new(
            c"oxen/evtchn:online",
            Arc::new(Cpus(events.clone()), GFP_KERNEL)?,
        )?;
        let by = match path {
            Path::Vector => Self::vectors(events)?,
            Path::Intx => Self::intx(events)?,
            Path::Best => match Self::vectors(events) {
                Ok(by) => by,
                Err(error) => {
                    pr_warn!("no vectors for upcalls ({error:?}), so they all come to vCPU 0.\n");
                    Self::intx(events)?
                }
            },
        };
        Ok(Self { by, _cpus: cpus })
    }

    fn vectors(events: &Arc<Events>) -> Result<By> {
        let device = Arc::new(Vectors(events.clone()), GFP_KERNEL)?;
        let vectors = PerCpuVectors::new(c"oxen-upcall", device)?;
        // Tells the toolstack that there are PV drivers.
        hvm::set_param(Param::CallbackIrq, CALLBACK_PER_VCPU)?;
        Ok(By::Vector(vectors))
    }

    // Only before any vector: `HVMOP_set_evtchn_upcall_vector` takes none that would end it, and Xen prefers it.
    fn intx(events: &Arc<Events>) -> Result<By> {
        let Some(Intx { irq, callback }) = xen_core::intx() else {
            pr_err!("no platform device (PCI 5853:0001), which upcall=intx needs; set xen_platform_pci=1 for the guest.\n");
            return Err(ENODEV);
        };
        events.first_only();
        let handler = Arc::new(Pin0(events.clone()), GFP_KERNEL)?;
        let line = Line::new(irq, c"oxen-upcall", handler)?;
        hvm::set_param(Param::CallbackIrq, callback)?;
        Ok(By::Intx(line))
    }

    /// The way, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self.by {
            By::Vector(_) => "vector",
            By::Intx(_) => "intx",
        }
    }
}

impl Drop for Upcalls {
    fn drop(&mut self) {
        if let By::Intx(_) = self.by {
            let _ = hvm::set_param(Param::CallbackIrq, 0);
        }
    }
}

#[kunit_tests(oxen_upcall)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_is_one_of_three_words() {
        assert!(matches!(Path::wanted(""), Ok(Path::Best)));
        assert!(matches!(Path::wanted("vector"), Ok(Path::Vector)));
        assert!(matches!(Path::wanted("intx"), Ok(Path::Intx)));
        for word in ["Vector", "intx ", "pin", "0"] {
            assert_eq!(Path::wanted(word).err(), Some(EINVAL));
        }
    }
}
