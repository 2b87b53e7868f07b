// SPDX-License-Identifier: GPL-2.0

//! What is done before another kernel runs in this machine's memory.
//!
//! The backends have to let go of the pages that they have mapped and write to no page any more, so each connection is
//! closed by its states. The drivers are not asked: a disk whose requests are simply not answered any more harms nobody
//! now, one that fails them does. Then nothing is sent to the xenstore that the next kernel would get the reply of; watches
//! and transactions are for the next load to forget.

use abi::connection::State;
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};
use linux::power::shutdown::Shutdown;

use crate::{
    bus::{
        device::Device,
        scan::Scan, //
    },
    store::client::{
        Client,
        SETTLE, //
    }, //
};

/// How long all backends together have for each of their two moves.
const LIMIT: Delta = Delta::from_secs(5);

/// How often they are looked at.
const POLL: Delta = Delta::from_millis(10);

/// Closes all connections when the machine is about to run another kernel.
pub(crate) struct Parting {
    pub(crate) client: Arc<Client>,
    pub(crate) scan: Arc<Scan>,
}

impl Shutdown for Parting {
    fn shutdown(&self) {
        let devices = self.scan.part();
        for (state, is_done) in [
            (State::Closing, is_leaving as fn(State) -> bool),
            (State::Closed, is_over),
        ] {
            for device in &devices {
                // A device that the toolstack takes away needs nothing more.
                let _ = device.write_state(state, |_| Ok(()));
            }
            wait(&devices, is_done);
        }
        self.client.close();
        self.client.settle(SETTLE);
    }
}

/// The backend has seen Closing, or was never connected.
fn is_leaving(state: State) -> bool {
    !matches!(
        state,
        State::Connected | State::Initialised | State::Reconfiguring | State::Reconfigured
    )
}

/// The backend has let go.
fn is_over(state: State) -> bool {
    is_leaving(state) && state != State::Closing
}

/// Waits until the backends of all `devices` are in a state that `is_done` accepts, or cannot be asked.
fn wait(devices: &KVec<Device>, is_done: fn(State) -> bool) {
    let start = Instant::<Monotonic>::now();
    for device in devices {
        while device
            .read_otherend()
            .is_ok_and(|(state, _)| !is_done(state))
        {
            if start.elapsed() > LIMIT {
                dev_warn!(
                    device.as_ref(),
                    "the backend does not let go; it may write to memory of the next kernel\n"
                );
                return;
            }
            fsleep(POLL);
        }
    }
}
