// SPDX-License-Identifier: GPL-2.0

//! CPUs: which there are, running something on each, and their coming and going.
//!
//! C headers: `include/linux/cpumask.h`, `include/linux/cpuhotplug.h`

pub mod ipi;
pub mod set;
pub mod stall;

use crate::bindings;
use core::{
    mem::offset_of,
    pin::Pin, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// Tells whether the CPU is online now.
pub fn is_online(cpu: u32) -> bool {
    // SAFETY: The function takes any number.
    unsafe { bindings::is_cpu_online(cpu) }
}

/// The CPUs that are online now. They may go at any time unless the caller prevents it.
pub fn online() -> impl Iterator<Item = u32> {
    (0..count()).filter(|cpu| is_online(*cpu))
}

/// The CPUs that may ever be online.
pub fn possible() -> impl Iterator<Item = u32> {
    // SAFETY: The function takes any number.
    (0..count()).filter(|cpu| unsafe { bindings::is_cpu_possible(*cpu) })
}

/// Brings a CPU online or takes it offline, as writing to its `online` in sysfs does. May sleep.
///
/// # Errors
///
/// `ENODEV` when there is no such CPU, `EPERM` or `EBUSY` when it has to stay as it is, and what a listener of its coming
/// said.
pub fn bring(cpu: u32, online: bool) -> Result {
    // SAFETY: The function takes any number.
    to_result(unsafe { bindings::bring_cpu(cpu, online) })
}

/// One more than the largest CPU number.
pub fn count() -> u32 {
    kernel::cpu::nr_cpu_ids()
}

/// The CPU that this code runs on; it may be another one at once unless preemption is off.
pub fn current() -> u32 {
    // SAFETY: Reading the number is always possible.
    unsafe { bindings::current_cpu() }
}

/// Calls `with` with the current CPU, which it stays on. For any context.
#[inline]
pub fn held<R>(with: impl FnOnce(u32) -> R) -> R {
    // SAFETY: The release follows.
    let cpu = unsafe { bindings::cpu_hold() };
    let result = with(cpu);
    // SAFETY: The hold came before.
    unsafe { bindings::cpu_release() };
    result
}

/// CPUs stay as they are, online or offline, while this lives. May sleep to get it.
pub struct Still(core::marker::PhantomData<*mut ()>);

impl Still {
    /// Waits for changes that are under way.
    #[expect(clippy::new_without_default)]
    pub fn new() -> Self {
        // SAFETY: The drop gives it back. A change under way is waited for.
        unsafe { bindings::cpus_read_lock() };
        Self(core::marker::PhantomData)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // SAFETY: Taken in `new`.
        unsafe { bindings::cpus_read_unlock() };
    }
}

/// The rate of the TSC as the kernel measured it, in kHz; 0 if it did not.
pub fn tsc_khz() -> u32 {
    // SAFETY: The kernel writes it at boot only.
    unsafe { bindings::tsc_khz }
}

/// Ticks of the kernel's coarse clock.
pub fn ticks() -> u64 {
    // SAFETY: The function has no requirements.
    unsafe { bindings::jiffies_now() }
}

/// How many ticks a second has.
pub fn ticks_per_second() -> u32 {
    // SAFETY: The function has no requirements.
    unsafe { bindings::ticks_per_second() }
}

/// What happens when CPUs come and go. The methods run on the CPU in question, in a thread bound to it.
pub trait Hotplug: Send + Sync + 'static {
    /// The CPU has come up.
    ///
    /// # Errors
    ///
    /// An error takes the CPU down again.
    fn online(&self, cpu: u32) -> Result;

    /// The CPU is about to go.
    fn offline(&self, cpu: u32);
}

/// A listener to CPUs that come and go.
///
/// # Invariants
///
/// `state` is a multi-instance hotplug state of ours, and `node` is its only instance while `added`.
#[pin_data(PinnedDrop)]
pub struct HotplugListener<H: Hotplug> {
    #[pin]
    node: Opaque<bindings::hlist_node>,
    state: c_int,
    added: bool,
    target: Arc<H>,
}

// SAFETY: The node is only used by the hotplug core under its own lock; `H` is `Send` and `Sync`.
unsafe impl<H: Hotplug> Send for HotplugListener<H> {}
// SAFETY: As above.
unsafe impl<H: Hotplug> Sync for HotplugListener<H> {}

impl<H: Hotplug> HotplugListener<H> {
    /// Calls `online` on each CPU that is online now, and listens from then on.
    ///
    /// # Errors
    ///
    /// What the first failing CPU said; then `offline` has been called for those before it. May sleep.
    pub fn new(name: &'static CStr, target: Arc<H>) -> Result<Pin<KBox<Self>>> {
        // SAFETY: The callbacks fit a multi-instance state.
        let state = unsafe {
            bindings::cpuhp_setup_multi(name.as_char_ptr(), Some(Self::up), Some(Self::down))
        };
        if state < 0 {
            return Err(kernel::error::Error::from_errno(state));
        }
        let listener = KBox::pin_init(
            pin_init!(Self {
                node <- Opaque::ffi_init(|node: *mut bindings::hlist_node| {
                    // SAFETY: The slot is valid for writes.
                    unsafe { node.write(pin_init::zeroed()) }
                }),
                state,
                added: false,
                target,
            }),
            GFP_KERNEL,
        );
        let mut listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                // SAFETY: The state is ours and has no instance.
                unsafe { bindings::__cpuhp_remove_state(state, false) };
                return Err(error);
            }
        };
        // SAFETY: The node is pinned, and is removed before it goes away.
        to_result(unsafe {
            bindings::__cpuhp_state_add_instance(state, listener.node.get(), true)
        })?;
        *listener.as_mut().project().added = true;
        Ok(listener)
    }

    /// # Safety
    ///
    /// `node` is the node of a `Self`.
    unsafe fn of<'a>(node: *mut bindings::hlist_node) -> &'a Self {
        // SAFETY: By the safety requirements.
        unsafe { &*node.byte_sub(offset_of!(Self, node)).cast::<Self>() }
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn up(cpu: c_uint, node: *mut bindings::hlist_node) -> c_int {
        // SAFETY: The hotplug core passes the instance that was added.
        let this = unsafe { Self::of(node) };
        from_result(|| this.target.online(cpu).map(|()| 0))
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn down(cpu: c_uint, node: *mut bindings::hlist_node) -> c_int {
        // SAFETY: As in `up`.
        unsafe { Self::of(node) }.target.offline(cpu);
        0
    }
}

#[pinned_drop]
impl<H: Hotplug> PinnedDrop for HotplugListener<H> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants; the callbacks are not called for this.
        unsafe {
            if self.added {
                bindings::__cpuhp_state_remove_instance(self.state, self.node.get(), false);
            }
            bindings::__cpuhp_remove_state(self.state, false);
        }
    }
}

#[kunit_tests(oxen_cpu)]
mod tests {
    use super::*;
    use kernel::sync::atomic::{
        Atomic,
        Relaxed, //
    };

    /// Fails on one CPU, and counts.
    struct Cpus {
        up: Atomic<u32>,
        down: Atomic<u32>,
        bad: Option<u32>,
    }

    impl Hotplug for Cpus {
        fn online(&self, cpu: u32) -> Result {
            if self.bad == Some(cpu) {
                return Err(EIO);
            }
            self.up.add(1, Relaxed);
            Ok(())
        }

        fn offline(&self, _cpu: u32) {
            self.down.add(1, Relaxed);
        }
    }

    fn cpus(bad: Option<u32>) -> Result<Arc<Cpus>> {
        let cpus = Cpus {
            up: Atomic::new(0),
            down: Atomic::new(0),
            bad,
        };
        Ok(Arc::new(cpus, GFP_KERNEL)?)
    }

    #[test]
    fn the_sets_hold_each_other() {
        assert!(is_online(current()));
        assert!(online().all(|cpu| possible().any(|other| other == cpu)));
        assert!(possible().all(|cpu| cpu < count()));
        assert!(!is_online(count()));
    }

    #[test]
    fn a_cpu_goes_and_comes() -> Result {
        assert_eq!(bring(count(), true).err(), Some(ENODEV));
        let Some(last) = online().last().filter(|cpu| *cpu != 0) else {
            return Ok(());
        };
        bring(last, false)?;
        assert!(!is_online(last));
        bring(last, true)?;
        assert!(is_online(last));
        Ok(())
    }

    #[test]
    fn a_listener_hears_of_the_cpus_that_are_there() -> Result {
        let cpus = cpus(None)?;
        let listener = HotplugListener::new(c"oxen:test", cpus.clone())?;
        assert_eq!(cpus.up.load(Relaxed) as usize, online().count());
        drop(listener);
        assert_eq!(cpus.down.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn a_cpu_that_fails_takes_the_others_back() -> Result {
        let last = online().last().ok_or(EINVAL)?;
        let cpus = cpus(Some(last))?;
        let refused = HotplugListener::new(c"oxen:test", cpus.clone());
        assert_eq!(refused.err(), Some(EIO));
        assert_eq!(cpus.down.load(Relaxed), cpus.up.load(Relaxed));
        Ok(())
    }
}
