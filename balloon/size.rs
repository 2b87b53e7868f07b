// SPDX-License-Identifier: GPL-2.0

//! The balloon, towards what is wanted and back.

use abi::{
    balloon::{
        self,
        Memory,
        Step, //
    },
    connection::Backoff, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};
use linux::{
    mm::{
        away,
        oom::Relief, //
    },
    sync::counter::Counter, //
};
use xen_core::balloon::Balloon;

/// Steps that are made before others get their turn: 32 MiB.
const STEPS: usize = 16;

/// Pages that are given to a kernel that would have to kill a program: four MiB.
const RELIEF: usize = 1024;

/// Why what is wanted cannot be had now. Each is told once, until something else is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    AtFloor,
    InUse,
    XenTakes(Error),
    XenGives,
}

struct State {
    balloon: Balloon,
    /// Pages that have to be away.
    wanted: u64,
    backoff: Backoff,
    told: Option<Trouble>,
}

/// How large the guest is.
#[pin_data(PinnedDrop)]
pub(crate) struct Size {
    /// Nothing is allocated under it that may end in the OOM killer, which takes it.
    #[pin]
    state: Mutex<State>,
    /// Times that the kernel had no page to give.
    pub(crate) short: Counter,
    /// Times that Xen took less than was given, or gave less than was asked for.
    pub(crate) refused: Counter,
    /// Pages that a kernel without memory got.
    pub(crate) relieved: Counter,
}

/// Numbers to look at, in pages.
pub(crate) struct Numbers {
    pub(crate) managed: u64,
    pub(crate) away: u64,
    pub(crate) wanted: u64,
}

impl Size {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let balloon = Balloon::new()?;
        Arc::pin_init(
            pin_init!(Self {
                state <- new_mutex!(State {
                    balloon,
                    wanted: 0,
                    backoff: Backoff::new(),
                    told: None,
                }),
                short: Counter::new(),
                refused: Counter::new(),
                relieved: Counter::new(),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn numbers(&self) -> Numbers {
        let state = self.state.lock();
        Numbers {
            managed: away::managed(),
            away: state.balloon.away() as u64,
            wanted: state.wanted,
        }
    }

    /// Wants so many pages away.
    pub(crate) fn want(&self, wanted: u64) {
        let mut state = self.state.lock();
        if state.wanted != wanted {
            state.wanted = wanted;
            state.backoff.succeeded();
            state.told = None;
        }
    }

    /// Goes towards what is wanted. Returns after how many milliseconds to go on, if there is more to do.
    pub(crate) fn go(&self) -> Option<u32> {
        for _ in 0..STEPS {
            let mut state = self.state.lock();
            let trouble = match self.step(&mut state) {
                Ok(true) => continue,
                Ok(false) => {
                    state.told = None;
                    return None;
                }
                Err(trouble) => trouble,
            };
            state.tell(trouble);
            return match trouble {
                Trouble::AtFloor => None,
                _ => Some(u32::try_from(state.backoff.pause()).unwrap_or(u32::MAX)),
            };
        }
        Some(0)
    }

    /// One step; returns whether there may be more.
    fn step(&self, state: &mut State) -> Result<bool, Trouble> {
        let memory = Memory {
            managed: away::managed(),
            available: away::available(),
            away: state.balloon.away() as u64,
        };
        let moved = match balloon::step(state.wanted, memory) {
            Step::Done => return Ok(false),
            Step::AtFloor => return Err(Trouble::AtFloor),
            Step::InUse => return Err(Trouble::InUse),
            Step::Give(pages) => state.balloon.give(pages).map_err(Trouble::XenTakes),
            Step::Take(pages) => state.balloon.take(pages).map_err(|_| Trouble::XenGives),
        };
        let trouble = match moved {
            Ok(1..) => {
                state.backoff.succeeded();
                return Ok(true);
            }
            Err(Trouble::XenTakes(ENOMEM)) => {
                self.short.count();
                return Err(Trouble::InUse);
            }
            // Given or taken, by the way that was gone.
            Ok(0) if state.wanted > memory.away => Trouble::XenTakes(EPERM),
            Ok(0) => Trouble::XenGives,
            Err(trouble) => trouble,
        };
        self.refused.count();
        Err(trouble)
    }
}

impl State {
    fn tell(&mut self, trouble: Trouble) {
        if self.told.replace(trouble) == Some(trouble) {
            return;
        }
        let away = self.balloon.away() as u64;
        let more = balloon::mib(self.wanted.saturating_sub(away));
        let (have, back) = (balloon::mib(away::managed()), balloon::mib(away));
        match trouble {
            Trouble::AtFloor => pr_warn!(
                "{} wants {more} MiB more to go, but the {have} MiB that are left are what this guest needs to live\n",
                balloon::TARGET
            ),
            Trouble::InUse => pr_info!(
                "{} wants {more} MiB more to go, but what is left is in use; they go when programs need less\n",
                balloon::TARGET
            ),
            Trouble::XenTakes(error) => {
                pr_warn!("Xen does not take memory ({error:?}); it is tried again\n");
            }
            Trouble::XenGives => pr_info!(
                "Xen has no more memory for this guest now; it is asked again for the {back} MiB that are away\n"
            ),
        }
    }
}

impl Relief for Size {
    fn relieve(&self) -> usize {
        let mut state = self.state.lock();
        let mut relieved = 0usize;
        while relieved < RELIEF && state.balloon.away() > 0 {
            let Ok(taken @ 1..) = state.balloon.take(balloon::BATCH) else {
                self.refused.count();
                break;
            };
            relieved = relieved.saturating_add(taken);
        }
        self.relieved.add(relieved);
        relieved
    }
}

#[pinned_drop]
impl PinnedDrop for Size {
    /// Takes all back that Xen gives.
    fn drop(self: Pin<&mut Self>) {
        let mut state = self.state.lock();
        while state.balloon.away() > 0 {
            if !state
                .balloon
                .take(balloon::BATCH)
                .is_ok_and(|taken| taken > 0)
            {
                pr_warn!(
                    "Xen has no memory for {} of this guest's pages: they stay away until oxen_balloon is loaded again or the \
                     guest restarts\n",
                    state.balloon.away()
                );
                return;
            }
        }
    }
}
