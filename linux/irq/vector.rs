// SPDX-License-Identifier: GPL-2.0

//! Interrupts with a vector on a certain CPU's local APIC, for a device that raises vectors by itself.
//!
//! A domain of ours on top of the APIC's asks it for managed interrupts. The irq core takes a managed interrupt
//! down with its CPU and up again with it, and tells us each time which vector it got.
//!
//! C headers: `include/linux/irqdomain.h`, `arch/x86/include/asm/irqdomain.h`

use crate::{
    bindings,
    cpu, //
};
use core::{
    ffi::c_void,
    ptr, //
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::Arc, //
};

/// A device that raises vectors on CPUs.
pub trait PerCpu: Send + Sync + 'static {
    /// An interrupt of `cpu` has `vector` from now on. With a raw spinlock held.
    ///
    /// # Errors
    ///
    /// The interrupt stays down on this CPU.
    fn activate(&self, cpu: u32, vector: u8) -> Result;

    /// `cpu` must not be interrupted by such a vector any more. With a raw spinlock held.
    fn deactivate(&self, cpu: u32);

    /// Whether the vector came through the local APIC of `cpu`, on which this runs, which then waits for its end.
    fn wants_end(&self, cpu: u32) -> bool;

    /// The vector was raised on this CPU. In hard-irq context.
    fn interrupt(&self);
}

/// A vector that is harmless when it is raised for nothing.
pub fn harmless_vector() -> u8 {
    // SAFETY: The function has no requirements.
    unsafe { bindings::reschedule_vector() }
}

/// One interrupt.
struct Vector {
    irq: u32,
    cpu: u32,
}

/// The interrupts of all CPUs. Drop takes them down; the device must raise none any more.
///
/// # Invariants
///
/// `domain` is a domain of ours with `device`, a counted reference, as its host data. `vectors` are its interrupts, requested
/// with `device` as their cookie.
pub struct PerCpuVectors<D: PerCpu> {
    domain: *mut bindings::irq_domain,
    fwnode: *mut bindings::fwnode_handle,
    device: *const D,
    name: &'static CStr,
    vectors: KVec<Vector>,
}

// SAFETY: The irq core locks its own structures, and `D` can be shared between CPUs.
unsafe impl<D: PerCpu> Send for PerCpuVectors<D> {}
// SAFETY: As above; a shared reference gives nothing away.
unsafe impl<D: PerCpu> Sync for PerCpuVectors<D> {}

impl<D: PerCpu> PerCpuVectors<D> {
    const CHIP: bindings::irq_chip = bindings::irq_chip {
        name: as_char_ptr_in_const_context(c"oxen-upcall"),
        irq_ack: Some(Self::ack),
        irq_set_affinity: Some(bindings::irq_chip_set_affinity_parent),
        irq_retrigger: Some(bindings::irq_chip_retrigger_hierarchy),
        ..pin_init::zeroed()
    };

    const OPS: bindings::irq_domain_ops = bindings::irq_domain_ops {
        alloc: Some(Self::alloc),
        free: Some(Self::free),
        activate: Some(Self::activate),
        deactivate: Some(Self::deactivate),
        ..pin_init::zeroed()
    };

    /// Makes an interrupt for each CPU that may ever be online; those that are have a vector then.
    ///
    /// # Errors
    ///
    /// What the irq core says, `ENOSPC` if a CPU has no vector left. May sleep.
    pub fn new(name: &'static CStr, device: Arc<D>) -> Result<Self> {
        // SAFETY: The name is a C string.
        let fwnode = unsafe {
            bindings::__irq_domain_alloc_fwnode(
                bindings::IRQCHIP_FWNODE_NAMED,
                0,
                name.as_char_ptr(),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if fwnode.is_null() {
            return Err(ENOMEM);
        }
        let device = Arc::into_raw(device);
        let info = bindings::irq_domain_info {
            fwnode,
            hwirq_max: cpu::count() as usize,
            ops: &Self::OPS,
            host_data: device.cast_mut().cast(),
            // SAFETY: The function has no requirements.
            parent: unsafe { bindings::vector_domain() },
            ..pin_init::zeroed()
        };
        // SAFETY: The description is complete, and what it points to lives as long as the domain.
        let domain = from_err_ptr(unsafe { bindings::irq_domain_instantiate(&info) });
        let domain = match domain {
            Ok(domain) => domain,
            Err(error) => {
                // SAFETY: Neither was handed on.
                unsafe {
                    bindings::irq_domain_free_fwnode(fwnode);
                    drop(Arc::from_raw(device));
                }
                return Err(error);
            }
        };
        // INVARIANT: Made above; there are no interrupts yet.
        let mut this = Self {
            domain,
            fwnode,
            device,
            name,
            vectors: KVec::new(),
        };
        for cpu in cpu::possible() {
            this.add(cpu)?;
        }
        Ok(this)
    }

    /// Makes another interrupt for `cpu`, with another vector.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn add(&mut self, cpu: u32) -> Result {
        self.vectors.reserve(1, GFP_KERNEL)?;
        // SAFETY: The domain is ours.
        let irq = unsafe { bindings::irq_alloc_on_cpu(self.domain, cpu) };
        let irq = u32::try_from(irq).map_err(|_| Error::from_errno(irq))?;
        // SAFETY: The interrupt is ours. The handler matches the cookie, which stays valid until `free_irq`; the name is
        // static.
        let requested = to_result(unsafe {
            bindings::request_threaded_irq(
                irq,
                Some(Self::handle),
                None,
                bindings::IRQF_NO_THREAD as usize,
                self.name.as_char_ptr(),
                self.device.cast_mut().cast(),
            )
        });
        if let Err(error) = requested {
            // SAFETY: The interrupt was made above.
            unsafe { bindings::irq_domain_free_irqs(irq, 1) };
            return Err(error);
        }
        // INVARIANT: Requested above.
        Ok(self.vectors.push_within_capacity(Vector { irq, cpu })?)
    }

    /// The vectors that `cpu` has now; none while it is offline.
    pub fn of(&self, cpu: u32) -> impl Iterator<Item = u8> + '_ {
        self.vectors
            .iter()
            .filter(move |vector| vector.cpu == cpu)
            // SAFETY: The interrupt is ours.
            .map(|vector| unsafe { bindings::irq_vector(bindings::irq_get_irq_data(vector.irq)) })
            .filter(|vector| *vector != 0)
    }

    /// Gives all vectors of `cpu` back but `vector`, which it has.
    pub fn keep(&mut self, cpu: u32, vector: u8) {
        self.vectors.retain(|candidate| {
            // SAFETY: The interrupt is ours.
            let has = unsafe { bindings::irq_vector(bindings::irq_get_irq_data(candidate.irq)) };
            let stays = candidate.cpu != cpu || has == vector;
            if !stays {
                // SAFETY: It is requested, and forgotten after this.
                unsafe { Self::release(candidate.irq, self.device) };
            }
            stays
        });
    }

    /// # Safety
    ///
    /// `irq` is an interrupt of ours that is requested with `device`, and is not used again.
    unsafe fn release(irq: u32, device: *const D) {
        // SAFETY: By the safety requirements.
        unsafe {
            bindings::irq_end_local(irq);
            bindings::free_irq(irq, device.cast_mut().cast());
            bindings::irq_domain_free_irqs(irq, 1);
        }
    }

    /// # Safety
    ///
    /// `domain` is the domain of a `Self`.
    unsafe fn device<'a>(domain: *mut bindings::irq_domain) -> &'a D {
        // SAFETY: The host data is a counted reference that the owner drops after the domain.
        unsafe { &*(*domain).host_data.cast::<D>() }
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn alloc(
        domain: *mut bindings::irq_domain,
        irq: c_uint,
        count: c_uint,
        arg: *mut c_void,
    ) -> c_int {
        // SAFETY: Called by the irq core for our domain, with the argument that `irq_alloc_on_cpu` made.
        unsafe {
            let error = bindings::irq_domain_alloc_irqs_parent(domain, irq, count, arg);
            if error != 0 {
                return error;
            }
            bindings::irq_domain_set_info(
                domain,
                irq,
                bindings::irq_alloc_info_hwirq(arg.cast()),
                &Self::CHIP,
                (*domain).host_data,
                Some(bindings::flow_vector),
                ptr::null_mut(),
                c"upcall".as_char_ptr(),
            );
        }
        0
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn free(domain: *mut bindings::irq_domain, irq: c_uint, count: c_uint) {
        // SAFETY: Called by the irq core for interrupts of our domain.
        unsafe { bindings::irq_domain_free_irqs_top(domain, irq, count) };
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn activate(
        domain: *mut bindings::irq_domain,
        data: *mut bindings::irq_data,
        reserve: bool,
    ) -> c_int {
        // SAFETY: Called by the irq core for an interrupt of our domain; its hwirq is the CPU.
        let (device, cpu, vector) = unsafe {
            (
                Self::device(domain),
                (*data).hwirq as u32,
                bindings::irq_vector(data),
            )
        };
        if reserve || !cpu::is_online(cpu) {
            // No vector is assigned yet; this is called again when it is.
            return 0;
        }
        kernel::error::from_result(|| device.activate(cpu, vector).map(|()| 0))
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn deactivate(
        domain: *mut bindings::irq_domain,
        data: *mut bindings::irq_data,
    ) {
        // SAFETY: As in `activate`.
        let (device, cpu) = unsafe { (Self::device(domain), (*data).hwirq as u32) };
        device.deactivate(cpu);
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn ack(data: *mut bindings::irq_data) {
        // SAFETY: As in `activate`; the chip data is the device.
        unsafe {
            let device = &*(*data).chip_data.cast::<D>();
            if device.wants_end((*data).hwirq as u32) {
                bindings::irq_chip_ack_parent(data);
            }
        }
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn handle(_irq: c_int, dev: *mut c_void) -> bindings::irqreturn_t {
        // SAFETY: The cookie stays counted until `free_irq`.
        unsafe { &*dev.cast::<D>() }.interrupt();
        bindings::irqreturn_IRQ_HANDLED
    }
}

impl<D: PerCpu> Drop for PerCpuVectors<D> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. The interrupts go before the domain, and the domain before the device.
        unsafe {
            for vector in &self.vectors {
                Self::release(vector.irq, self.device);
            }
            bindings::irq_domain_remove(self.domain);
            bindings::irq_domain_free_fwnode(self.fwnode);
            drop(Arc::from_raw(self.device));
        }
    }
}

#[kunit_tests(oxen_irq_vector)]
mod tests {
    use super::*;
    use core::sync::atomic::{
        AtomicU32,
        Ordering, //
    };

    /// A device that counts and raises nothing.
    struct Silent(AtomicU32);

    impl PerCpu for Silent {
        fn activate(&self, _cpu: u32, _vector: u8) -> Result {
            Ok(())
        }

        fn deactivate(&self, _cpu: u32) {}

        fn wants_end(&self, _cpu: u32) -> bool {
            false
        }

        fn interrupt(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_cpu_has_the_vectors_that_it_was_given_and_keeps_one() -> Result {
        let device = Arc::new(Silent(AtomicU32::new(0)), GFP_KERNEL)?;
        let mut vectors = PerCpuVectors::new(c"oxen-test", device.clone())?;
        for cpu in cpu::online() {
            assert_eq!(vectors.of(cpu).count(), 1);
            vectors.add(cpu)?;
            let last = vectors.of(cpu).last().ok_or(EINVAL)?;
            assert_eq!(vectors.of(cpu).filter(|vector| *vector == last).count(), 1);
            vectors.keep(cpu, last);
            assert_eq!(vectors.of(cpu).count(), 1);
            assert_eq!(vectors.of(cpu).next(), Some(last));
        }
        drop(vectors);
        assert!(Arc::into_unique_or_drop(device).is_some());
        Ok(())
    }

    #[test]
    fn a_vector_that_comes_while_interrupts_are_off_is_none() -> Result {
        let device = Arc::new(Silent(AtomicU32::new(0)), GFP_KERNEL)?;
        let vectors = PerCpuVectors::new(c"oxen-test", device.clone())?;
        let irq = vectors.vectors.first().ok_or(EINVAL)?.irq;
        let comes = |on| {
            // SAFETY: The interrupt is ours, and its handler may run on any CPU.
            let told = to_result(unsafe { bindings::irq_comes(irq, on) });
            told.map(|()| device.0.load(Ordering::Relaxed))
        };
        assert_eq!(comes(true), Ok(1));
        assert_eq!(comes(false), Ok(1));
        assert_eq!(comes(true), Ok(2));
        Ok(())
    }
}
