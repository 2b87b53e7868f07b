// SPDX-License-Identifier: GPL-2.0

//! An interrupt per CPU with a vector on that CPU's local APIC, for a device that raises vectors by itself.
//!
//! A domain of ours on top of the APIC's asks it for one managed interrupt per CPU. The irq core takes a managed interrupt
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

/// A device that raises a vector on each CPU.
pub trait PerCpu: Send + Sync + 'static {
    /// `cpu` is to be interrupted by `vector` from now on. With a raw spinlock held.
    ///
    /// # Errors
    ///
    /// The interrupt stays down on this CPU.
    fn activate(&self, cpu: u32, vector: u8) -> Result;

    /// `cpu` must not be interrupted by its vector any more. With a raw spinlock held.
    fn deactivate(&self, cpu: u32);

    /// The vector was raised on this CPU. In hard-irq context.
    fn interrupt(&self);
}

/// A vector that is harmless when it is raised for nothing.
pub fn harmless_vector() -> u8 {
    // SAFETY: The function has no requirements.
    unsafe { bindings::reschedule_vector() }
}

/// The interrupts of all CPUs. Drop takes them down.
///
/// # Invariants
///
/// `domain` is a domain of ours with `device`, a counted reference, as its host data, and `irqs` are its interrupts. The first
/// `requested` of them were requested with `device` as their cookie.
pub struct PerCpuVectors<D: PerCpu> {
    domain: *mut bindings::irq_domain,
    fwnode: *mut bindings::fwnode_handle,
    device: *const D,
    irqs: KVec<u32>,
    requested: usize,
}

// SAFETY: The irq core locks its own structures, and `D` can be shared between CPUs.
unsafe impl<D: PerCpu> Send for PerCpuVectors<D> {}
// SAFETY: As above; a shared reference gives nothing away.
unsafe impl<D: PerCpu> Sync for PerCpuVectors<D> {}

impl<D: PerCpu> PerCpuVectors<D> {
    const CHIP: bindings::irq_chip = bindings::irq_chip {
        name: as_char_ptr_in_const_context(c"oxen-upcall"),
        irq_ack: Some(bindings::irq_chip_ack_parent),
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

    /// Makes and requests an interrupt for each CPU that may ever be online.
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
            irqs: KVec::new(),
            requested: 0,
        };
        for cpu in cpu::possible() {
            // SAFETY: The domain is ours.
            let irq = unsafe { bindings::irq_alloc_on_cpu(this.domain, cpu) };
            let irq = u32::try_from(irq).map_err(|_| kernel::error::Error::from_errno(irq))?;
            if let Err(error) = this.irqs.push(irq, GFP_KERNEL) {
                // SAFETY: The interrupt was made above.
                unsafe { bindings::irq_domain_free_irqs(irq, 1) };
                return Err(error.into());
            }
        }
        for irq in &this.irqs {
            // SAFETY: The handler matches the cookie, which stays valid until `free_irq`; the name is static.
            to_result(unsafe {
                bindings::request_threaded_irq(
                    *irq,
                    Some(Self::handle),
                    None,
                    bindings::IRQF_NO_THREAD as usize,
                    name.as_char_ptr(),
                    this.device.cast_mut().cast(),
                )
            })?;
            // INVARIANT: One more is requested.
            this.requested = this.requested.wrapping_add(1);
        }
        Ok(this)
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
                Some(bindings::handle_edge_irq),
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
            for irq in self.irqs.iter().take(self.requested) {
                bindings::free_irq(*irq, self.device.cast_mut().cast());
            }
            for irq in &self.irqs {
                bindings::irq_domain_free_irqs(*irq, 1);
            }
            bindings::irq_domain_remove(self.domain);
            bindings::irq_domain_free_fwnode(self.fwnode);
            drop(Arc::from_raw(self.device));
        }
    }
}
