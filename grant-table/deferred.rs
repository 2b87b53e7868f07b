// SPDX-License-Identifier: GPL-2.0

//! Grants that should have ended while the peer still used them.
//!
//! They wait in a list together with what owns their page; work that runs every second tries each again. Xen ends all
//! mappings of a domain that dies, so no grant waits longer than its peer lives.
//!
//! The entries in the table and the pages must outlive the wait, so the module keeps itself loaded until the list is
//! empty. Unloading anyway would mean to leak the pages for good, or to hand memory that a peer can write to somebody
//! else.

use crate::table::Table;
use abi::types::GrantRef;
use core::mem;
use kernel::{
    module::this_module,
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    },
    time::msecs_to_jiffies,
    workqueue, //
};
use linux::module::ModulePin;

/// Pause between two tries, in milliseconds.
const RETRY_MS: u32 = 1000;

/// A grant that waits for its peer, and the owner of its page.
struct Waiting<T: ?Sized> {
    gref: GrantRef,
    next: List,
    /// Dropped when the grant has ended.
    _owner: T,
}

type List = Option<KBox<Waiting<dyn Send>>>;

/// The list, and what is told of it.
struct State {
    list: List,
    /// Grants waiting; those in the hands of the work count too.
    count: usize,
    /// Grants and pages that are lost for good, because there was no memory to put them into the list.
    lost: usize,
    /// Keeps this module loaded while `count` is not 0.
    pin: Option<ModulePin>,
    /// Whether the log was told.
    told: bool,
}

/// The deferred grants of the table.
#[pin_data]
pub(crate) struct Deferred {
    #[pin]
    state: SpinLockIrq<State>,
}

impl Deferred {
    /// None.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_spinlock_irq!(
                State {
                    list: None,
                    count: 0,
                    lost: 0,
                    pin: None,
                    told: false,
                },
                "oxen_grant_deferred"
            ),
        })
    }

    /// How many wait, and how many are lost.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.count, state.lost)
    }
}

/// Keeps `gref`, and `owner` with it, until the peer lets go. For any context.
pub(crate) fn add<T: Send + 'static>(table: &Arc<Table>, gref: GrantRef, owner: T) {
    // Room first: if there is none, `owner` is still ours to leak.
    let room = KBox::<Waiting<T>>::new_uninit(GFP_ATOMIC);
    let mut state = table.deferred.state.lock();
    match room {
        Ok(room) => {
            let next = state.list.take();
            let waiting = Waiting {
                gref,
                next,
                _owner: owner,
            };
            let waiting: KBox<Waiting<T>> = KBox::write(room, waiting);
            state.list = Some(waiting);
            state.count = state.count.saturating_add(1);
            if state.pin.is_none() {
                state.pin = ModulePin::new(this_module::<crate::GrantTable>());
            }
        }
        Err(_) => {
            // The page stays allocated and the entry stays as it is: nothing can be reused.
            mem::forget(owner);
            state.lost = state.lost.saturating_add(1);
        }
    }
    let told = mem::replace(&mut state.told, true);
    drop(state);
    if !told {
        pr_warn!(
            "reference {} should end, but its peer still uses the page, which is kept until it lets go; see oxen/grants/counters in debugfs for how many do\n",
            gref.0
        );
    }
    queue(table);
}

/// Has [`retry`] run after a pause, unless it will anyway.
fn queue(table: &Arc<Table>) {
    let _ = workqueue::system_power_efficient()
        .enqueue_delayed(table.clone(), msecs_to_jiffies(RETRY_MS));
}

/// Tries each waiting grant once.
pub(crate) fn retry(table: &Arc<Table>) {
    let deferred = &table.deferred;
    let mut list = mem::take(&mut deferred.state.lock().list);
    while let Some(mut waiting) = list {
        list = waiting.next.take();
        match table.slot(waiting.gref).map(|slot| slot.revoke()) {
            Some(Ok(())) => {
                table.release(core::iter::once(waiting.gref));
                // Frees the page.
                drop(waiting);
                let mut state = deferred.state.lock();
                state.count = state.count.saturating_sub(1);
            }
            _ => {
                let mut state = deferred.state.lock();
                waiting.next = state.list.take();
                state.list = Some(waiting);
            }
        }
    }
    let mut state = deferred.state.lock();
    if state.count > 0 {
        drop(state);
        queue(table);
    } else {
        let pin = state.pin.take();
        drop(state);
        // The module may go from here on; its exit waits for this function to return.
        drop(pin);
    }
}
