// SPDX-License-Identifier: GPL-2.0

//! An interrupt number for a source of events that software demultiplexes.
//!
//! The irq core drives the source through [`Source`]; what finds out that the source has fired calls
//! [`dispatch`](super::dispatch) with [`PortIrq::number`]. The interrupt appears in `/proc/interrupts` and has an affinity.

use crate::{
    bindings,
    cpu::set::{
        self,
        CpuSet,
        Cpumask, //
    }, //
};
use core::{
    ffi::c_void,
    ptr, //
};
use kernel::{
    error::to_result,
    prelude::*,
    str::{
        as_char_ptr_in_const_context,
        CString, //
    },
    sync::Arc, //
};

/// What the irq core asks of a source of events.
///
/// All methods but [`handle`](Self::handle) are called with a raw spinlock held.
pub trait Source: Send + Sync + Sized + 'static {
    /// An event is about to be handled: take note of it, and raise no other until the event has been ended.
    fn ack(&self);

    /// Raise no events.
    fn mask(&self);

    /// Take note of an event that will not be handled now, and raise no other.
    fn mask_ack(&self);

    /// Raise events again.
    fn unmask(&self);

    /// Raise an event by itself.
    fn retrigger(&self);

    /// Choose one of `cpus`, all of them online, raise events there from now on, and tell it by [`moved`] before anybody
    /// else can move it.
    ///
    /// # Errors
    ///
    /// What keeps it where it is.
    fn retarget(&self, cpus: &Cpumask) -> Result;

    /// Handle an event. In hard-irq context.
    fn handle(this: &Arc<Self>);
}

/// Tells the irq core that the source of interrupt `irq` moved to `cpu`.
pub fn moved(irq: u32, cpu: u32) {
    if !crate::cpu::is_online(cpu) {
        return;
    }
    // SAFETY: The function finds out itself whether the number is one; the CPU exists.
    unsafe {
        let data = bindings::irq_get_irq_data(irq);
        if !data.is_null() {
            bindings::irq_set_effective_cpu(data, cpu);
        }
    }
}

/// An interrupt whose events come from `S`. Drop waits for a running handler.
///
/// # Invariants
///
/// `irq` is an interrupt descriptor of ours, whose chip data is `source` and which was requested with `dev` as its cookie.
pub struct PortIrq<S: Source> {
    irq: u32,
    /// The source, as the irq core's cookie: a counted reference.
    dev: *const S,
    source: Arc<S>,
    is_local: bool,
    _name: CString,
}

// SAFETY: Only the irq core uses the pointer, and `S` can be shared between CPUs.
unsafe impl<S: Source> Send for PortIrq<S> {}
// SAFETY: As above.
unsafe impl<S: Source> Sync for PortIrq<S> {}

impl<S: Source> PortIrq<S> {
    const CHIP: bindings::irq_chip = bindings::irq_chip {
        name: as_char_ptr_in_const_context(c"oxen"),
        irq_ack: Some(Self::ack),
        irq_mask: Some(Self::mask),
        irq_mask_ack: Some(Self::mask_ack),
        irq_unmask: Some(Self::unmask),
        irq_retrigger: Some(Self::retrigger),
        irq_set_affinity: Some(Self::affinity_changed),
        ..pin_init::zeroed()
    };

    /// Makes an interrupt with this name and lets it fire.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the irq core says. May sleep.
    pub fn new(source: Arc<S>, name: CString, number: impl FnOnce(&S, u32)) -> Result<Self> {
        Self::make(source, name, None, number)
    }

    /// Makes an interrupt that only ever fires on `cpu`. It is handled without a lock of the irq core's.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn local(
        source: Arc<S>,
        name: CString,
        cpu: u32,
        number: impl FnOnce(&S, u32),
    ) -> Result<Self> {
        Self::make(source, name, Some(cpu), number)
    }

    fn make(
        source: Arc<S>,
        name: CString,
        cpu: Option<u32>,
        number: impl FnOnce(&S, u32),
    ) -> Result<Self> {
        let (flow, flags): (bindings::irq_flow_handler_t, _) = match cpu {
            None => (Some(bindings::handle_edge_irq), 0),
            Some(_) => (
                Some(bindings::flow_local),
                bindings::IRQF_PERCPU | bindings::IRQF_NOBALANCING | bindings::IRQF_NO_THREAD,
            ),
        };
        // SAFETY: The function has no requirements.
        let irq = unsafe { bindings::irq_alloc_desc() };
        let irq = u32::try_from(irq).map_err(|_| kernel::error::Error::from_errno(irq))?;
        let dev = Arc::into_raw(source.clone());
        // SAFETY: The descriptor is ours. The chip is a constant; the source stays until the chip data is taken away.
        unsafe {
            bindings::irq_set_chip_data(irq, dev.cast_mut().cast());
            bindings::irq_set_chip_and_handler_name(irq, &Self::CHIP, flow, c"event".as_char_ptr());
            if let Some(cpu) = cpu {
                bindings::irq_set_one_cpu(irq, cpu);
            }
        }
        number(&source, irq);
        // SAFETY: The handler matches the cookie, which stays valid until `free_irq`; the name lives as long as `self`.
        let requested = to_result(unsafe {
            bindings::request_threaded_irq(
                irq,
                Some(Self::handle),
                None,
                flags as usize,
                name.as_char_ptr(),
                dev.cast_mut().cast(),
            )
        });
        if let Err(error) = requested {
            // SAFETY: The descriptor is ours and was not requested.
            unsafe { Self::release(irq, dev) };
            return Err(error);
        }
        // INVARIANT: Set up above.
        Ok(Self {
            irq,
            dev,
            source,
            is_local: cpu.is_some(),
            _name: name,
        })
    }

    /// The Linux interrupt number.
    pub fn number(&self) -> u32 {
        self.irq
    }

    /// The source of events.
    pub fn source(&self) -> &Arc<S> {
        &self.source
    }

    /// Waits until no handler of this interrupt runs. May sleep.
    pub fn synchronize(&self) {
        // SAFETY: The interrupt is ours by the type invariants.
        unsafe { bindings::synchronize_irq(self.irq) };
    }

    /// Asks the irq core to have the events on one of `cpus`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if none of them is online, `ENOMEM`. May sleep.
    pub fn set_affinity(&self, cpus: impl IntoIterator<Item = u32>) -> Result {
        let cpus = CpuSet::new(cpus)?;
        if set::online(&cpus).next().is_none() {
            return Err(EINVAL);
        }
        // SAFETY: The interrupt is ours, and the mask is valid.
        to_result(unsafe { bindings::irq_set_affinity(self.irq, cpus.as_raw().cast()) })
    }

    /// Gives a descriptor back.
    ///
    /// # Safety
    ///
    /// The descriptor is ours and not requested; `dev` is its chip data and is not used again.
    unsafe fn release(irq: u32, dev: *const S) {
        // SAFETY: Taking the chip data away needs the descriptor's lock, so no callback uses the source afterwards.
        unsafe {
            bindings::irq_set_chip_data(irq, ptr::null_mut());
            bindings::irq_free_descs(irq, 1);
            drop(Arc::from_raw(dev));
        }
    }

    /// # Safety
    ///
    /// `data` belongs to a descriptor with this chip; called with its lock held.
    unsafe fn with(data: *mut bindings::irq_data, act: impl FnOnce(&S)) {
        // SAFETY: By the safety requirements; the chip data is the source or null, and changes only under the lock.
        if let Some(source) = unsafe { (*data).chip_data.cast::<S>().as_ref() } {
            act(source);
        }
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn ack(data: *mut bindings::irq_data) {
        // SAFETY: Called by the irq core for a descriptor with this chip.
        unsafe { Self::with(data, S::ack) }
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn mask(data: *mut bindings::irq_data) {
        // SAFETY: As in `ack`.
        unsafe { Self::with(data, S::mask) }
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn mask_ack(data: *mut bindings::irq_data) {
        // SAFETY: As in `ack`.
        unsafe { Self::with(data, S::mask_ack) }
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn unmask(data: *mut bindings::irq_data) {
        // SAFETY: As in `ack`.
        unsafe { Self::with(data, S::unmask) }
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn retrigger(data: *mut bindings::irq_data) -> c_int {
        // SAFETY: As in `ack`.
        unsafe { Self::with(data, S::retrigger) };
        1
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn affinity_changed(
        data: *mut bindings::irq_data,
        mask: *const bindings::cpumask,
        _force: bool,
    ) -> c_int {
        let mut result = Err(EINVAL);
        // SAFETY: As in `ack`; the mask is valid during the call.
        unsafe {
            let cpus = Cpumask::from_raw(mask.cast());
            Self::with(data, |source| result = source.retarget(cpus));
        }
        result.map_or_else(|error| error.to_errno(), |()| 0)
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn handle(_irq: c_int, dev: *mut c_void) -> bindings::irqreturn_t {
        // SAFETY: The cookie is a reference to the source that stays counted until `free_irq`; it is only borrowed here.
        let source = unsafe { Arc::from_raw(dev.cast::<S>().cast_const()) };
        let source = core::mem::ManuallyDrop::new(source);
        S::handle(&source);
        bindings::irqreturn_IRQ_HANDLED
    }
}

impl<S: Source> Drop for PortIrq<S> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the interrupt was requested with this cookie; after `free_irq` it is not.
        unsafe {
            if self.is_local {
                bindings::irq_end_local(self.irq);
            }
            bindings::free_irq(self.irq, self.dev.cast_mut().cast());
            Self::release(self.irq, self.dev);
        }
    }
}

#[kunit_tests(oxen_irq_port)]
mod tests {
    use super::*;
    use kernel::sync::atomic::{
        Atomic,
        Relaxed, //
    };

    use crate::{
        new_spinlock_irq,
        sync::irq_lock::SpinLockIrq, //
    };

    /// Counts what the irq core asks of it.
    struct Port {
        number: Atomic<u32>,
        handled: Atomic<u32>,
        acked: Atomic<u32>,
        /// 1 while events may come.
        open: Atomic<u32>,
        cpu: Atomic<u32>,
    }

    const NOWHERE: u32 = u32::MAX;

    impl Source for Port {
        fn ack(&self) {
            self.acked.add(1, Relaxed);
        }

        fn mask(&self) {
            self.open.store(0, Relaxed);
        }

        fn mask_ack(&self) {
            self.mask();
            self.ack();
        }

        fn unmask(&self) {
            self.open.store(1, Relaxed);
        }

        fn retrigger(&self) {}

        fn retarget(&self, cpus: &Cpumask) -> Result {
            let cpu = set::online(cpus).last().ok_or(EINVAL)?;
            self.cpu.store(cpu, Relaxed);
            moved(self.number.load(Relaxed), cpu);
            Ok(())
        }

        fn handle(this: &Arc<Self>) {
            this.handled.add(1, Relaxed);
        }
    }

    fn port_irq() -> Result<PortIrq<Port>> {
        let port = Port {
            number: Atomic::new(0),
            handled: Atomic::new(0),
            acked: Atomic::new(0),
            open: Atomic::new(0),
            cpu: Atomic::new(NOWHERE),
        };
        let name = CString::try_from_fmt(fmt!("oxen-test"))?;
        PortIrq::new(Arc::new(port, GFP_KERNEL)?, name, |port, irq| {
            port.number.store(irq, Relaxed);
        })
    }

    /// Fires as an upcall does, with interrupts off.
    fn fire(irq: u32) -> Result<bool> {
        let quiet: Pin<KBox<SpinLockIrq<()>>> = KBox::pin_init(new_spinlock_irq!(()), GFP_KERNEL)?;
        let _off = quiet.lock();
        Ok(super::super::dispatch(irq))
    }

    #[test]
    fn an_event_is_noted_and_handled_until_the_end() -> Result {
        let irq = port_irq()?;
        let (number, port) = (irq.number(), irq.source().clone());
        assert_eq!(port.number.load(Relaxed), number);
        assert_eq!(port.open.load(Relaxed), 1);
        for count in 1..4 {
            assert!(fire(number)?);
            assert_eq!(port.handled.load(Relaxed), count);
            assert_eq!(port.acked.load(Relaxed), count);
        }
        irq.synchronize();
        drop(irq);
        assert!(!fire(number)?);
        assert_eq!(port.handled.load(Relaxed), 3);
        assert_eq!(port.open.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn it_goes_to_the_cpu_that_is_asked_for() -> Result {
        let irq = port_irq()?;
        for cpu in crate::cpu::online() {
            irq.set_affinity([cpu])?;
            assert_eq!(irq.source().cpu.load(Relaxed), cpu);
        }
        assert_eq!(irq.set_affinity([]), Err(EINVAL));
        Ok(())
    }

    #[test]
    fn the_source_goes_with_its_interrupt() -> Result {
        let irq = port_irq()?;
        let mut port = Some(irq.source().clone());
        drop(irq);
        let last = port.take().and_then(Arc::into_unique_or_drop);
        assert!(last.is_some());
        Ok(())
    }
}
