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

use crate::{
    bindings,
    module::ModulePin,
    LocalModule, //
};
use core::{
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    },
};
use kernel::{
    error::from_err_ptr,
    module::this_module,
    new_delayed_work,
    prelude::*,
    sync::Arc,
    time::msecs_to_jiffies,
    workqueue::{
        self,
        impl_has_delayed_work,
        DelayedWork,
        WorkItem, //
    }, //
};

#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
mod layer;

/// How many terminals there can be: as many as the layer has devices for.
pub const MAX_TERMINALS: usize = 8;

/// Bytes that the layer collects from a writing process before it hands them on.
const OUTPUT_BUFFER: c_int = 256;

/// What became of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// So many bytes were taken, at least one.
    Taken(usize),
    /// None was taken, and it is worth to [`wait`](Backend::wait) and try again.
    Full,
    /// None was taken, and nobody should wait: kernel messages are dropped, a process's output is tried again later.
    Stalled,
}

/// The driver's side of a terminal.
///
/// All functions are called with a lock held and interrupts off, in any context: they must neither sleep nor print.
pub trait Backend: Send + Sync + 'static {
    /// Takes output.
    fn put(&self, bytes: &[u8]) -> Output;

    /// Waits a little for room, for a kernel message that met [`Output::Full`]. The caller tries again and again, so
    /// the backend has to see to it that this ends.
    fn wait(&self);

    /// Gives input; returns how many bytes.
    fn get(&self, into: &mut [u8]) -> usize;
}

/// The terminals by number, and what is left of former ones.
struct State {
    backends: [Option<Arc<dyn Backend>>; MAX_TERMINALS],
    /// Terminals that exist.
    terminals: usize,
    /// Structures of the layer that exist; those that exceed `terminals` are left over.
    structures: usize,
    /// Keeps this module loaded while structures are left over.
    pin: Option<ModulePin>,
    /// Takes the pin away.
    reaper: Option<Arc<Reaper>>,
}

impl State {
    /// Tells whether a structure of a former terminal lives.
    fn has_leftovers(&self) -> bool {
        self.structures > self.terminals
    }
}

kernel::sync::global_lock! {
    // SAFETY: Initialised by `load`, which the module calls before anything else can.
    unsafe(uninit) static STATE: SpinLockIrq<State> = State {
        backends: [const { None }; MAX_TERMINALS],
        terminals: 0,
        structures: 0,
        pin: None,
        reaper: None,
    };
}

/// The destructor that the layer gave its ports.
static DESTRUCT: AtomicPtr<bindings::tty_port_operations> = AtomicPtr::new(ptr::null_mut());

/// What ports of ours have in the place of the layer's.
static PORT_OPS: bindings::tty_port_operations = bindings::tty_port_operations {
    carrier_raised: None,
    dtr_rts: None,
    shutdown: None,
    activate: None,
    destruct: Some(destruct),
};

/// Prepares this file for use.
///
/// # Safety
///
/// To be called once, from the module's init.
pub unsafe fn load() {
    // SAFETY: By the requirement of this function.
    unsafe { STATE.init() };
}

/// To be called from the module's exit: waits until none of this file's code runs any more.
pub fn unload() {
    let reaper = STATE.lock().reaper.take();
    if let Some(reaper) = reaper {
        crate::work::flush(&reaper.work);
    }
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
    /// The layer gives it the first free device; if that is the one which `console=hvcN` names, all messages so far are
    /// printed on it before this returns.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the number is taken, `EINVAL` if there is no such number; what the layer says.
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
        // SAFETY: The table of functions lives as long as this module, which outlives the structure (see `Drop`).
        let made = unsafe { layer::hvc_alloc(number, 0, &layer::OPS, OUTPUT_BUFFER) };
        let structure = match from_err_ptr(made).and_then(|made| NonNull::new(made).ok_or(ENOMEM)) {
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
    /// Hangs up whoever uses the terminal.
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
            state.pin = ModulePin::new(this_module::<LocalModule>());
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

/// Has the layer's thread look for input and room on all terminals. For any context; there has to be a terminal.
pub fn kick(_of: &Terminal) {
    // SAFETY: A terminal exists, so the layer's thread was started; it is never stopped.
    unsafe { layer::hvc_kick() };
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

/// Work that takes the pin away when no structure is left over.
#[pin_data]
struct Reaper {
    #[pin]
    work: DelayedWork<Reaper>,
}

impl Reaper {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            work <- new_delayed_work!("oxen_hvc_reaper"),
        })
    }
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Reaper { self.work }
}

impl WorkItem for Reaper {
    type Pointer = Arc<Self>;

    fn run(_this: Arc<Self>) {
        let mut state = STATE.lock();
        let pin = if state.has_leftovers() {
            None
        } else {
            state.pin.take()
        };
        drop(state);
        // The module may go from here on; its exit waits for this function (see `unload`).
        drop(pin);
    }
}

/// Runs `with` on the backend of `number`, if there is one.
fn with_backend<R>(number: u32, with: impl FnOnce(&dyn Backend) -> R) -> Option<R> {
    let state = STATE.lock();
    state
        .backends
        .get(number as usize)?
        .as_ref()
        .map(|backend| with(&**backend))
}

/// Nanoseconds of a clock that can be read in any context, also by a backend that waits.
pub fn clock() -> u64 {
    // SAFETY: The function has no requirements.
    unsafe { bindings::hvc_clock() }
}
