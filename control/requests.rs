// SPDX-License-Identifier: GPL-2.0

//! What the toolstack asks for in `control/shutdown` and `control/sysrq`.
//!
//! There is no state: a request that came to nothing, as when a program keeps the guest from going down, can be made again.

use abi::control::{
    self,
    Asked,
    End,
    Refusal,
    Request, //
};
use kernel::prelude::*;
use linux::{
    fmt::Shown,
    power::{
        self,
        panic,
        sysrq, //
    },
};
use xen_core::resume::Wake;
use xenbus::{
    Complaints,
    Follow,
    Store,
    Value, //
};

/// What takes requests.
pub(crate) struct Requests {
    store: Store,
}

impl Follow for Requests {
    const KEYS: &'static [&'static str] = &[control::SHUTDOWN, control::SYSRQ];

    fn look(&self, log: &Complaints) -> Result<Option<u32>> {
        // A key of SysRq is for a guest that does not go down: first. One that fails keeps nothing from the other.
        self.sysrq(log).and(self.shutdown(log))?;
        Ok(None)
    }

    fn failed(error: Error) {
        pr_warn!("what the toolstack asks for cannot be read: {error:?}\n");
    }
}

impl Requests {
    pub(crate) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }

    fn sysrq(&self, log: &Complaints) -> Result {
        let Some(value) = self.take(control::SYSRQ)? else {
            return Ok(());
        };
        match control::sysrq(value.as_bytes()) {
            Asked::Nothing => {}
            Asked::For(key) => sysrq::press(key),
            Asked::Refused(refusal) => complain(log, control::SYSRQ, refusal),
        }
        Ok(())
    }

    fn shutdown(&self, log: &Complaints) -> Result {
        let Some(value) = self.take(control::SHUTDOWN)? else {
            return Ok(());
        };
        match control::shutdown(value.as_bytes(), power::is_ending()) {
            Asked::Nothing => {}
            Asked::For(Request::Suspend) => suspend(),
            Asked::For(Request::End(End::PowerOff)) => {
                pr_info!("the toolstack has this guest power off\n");
                power::power_off();
            }
            Asked::For(Request::End(End::Reboot)) => {
                pr_info!("the toolstack has this guest reboot\n");
                power::reboot();
            }
            Asked::For(Request::End(End::Crash)) => {
                panic::panic(c"the toolstack has this guest crash")
            }
            Asked::Refused(refusal) => complain(log, control::SHUTDOWN, refusal),
        }
        Ok(())
    }

    /// Takes what is asked for at `path`, if anything, and acknowledges it.
    fn take(&self, path: &str) -> Result<Option<Value>> {
        let read = |store: &Store| match store.read(path) {
            Ok(value) if value.as_bytes().is_empty() => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(ENOENT) => Ok(None),
            Err(error) => Err(error),
        };
        // The acknowledgement comes back as a change, so mostly there is nothing.
        if read(&self.store)?.is_none() {
            return Ok(None);
        }
        self.store.transaction(|store| {
            let value = read(store)?;
            if value.is_some() {
                store.write(path, "")?;
            }
            Ok(value)
        })
    }
}

fn complain(log: &Complaints, path: &str, refusal: Refusal<'_>) {
    if log.another() {
        pr_warn!("{path}: {}\n", Shown(refusal));
    }
}

/// Stops the domain until it goes on.
fn suspend() {
    pr_info!("the toolstack has this guest stop\n");
    match xen_core::suspend() {
        Ok(Wake::Resumed) => pr_info!("this guest was restored\n"),
        Ok(Wake::Cancelled) => pr_info!("this guest goes on where it was\n"),
        Err(error) => {
            pr_err!("this guest could not be stopped ({error:?}) and goes on as before\n")
        }
    }
}
