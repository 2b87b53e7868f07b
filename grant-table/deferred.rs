// SPDX-License-Identifier: GPL-2.0

//! Grants that should have ended while the peer still used them.
//!
//! They wait in a list together with what owns their page; work that runs every second tries each again. Xen ends all
//! mappings of a domain that dies, so no grant waits longer than its peer lives.
//!
//! The entries in the table and the pages must outlive the wait, so the module keeps itself loaded until the list is
//! empty. Unloading anyway would mean to leak the pages for good, or to hand memory that a peer can write to somebody
//! else. The driver that granted may go: nothing here refers to its code, see [`Owner`].

use crate::owner::Owner;
use abi::types::GrantRef;
use core::mem;
use kernel::{
    prelude::*, //
};
use linux::{
    module::{
        this_module,
        ModulePin, //
    },
    new_spinlock_irq,
    sync::irq_lock::SpinLockIrq, //
};

/// A grant that waits for its peer, and the owner of its page.
struct Waiting {
    gref: GrantRef,
    next: List,
    /// Dropped when the grant has ended.
    _owner: Owner,
}

type List = Option<KBox<Waiting>>;

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

    /// Keeps `gref`, and `owner` with it, until the peer lets go. For any context; [`retry`](Self::retry) has to be
    /// called from now and then.
    pub(crate) fn add(&self, gref: GrantRef, owner: Owner) {
        // Room first: if there is none, `owner` is still ours to leak.
        let room = KBox::<Waiting>::new_uninit(GFP_ATOMIC);
        let mut state = self.state.lock();
        match room {
            Ok(room) => {
                let next = state.list.take();
                let waiting = Waiting {
                    gref,
                    next,
                    _owner: owner,
                };
                state.list = Some(KBox::write(room, waiting));
                state.count = state.count.saturating_add(1);
                if state.pin.is_none() {
                    state.pin = ModulePin::new(this_module::<crate::Own>());
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
    }

    /// Has `end` try each waiting grant once; it returns whether access has ended, and then the page is freed.
    pub(crate) fn retry(&self, end: impl Fn(GrantRef) -> bool) -> Left {
        let mut list = mem::take(&mut self.state.lock().list);
        while let Some(mut waiting) = list {
            list = waiting.next.take();
            if end(waiting.gref) {
                // Frees the page.
                drop(waiting);
                let mut state = self.state.lock();
                state.count = state.count.saturating_sub(1);
            } else {
                let mut state = self.state.lock();
                waiting.next = state.list.take();
                state.list = Some(waiting);
            }
        }
        let mut state = self.state.lock();
        if state.count > 0 {
            Left::Some
        } else {
            Left::None(state.pin.take())
        }
    }
}

/// What [`Deferred::retry`] leaves.
pub(crate) enum Left {
    /// Grants that still wait.
    Some,
    /// None; what kept this module loaded.
    None(Option<ModulePin>),
}
