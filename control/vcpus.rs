// SPDX-License-Identifier: GPL-2.0

//! `xl vcpu-set`: CPUs go offline and come online as `cpu/N/availability` says.
//!
//! vCPU N is the kernel's CPU N: both count in the order of the firmware's table. A word is done once, so that
//! a CPU which its user takes away stays away.

use abi::{
    vcpu::{
        self,
        Seen,
        Wanted, //
    },
    xenstore::value::Number, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};
use linux::cpu;
use xenbus::{
    is_transient,
    Complaints,
    Follow,
    Store, //
};

/// As many as Xen gives a guest of this kind (`HVM_MAX_VCPUS`).
const MOST: usize = 128;

/// The firmware tells the kernel of a CPU that is plugged in beside this, so it may be a little later: how often it is
/// looked for.
const LOOKS: u32 = 10;

/// Pause between two looks, in milliseconds.
const PAUSE_MS: u32 = 500;

/// What follows the toolstack's words.
#[pin_data]
pub(crate) struct Vcpus {
    store: Store,
    #[pin]
    state: Mutex<State>,
}

struct State {
    seen: Seen<MOST>,
    /// Looks for CPUs that are not there yet, since the last change.
    looks: u32,
}

impl Follow for Vcpus {
    const KEYS: &'static [&'static str] = &[vcpu::CPUS];

    fn look(&self, _log: &Complaints) -> Result<Option<u32>> {
        let names = match self.store.directory(vcpu::CPUS) {
            Ok(names) => names,
            // A toolstack that knows nothing of it.
            Err(ENOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut state = self.state.lock();
        let mut missing = false;
        for vcpu in names.names().filter_map(|name| u32::parse(name).ok()) {
            missing |= self.follow(&mut state, vcpu);
        }
        if !missing {
            state.looks = 0;
            return Ok(None);
        }
        state.looks = state.looks.saturating_add(1);
        Ok(Some(PAUSE_MS))
    }

    fn failed(error: Error) {
        pr_warn!("which vCPUs are wanted cannot be read ({error:?})\n");
    }
}

impl Vcpus {
    pub(crate) fn new(store: &Store) -> impl PinInit<Self> {
        let store = store.clone();
        pin_init!(Self {
            store,
            state <- new_mutex!(State {
                seen: Seen::default(),
                looks: 0,
            }),
        })
    }

    /// Does what is wanted of one. Returns whether it has to be looked at again: it is not there yet, or could not be read.
    fn follow(&self, state: &mut State, vcpu: u32) -> bool {
        let value = match self
            .store
            .read(format_args!("{}/{vcpu}/availability", vcpu::CPUS))
        {
            Ok(value) => value,
            Err(error) => return is_transient(error),
        };
        let Some(word) = vcpu::wanted(value.as_bytes()) else {
            return false;
        };
        let Some(word) = state.seen.take(vcpu, word) else {
            return false;
        };
        let online = word == Wanted::Online;
        if cpu::is_online(vcpu) == online {
            return false;
        }
        match cpu::bring(vcpu, online) {
            Ok(()) => pr_info!(
                "the toolstack has vCPU {vcpu} {}\n",
                if online { "online" } else { "offline" }
            ),
            Err(ENODEV) if online && state.looks < LOOKS => {
                state.seen.again(vcpu);
                return true;
            }
            Err(ENODEV) => pr_warn!(
                "vCPU {vcpu} is wanted online, but the firmware has told the kernel of none: it was not plugged in\n"
            ),
            Err(error) if online => pr_warn!("vCPU {vcpu} cannot come online ({error:?})\n"),
            Err(error) => pr_warn!("vCPU {vcpu} cannot go offline ({error:?}); it is still used\n"),
        }
        false
    }
}
