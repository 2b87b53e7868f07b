// SPDX-License-Identifier: GPL-2.0

//! What has to be undone before another kernel runs in this machine's memory: at a `kexec`, and at a reboot, which the kernel
//! does not tell from it.
//!
//! Hooks run last registered first, so that of a module runs before those of the modules that it uses: after
//! `device_shutdown`, in process context with interrupts on and all CPUs alive, so a hook may sleep. A machine that is
//! halted or powered off calls none: consoles and clocks serve to the end there.
//!
//! A kernel that has crashed can do next to nothing before the crash kernel runs, which has memory of its own: a
//! [`CrashHook`] is for what would keep that from running.
//!
//! C headers: `include/linux/syscore_ops.h`, `arch/x86/include/asm/smp.h`

use crate::bindings;
use core::{
    ffi::c_void,
    mem,
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
        Arc,
        LockClassKey,
        Mutex, //
    },
    types::Opaque, //
};

/// Something that has to be undone before another kernel runs.
pub trait Shutdown: Send + Sync + 'static {
    /// Undoes it. May sleep, within bounds.
    fn shutdown(&self);
}

/// Has a target shut down before another kernel runs. Dropping it waits for that if it has begun.
///
/// # Invariants
///
/// `inner` is registered, and its data is `target`.
#[pin_data(PinnedDrop)]
pub struct Hook<T: Shutdown> {
    #[pin]
    inner: Opaque<bindings::syscore>,
    target: Arc<T>,
}

// SAFETY: The kernel locks its list, and the target can be sent and shared.
unsafe impl<T: Shutdown> Send for Hook<T> {}
// SAFETY: As above; a shared reference gives nothing away.
unsafe impl<T: Shutdown> Sync for Hook<T> {}

impl<T: Shutdown> Hook<T> {
    const OPS: bindings::syscore_ops = bindings::syscore_ops {
        suspend: None,
        resume: None,
        shutdown: Some(Self::run),
    };

    /// Registers it. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(target: Arc<T>) -> Result<Pin<KBox<Self>>> {
        let data = Arc::as_ptr(&target).cast_mut().cast::<c_void>();
        KBox::pin_init(
            pin_init!(Self {
                target,
                // INVARIANT: Registered here.
                inner <- Opaque::ffi_init(move |slot: *mut bindings::syscore| {
                    let description = bindings::syscore {
                        ops: &Self::OPS,
                        data,
                        ..pin_init::zeroed()
                    };
                    // SAFETY: The slot is valid for writes and does not move; the target lives until the hook is
                    // unregistered.
                    unsafe {
                        slot.write(description);
                        bindings::register_syscore(slot);
                    }
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with the data that was registered together with this function.
    unsafe extern "C" fn run(data: *mut c_void) {
        // SAFETY: The kernel wrote it before it came here.
        if leads_to_a_kernel(unsafe { bindings::system_state }) {
            // SAFETY: It is the target, which lives while the hook is registered.
            unsafe { &*data.cast::<T>() }.shutdown();
        }
    }
}

/// Tells whether a kernel may run in the same memory after this state.
fn leads_to_a_kernel(state: bindings::system_states) -> bool {
    state == bindings::system_states_SYSTEM_RESTART
}

#[pinned_drop]
impl<T: Shutdown> PinnedDrop for Hook<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants. It waits for hooks that run.
        unsafe { bindings::unregister_syscore(self.inner.get()) };
    }
}

/// Holds a value in an [`UntilShutdown`]. May sleep.
#[macro_export]
macro_rules! until_shutdown {
    ($inner:expr, $name:literal) => {
        $crate::power::shutdown::UntilShutdown::new(
            $inner,
            ::kernel::c_str!($name),
            ::kernel::static_lock_class!(),
        )
    };
}

/// What a module has, dropped when the module goes or before another kernel runs.
pub struct UntilShutdown<T: Send + Unpin + 'static> {
    _hook: Pin<KBox<Hook<Held<T>>>>,
}

/// What was not dropped yet.
#[pin_data]
struct Held<T> {
    #[pin]
    inner: Mutex<Option<T>>,
}

impl<T: Send + Unpin + 'static> Shutdown for Held<T> {
    fn shutdown(&self) {
        let inner = self.inner.lock().take();
        drop(inner);
    }
}

impl<T: Send + Unpin + 'static> UntilShutdown<T> {
    /// Use [`until_shutdown!`](crate::until_shutdown): the class and its name have to be of one module.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `inner` is dropped then.
    pub fn new(inner: T, name: &'static CStr, class: Pin<&'static LockClassKey>) -> Result<Self> {
        let held = Arc::pin_init(
            pin_init!(Held {
                inner <- Mutex::new(Some(inner), name, class),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self {
            _hook: Hook::new(held)?,
        })
    }
}

/// The function of the one [`CrashHook`], or null.
static ON_CRASH: Atomic<*mut c_void> = Atomic::new(ptr::null_mut());

/// How the kernel stops its other CPUs.
static STOP_CPUS: Atomic<*mut c_void> = Atomic::new(ptr::null_mut());

/// A function that runs between the crash of this kernel and the start of the crash kernel, with all other CPUs stopped.
///
/// # Invariants
///
/// [`ON_CRASH`] and [`STOP_CPUS`] are set, and `smp_ops` has [`crashed`].
pub struct CrashHook(());

impl CrashHook {
    /// Has `call` made. It can rely on nothing: no lock, no memory, no print.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is another, `ENODEV` on a kernel that stops its CPUs in no known way.
    pub fn new(call: fn()) -> Result<Self> {
        // SAFETY: The kernel has set the structure up at boot; only this file changes this field later.
        let stop = unsafe { bindings::smp_ops.crash_stop_other_cpus }.ok_or(ENODEV)?;
        ON_CRASH
            .cmpxchg(ptr::null_mut(), call as *mut c_void, Full)
            .map_err(|_| EBUSY)?;
        STOP_CPUS.store(stop as *mut c_void, Release);
        // SAFETY: One store of a pointer, and a CPU that still reads the old one may use it.
        unsafe {
            (&raw mut bindings::smp_ops.crash_stop_other_cpus).write_volatile(Some(crashed));
        }
        // INVARIANT: Set above.
        Ok(Self(()))
    }
}

impl Drop for CrashHook {
    fn drop(&mut self) {
        // Not null, but cleared first of all: a kernel that crashes now does not call it.
        ON_CRASH.store(ptr::null_mut(), Release);
        // SAFETY: By the type invariants it is what the field had. [`crashed`] itself stays, since a crash may be in it.
        unsafe {
            let stop =
                mem::transmute::<*mut c_void, unsafe extern "C" fn()>(STOP_CPUS.load(Acquire));
            (&raw mut bindings::smp_ops.crash_stop_other_cpus).write_volatile(Some(stop));
        }
    }
}

/// # Safety
///
/// Only the kernel calls it, when it has crashed.
unsafe extern "C" fn crashed() {
    // SAFETY: A `CrashHook` stored the kernel's function before this one could be called.
    unsafe { mem::transmute::<*mut c_void, unsafe extern "C" fn()>(STOP_CPUS.load(Acquire))() };
    let call = ON_CRASH.load(Acquire);
    if !call.is_null() {
        // SAFETY: A `CrashHook` stored it, and it is there: no CPU runs that could have taken it away since the load.
        unsafe { mem::transmute::<*mut c_void, fn()>(call)() };
    }
}

#[kunit_tests(oxen_shutdown)]
mod tests {
    use super::*;
    use kernel::sync::atomic::Relaxed;

    struct Counts(Atomic<u32>);

    impl Shutdown for Counts {
        fn shutdown(&self) {
            self.0.add(1, Relaxed);
        }
    }

    #[test]
    fn only_a_restart_leads_to_another_kernel() -> Result {
        assert!(leads_to_a_kernel(bindings::system_states_SYSTEM_RESTART));
        for state in [
            bindings::system_states_SYSTEM_RUNNING,
            bindings::system_states_SYSTEM_HALT,
            bindings::system_states_SYSTEM_POWER_OFF,
        ] {
            assert!(!leads_to_a_kernel(state));
        }
        let target = Arc::new(Counts(Atomic::new(0)), GFP_KERNEL)?;
        let hook = Hook::new(target.clone())?;
        let data = Arc::as_ptr(&target).cast_mut().cast();
        // SAFETY: It is the hook's data.
        unsafe { Hook::<Counts>::run(data) };
        assert_eq!(target.0.load(Relaxed), 0);
        drop(hook);
        assert!(Arc::into_unique_or_drop(target).is_some());
        Ok(())
    }

    #[test]
    fn what_is_held_is_dropped_once() -> Result {
        let inner = Arc::new((), GFP_KERNEL)?;
        let held = crate::until_shutdown!(inner.clone(), "oxen_shutdown_test")?;
        held._hook.target.shutdown();
        held._hook.target.shutdown();
        let inner = Arc::into_unique_or_drop(inner).ok_or(EBUSY)?;
        let inner: Arc<()> = inner.into();
        drop(held);
        drop(crate::until_shutdown!(inner.clone(), "oxen_shutdown_test")?);
        assert!(Arc::into_unique_or_drop(inner).is_some());
        Ok(())
    }

    fn nothing() {}

    #[test]
    fn a_crash_has_one_hook_and_leaves_the_kernels_way() -> Result {
        // SAFETY: Only this file writes the field.
        let now = || unsafe { bindings::smp_ops.crash_stop_other_cpus }.map(|stop| stop as usize);
        let before = now();
        if before.is_none() {
            // A kernel that cannot run another one when it crashes.
            assert_eq!(CrashHook::new(nothing).err(), Some(ENODEV));
            return Ok(());
        }
        let hook = CrashHook::new(nothing)?;
        assert_eq!(CrashHook::new(nothing).err(), Some(EBUSY));
        assert!(now() != before);
        drop(hook);
        assert_eq!(now(), before);
        drop(CrashHook::new(nothing)?);
        assert_eq!(now(), before);
        Ok(())
    }
}
