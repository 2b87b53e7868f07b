// SPDX-License-Identifier: GPL-2.0

//! Terminals of the hvc layer (`/dev/hvc0` and so on), and the console that prints kernel messages on them.
//!
//! A [`Terminal`] joins a driver's [`Backend`] to the layer. The layer's own objects can outlive it: a process that has
//! the terminal or `/dev/console` open keeps the layer's structure, and the layer goes on to call the driver through
//! it. So the functions that it calls, and their table, lie here and not in the driver's module; they find the backend
//! by its number, and when there is none they drop output and have no input. A driver that comes back under the same
//! number goes on to serve such a process.
//!
//! This module in turn must stay as long as such a structure lives. The structure starts with a `tty_port`, whose
//! destructor we hook to know when it goes; if one outlives its [`Terminal`], the module is pinned until then.
//!
//! C source: `drivers/tty/hvc/hvc_console.h`, which is not among the shipped headers; the declarations are in [`layer`].

use self::state::{
    Reaper,
    State,
    STATE, //
};
use crate::{
    bindings,
    module::{
        this_module,
        ModulePin, //
    },
    Own, //
};
use core::{
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicBool,
        AtomicPtr,
        Ordering, //
    },
};
use kernel::{
    error::from_err_ptr,
    prelude::*,
    static_lock_class,
    sync::Arc,
    time::msecs_to_jiffies,
    workqueue, //
};

#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
mod layer;
mod state;

pub use self::state::{
    Backend,
    Output,
    MAX_TERMINALS, //
};

/// Bytes that the layer collects from a writing process before it hands them on.
const OUTPUT_BUFFER: c_int = 256;

/// The destructor that the layer gave its ports.
static DESTRUCT: AtomicPtr<bindings::tty_port_operations> = AtomicPtr::new(ptr::null_mut());

/// The layer has had a terminal, and so its thread.
static STARTED: AtomicBool = AtomicBool::new(false);

/// What ports of ours have in the place of the layer's.
static PORT_OPS: bindings::tty_port_operations = bindings::tty_port_operations {
    carrier_raised: None,
    dtr_rts: None,
    shutdown: None,
    activate: None,
    destruct: Some(destruct),
};

/// Prepares this file for use. To be called once, from the module's init.
///
/// # Errors
///
/// `ENOMEM`.
pub fn load() -> Result {
    STATE.init(State::NONE, c"oxen_hvc", static_lock_class!())
}

/// To be called from the module's exit: waits until none of this file's code runs any more.
pub fn unload() {
    let reaper = STATE.lock().reaper.take();
    if let Some(reaper) = reaper {
        crate::workqueue::work::flush(&reaper.work);
    }
    STATE.free();
}

/// A terminal of the layer.
///
/// # Invariants
///
/// `structure` came from `hvc_alloc` and was not removed. `backends[number]` is ours.
pub struct Terminal {
    number: u32,
    structure: NonNull<layer::Hvc>,
    /// Whether the layer's structure tells us when it goes.
    hooked: bool,
}

// SAFETY: The layer's functions may be called from any thread.
unsafe impl Send for Terminal {}
// SAFETY: Nothing can be done through a shared reference.
unsafe impl Sync for Terminal {}

impl Terminal {
    /// Makes terminal `number` (below [`MAX_TERMINALS`]) of this module's. May sleep.
    ///
    /// Its device is the one of the same number. Only terminal 0 gets the first that is free if that one is not: there is
    /// no guest without a console. If `console=hvcN` names the device, all messages so far are printed on it before
    /// this returns.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the number is taken, or the device: by another driver, or by a process that has a former terminal open
    /// still. `EINVAL` if there is no such number; what the layer says.
    pub fn new(number: u32, backend: Arc<dyn Backend>) -> Result<Self> {
        // Made first, since it sleeps. It is kept once made.
        let reaper = Arc::pin_init(Reaper::new(), GFP_KERNEL)?;
        {
            let mut state = STATE.lock();
            let place = state.backends.get_mut(number as usize).ok_or(EINVAL)?;
            if place.is_some() {
                return Err(EBUSY);
            }
            *place = Some(backend);
            state.terminals = state.terminals.saturating_add(1);
            state.structures = state.structures.saturating_add(1);
            if state.reaper.is_none() {
                state.reaper = Some(reaper);
            }
        }
        let structure = match allocate(number) {
            Ok(structure) => structure,
            Err(error) => {
                let mut state = STATE.lock();
                let backend = state
                    .backends
                    .get_mut(number as usize)
                    .and_then(Option::take);
                state.terminals = state.terminals.saturating_sub(1);
                state.structures = state.structures.saturating_sub(1);
                drop(state);
                drop(backend);
                return Err(error);
            }
        };
        STARTED.store(true, Ordering::Release);
        // INVARIANT: Just made, and the place was taken above.
        Ok(Self {
            number,
            structure,
            // SAFETY: The structure was just made, and lives until it is removed.
            hooked: unsafe { hook(structure) },
        })
    }
}

impl Drop for Terminal {
    /// Hangs the terminal up.
    fn drop(&mut self) {
        // Calls into the backend hold the lock, so none is left after this.
        let backend = STATE
            .lock()
            .backends
            .get_mut(self.number as usize)
            .and_then(Option::take);
        // SAFETY: By the type invariants.
        unsafe { layer::hvc_remove(self.structure.as_ptr()) };
        let mut state = STATE.lock();
        state.terminals = state.terminals.saturating_sub(1);
        if state.has_leftovers() && state.pin.is_none() {
            state.pin = ModulePin::new(this_module::<Own>());
        }
        drop(state);
        // Not with the lock held: the message may be printed through this very file.
        if !self.hooked {
            // `structures` never gets lower then, and the pin stays.
            pr_warn!("this kernel's hvc layer is not the one that was expected: oxen_xen_core cannot be unloaded any more\n");
        }
        drop(backend);
    }
}

/// Has the layer make the structure of terminal `number`, whose backend is in its place.
fn allocate(number: u32) -> Result<NonNull<layer::Hvc>> {
    // CAST: The caller has checked that the number is small.
    let index = number as c_int;
    // SAFETY: The table of functions lives as long as this module, which does not go while the layer knows it.
    let named = unsafe { layer::hvc_instantiate(number, index, &layer::OPS) } == 0;
    if !named && number != 0 {
        return Err(EBUSY);
    }
    // SAFETY: As above, and the module outlives the structure (see `Drop`).
    let made = unsafe { layer::hvc_alloc(number, 0, &layer::OPS, OUTPUT_BUFFER) };
    let made = from_err_ptr(made).and_then(|made| NonNull::new(made).ok_or(ENOMEM));
    if made.is_err() && named {
        // The layer cannot be told to forget the name, and with it the functions: this module stays.
        let mut state = STATE.lock();
        state.structures = state.structures.saturating_add(1);
        if state.pin.is_none() {
            state.pin = ModulePin::new(this_module::<Own>());
        }
    }
    made
}

/// Has the layer's thread look for input and room on all terminals. For any context.
pub fn kick() {
    if STARTED.load(Ordering::Acquire) {
        // SAFETY: There was a terminal, so the layer's thread was started; it is never stopped.
        unsafe { layer::hvc_kick() };
    }
}

/// Has the layer call [`destruct`] when `structure` goes. Returns whether it will.
///
/// # Safety
///
/// `structure` is alive, and nobody else changes the operations of its port.
unsafe fn hook(structure: NonNull<layer::Hvc>) -> bool {
    // The layer's structure starts with its port, by `hvc_console.h`. That is not promised, so what is there has to look
    // like one: the pointer that every port gets at first, and the only operation that the layer has.
    let port = structure.as_ptr().cast::<bindings::tty_port>();
    // SAFETY: The layer's structure is larger than a port, whatever it starts with.
    let (client_ops, ops) = unsafe { ((*port).client_ops, (*port).ops) };
    // SAFETY: The function has no requirements.
    let expected = unsafe { bindings::hvc_client_ops() };
    if client_ops.cast() != expected || ops.is_null() {
        return false;
    }
    // SAFETY: This is a port, so its operations are such, and static.
    let theirs = unsafe { *ops };
    let only_destruct = theirs.carrier_raised.is_none()
        && theirs.dtr_rts.is_none()
        && theirs.shutdown.is_none()
        && theirs.activate.is_none();
    if !only_destruct || theirs.destruct.is_none() {
        return false;
    }
    DESTRUCT.store(ops.cast_mut(), Ordering::Release);
    // SAFETY: The port is alive, and by the requirements its operations are only read by others.
    unsafe { (&raw mut (*port).ops).write_volatile(&PORT_OPS) };
    true
}

/// A structure of ours goes. In process context.
///
/// # Safety
///
/// To be called by the tty layer for a port that [`hook`] changed.
unsafe extern "C" fn destruct(port: *mut bindings::tty_port) {
    let theirs = DESTRUCT.load(Ordering::Acquire);
    // SAFETY: `hook` stored static operations before it made this function reachable.
    if let Some(destruct) = unsafe { (*theirs).destruct } {
        // SAFETY: The port is of the layer, and is destructed once.
        unsafe { destruct(port) };
    }
    let mut state = STATE.lock();
    state.structures = state.structures.saturating_sub(1);
    if !state.has_leftovers() && state.pin.is_some() {
        if let Some(reaper) = &state.reaper {
            // By far long enough for this function to have returned when the module may go.
            let _ = workqueue::system_power_efficient()
                .enqueue_delayed(reaper.clone(), msecs_to_jiffies(100));
        }
    }
}

/// Nanoseconds of a clock that can be read in any context, also by a backend that waits.
pub fn clock() -> u64 {
    // SAFETY: The function has no requirements.
    unsafe { bindings::hvc_clock() }
}
