// SPDX-License-Identifier: GPL-2.0

//! The terminals that there are, and who is behind each.

use crate::{
    module::ModulePin,
    sync::irq_lock::Global, //
};
use kernel::{
    new_delayed_work,
    prelude::*,
    sync::Arc,
    workqueue::{
        impl_has_delayed_work,
        DelayedWork,
        WorkItem, //
    }, //
};

/// How many terminals there can be: as many as the layer has devices for.
pub const MAX_TERMINALS: usize = 8;

/// What became of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// So many bytes were taken, at least one.
    Taken(usize),
    /// None was taken, and it is worth to [`flush`](Backend::flush) and try again.
    Full,
    /// None was taken, and nobody should wait: kernel messages are dropped, a process's output is tried again later.
    Stalled,
}

/// The driver's side of a terminal.
///
/// All functions are called with a lock held and interrupts off, in any context: they must neither sleep nor print.
pub trait Backend: Send + Sync + 'static {
    /// Takes output. If it is a piece of a kernel message, [`flush`](Self::flush) follows, and what empties the buffer
    /// need not be told before.
    fn put(&self, bytes: &[u8], is_piece: bool) -> Output;

    /// Ends a kernel message, or waits a little for room if the last [`put`](Self::put) met [`Output::Full`]. The caller
    /// tries that again and again, so the backend has to see to it that it ends.
    fn flush(&self);

    /// Gives input; returns how many bytes.
    fn get(&self, into: &mut [u8]) -> usize;
}

/// The terminals by number, and what is left of former ones.
pub(super) struct State {
    pub(super) backends: [Option<Arc<dyn Backend>>; MAX_TERMINALS],
    /// Terminals that exist.
    pub(super) terminals: usize,
    /// Structures of the layer that exist; those that exceed `terminals` are left over.
    pub(super) structures: usize,
    /// Keeps this module loaded while structures are left over.
    pub(super) pin: Option<ModulePin>,
    /// Takes the pin away.
    pub(super) reaper: Option<Arc<Reaper>>,
}

impl State {
    /// No terminal.
    pub(super) const NONE: Self = Self {
        backends: [const { None }; MAX_TERMINALS],
        terminals: 0,
        structures: 0,
        pin: None,
        reaper: None,
    };

    /// Tells whether a structure of a former terminal lives.
    pub(super) fn has_leftovers(&self) -> bool {
        self.structures > self.terminals
    }
}

// SAFETY: The module calls `load` before anything else can use it, and `unload` when nothing can any more.
pub(super) static STATE: Global<State> = unsafe { Global::uninit() };

/// Work that takes the pin away when no structure is left over.
#[pin_data]
pub(super) struct Reaper {
    #[pin]
    pub(super) work: DelayedWork<Reaper>,
}

impl Reaper {
    pub(super) fn new() -> impl PinInit<Self> {
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
pub(super) fn with_backend<R>(number: u32, with: impl FnOnce(&dyn Backend) -> R) -> Option<R> {
    let state = STATE.lock();
    state
        .backends
        .get(number as usize)?
        .as_ref()
        .map(|backend| with(&**backend))
}
