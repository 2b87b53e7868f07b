// SPDX-License-Identifier: GPL-2.0

//! How one CPU interrupts another: a driver may do it instead of the local APIC.
//!
//! C header: `arch/x86/include/asm/smp.h`, whose `smp_ops` the kernel exports

use crate::bindings;
use core::{
    ffi::c_void,
    ptr, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Arc, //
    },
};

/// What an interrupt asks the other CPU for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To look whether another task has to run.
    Reschedule,
    /// To call the functions that were queued for it.
    Call,
}

impl Kind {
    /// Does on this CPU what the interrupt asks for. In hard-irq context.
    pub fn handle(self) {
        // SAFETY: The functions look at the state of this CPU alone, which no other changes now.
        unsafe {
            match self {
                Self::Reschedule => bindings::reschedule(),
                Self::Call => bindings::call_functions(),
            }
        }
    }
}

/// Finds out how [`Kind::Call`] is handled. Until it is known, nobody may send it. May sleep; for one caller at a time.
///
/// It takes two CPUs that are online, and the lock under which CPUs come and go: not for callbacks of that.
pub fn find_handler() -> bool {
    // SAFETY: The callers may sleep, and there is one at a time.
    unsafe { bindings::find_call_functions() }
}

/// Another way to interrupt CPUs.
pub trait Sender: Send + Sync + 'static {
    /// Interrupts `cpu`, where [`Kind::handle`] is then called. In any context, with preemption off.
    ///
    /// Returns false if it cannot: then the kernel's own way is taken.
    fn send(&self, cpu: u32, kind: Kind) -> bool;
}

/// The sender that is installed.
struct Installed {
    sender: *const c_void,
    send: fn(*const c_void, u32, Kind) -> bool,
    /// What `smp_ops` had before.
    reschedule: Option<unsafe extern "C" fn(c_int)>,
    call_one: Option<unsafe extern "C" fn(c_int)>,
    call_many: Option<unsafe extern "C" fn(*const bindings::cpumask)>,
}

/// An [`Installed`], or null.
static INSTALLED: Atomic<*mut c_void> = Atomic::new(ptr::null_mut());

/// Calls `with` with what is installed. The caller has preemption off, so what is installed stays until the end.
fn installed<R>(with: impl FnOnce(&Installed) -> R) -> Option<R> {
    let pointer = INSTALLED.load(Acquire).cast::<Installed>();
    // SAFETY: `Ipis::drop` frees it only after a grace period, in which preemption was on.
    unsafe { pointer.as_ref() }.map(with)
}

/// Interrupts `cpu` in the kernel's own way. With preemption off.
fn native(kind: Kind, cpu: u32) {
    // SAFETY: The kernel has set the structure up at boot. Once nothing of ours is installed, it has the kernel's functions.
    let now = unsafe { bindings::smp_ops };
    let (reschedule, call) = installed(|installed| (installed.reschedule, installed.call_one))
        .unwrap_or((now.smp_send_reschedule, now.send_call_func_single_ipi));
    let function = match kind {
        Kind::Reschedule => reschedule,
        Kind::Call => call,
    };
    if let Some(function) = function {
        // SAFETY: A function of the kernel's for any CPU that is online.
        unsafe { function(cpu as c_int) };
    }
}

/// Interrupts `cpu`, if it is online, for all that it may have been asked for: after the end of a way in which a request
/// can have been lost.
pub fn nudge(cpu: u32) {
    crate::cpu::held(|_| {
        if crate::cpu::is_online(cpu) {
            native(Kind::Reschedule, cpu);
            native(Kind::Call, cpu);
        }
    });
}

fn send(cpu: u32, kind: Kind) {
    let sent = installed(|installed| (installed.send)(installed.sender, cpu, kind));
    if sent != Some(true) {
        native(kind, cpu);
    }
}

/// # Safety
///
/// Only the kernel calls it, with preemption off.
unsafe extern "C" fn reschedule(cpu: c_int) {
    send(cpu as u32, Kind::Reschedule);
}

/// # Safety
///
/// Only the kernel calls it, with preemption off.
unsafe extern "C" fn call_one(cpu: c_int) {
    send(cpu as u32, Kind::Call);
}

/// # Safety
///
/// Only the kernel calls it, with preemption off.
unsafe extern "C" fn call_many(mask: *const bindings::cpumask) {
    let mut after = -1;
    loop {
        // SAFETY: The mask is valid during the call.
        let cpu = unsafe { bindings::cpumask_next_in(mask, after) };
        if cpu >= crate::cpu::count() {
            return;
        }
        send(cpu, Kind::Call);
        after = cpu as c_int;
    }
}

/// A sender that the kernel uses until this is dropped.
///
/// # Invariants
///
/// `this` is in [`INSTALLED`], and its sender is a counted reference to an `S`.
pub struct Ipis<S: Sender> {
    this: *mut Installed,
    _sender: core::marker::PhantomData<Arc<S>>,
}

// SAFETY: The pointer is used by the owner alone; `S` can be sent and shared.
unsafe impl<S: Sender> Send for Ipis<S> {}
// SAFETY: As above; a shared reference gives nothing away.
unsafe impl<S: Sender> Sync for Ipis<S> {}

impl<S: Sender> Ipis<S> {
    /// Installs `sender`.
    ///
    /// # Errors
    ///
    /// `EBUSY` when there is another, `ENOMEM`.
    pub fn new(sender: Arc<S>) -> Result<Self> {
        // SAFETY: The kernel has set the structure up at boot; only this file changes it later.
        let before = unsafe { bindings::smp_ops };
        let this = KBox::new(
            Installed {
                sender: Arc::into_raw(sender).cast(),
                send: Self::send,
                reschedule: before.smp_send_reschedule,
                call_one: before.send_call_func_single_ipi,
                call_many: before.send_call_func_ipi,
            },
            GFP_KERNEL,
        );
        let this = KBox::into_raw(this?);
        if INSTALLED
            .cmpxchg(ptr::null_mut(), this.cast(), Full)
            .is_err()
        {
            // SAFETY: Nobody else has the pointers.
            unsafe {
                let this = KBox::from_raw(this);
                drop(Arc::from_raw(this.sender.cast::<S>()));
            }
            return Err(EBUSY);
        }
        // SAFETY: Each is one store of a pointer, and a CPU that still reads the old one may use it.
        unsafe {
            (&raw mut bindings::smp_ops.smp_send_reschedule).write_volatile(Some(reschedule));
            (&raw mut bindings::smp_ops.send_call_func_single_ipi).write_volatile(Some(call_one));
            (&raw mut bindings::smp_ops.send_call_func_ipi).write_volatile(Some(call_many));
        }
        // INVARIANT: Installed above.
        Ok(Self {
            this,
            _sender: core::marker::PhantomData,
        })
    }

    fn send(sender: *const c_void, cpu: u32, kind: Kind) -> bool {
        // SAFETY: It is the reference that `new` put beside this function.
        unsafe { &*sender.cast::<S>() }.send(cpu, kind)
    }
}

impl<S: Sender> Drop for Ipis<S> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. Callers have preemption off: after the first grace period all of them use the
        // kernel's functions, after the second none looks at what was installed.
        unsafe {
            let this = &*self.this;
            (&raw mut bindings::smp_ops.smp_send_reschedule).write_volatile(this.reschedule);
            (&raw mut bindings::smp_ops.send_call_func_single_ipi).write_volatile(this.call_one);
            (&raw mut bindings::smp_ops.send_call_func_ipi).write_volatile(this.call_many);
            bindings::synchronize_rcu();
            INSTALLED.store(ptr::null_mut(), Release);
            bindings::synchronize_rcu();
            let this = KBox::from_raw(self.this);
            drop(Arc::from_raw(this.sender.cast::<S>()));
        }
    }
}

#[kunit_tests(oxen_ipi)]
mod tests {
    use super::*;
    use kernel::sync::atomic::Relaxed;

    /// Counts what it is asked for, and leaves it to the kernel.
    struct Counts {
        reschedule: Atomic<u32>,
        call: Atomic<u32>,
    }

    impl Sender for Counts {
        fn send(&self, _cpu: u32, kind: Kind) -> bool {
            match kind {
                Kind::Reschedule => &self.reschedule,
                Kind::Call => &self.call,
            }
            .add(1, Relaxed);
            false
        }
    }

    fn counts() -> Result<Arc<Counts>> {
        let counts = Counts {
            reschedule: Atomic::new(0),
            call: Atomic::new(0),
        };
        Ok(Arc::new(counts, GFP_KERNEL)?)
    }

    /// Interrupts this CPU, which it takes at once or soon.
    fn interrupt() {
        crate::cpu::held(|cpu| {
            // SAFETY: Only this file writes the structure.
            let now = unsafe { bindings::smp_ops };
            if let Some(function) = now.smp_send_reschedule {
                // SAFETY: This CPU is online.
                unsafe { function(cpu as c_int) };
            }
            if let Some(function) = now.send_call_func_single_ipi {
                // SAFETY: This CPU is online.
                unsafe { function(cpu as c_int) };
            }
        });
    }

    #[test]
    fn a_sender_is_asked_while_it_is_installed() -> Result {
        let counts = counts()?;
        let ipis = Ipis::new(counts.clone())?;
        assert_eq!(Ipis::new(counts.clone()).err(), Some(EBUSY));
        interrupt();
        let asked = (counts.reschedule.load(Relaxed), counts.call.load(Relaxed));
        assert!(asked.0 >= 1 && asked.1 >= 1);
        drop(ipis);
        let before = counts.reschedule.load(Relaxed);
        interrupt();
        assert_eq!(counts.reschedule.load(Relaxed), before);
        // Nobody else has it.
        assert!(Arc::into_unique_or_drop(counts).is_some());
        Ok(())
    }

    #[test]
    fn the_handler_of_calls_is_found() {
        if crate::cpu::online().count() > 1 {
            assert!(find_handler());
        }
    }
}
