// SPDX-License-Identifier: GPL-2.0

//! What Oxen promises, shown on real Xen: the checks that the end-to-end suite and the demo share.

pub mod backend;
pub mod check;
pub mod guests;
pub mod spoil;
pub mod suite;

use anyhow::{anyhow, ensure, Error, Result};
use companion::{Companion, Domain, BRIEF};
use std::env;
use std::path::PathBuf;

/// Our modules, in an order in which each finds what it needs.
pub const MODULES: [&str; 11] = [
    "oxen_xen_core",
    "oxen_evtchn",
    "oxen_time",
    "oxen_grant_table",
    "oxen_xenbus",
    "oxen_control",
    "oxen_balloon",
    "oxen_userdev",
    "oxen_console",
    "oxen_blkfront",
    "oxen_netfront",
];

/// Loads them all, the shell way.
pub const LOAD_ALL: &str =
    "for m in oxen_xen_core oxen_evtchn oxen_time oxen_grant_table oxen_xenbus oxen_control \
     oxen_balloon oxen_userdev oxen_console oxen_blkfront oxen_netfront; do /sbin/modprobe $m || exit 1; done";

/// Unloads them all; every one must go.
pub const UNLOAD_ALL: &str =
    "for m in oxen_netfront oxen_blkfront oxen_console oxen_userdev oxen_balloon oxen_control \
     oxen_xenbus oxen_grant_table oxen_time oxen_evtchn oxen_xen_core; do \
     [ ! -d /sys/module/$m ] || /sbin/modprobe -r $m || exit 1; done; ! lsmod | grep oxen_";

/// Folder with the modules under test.
pub fn modules() -> PathBuf {
    match env::var_os("MODULES").filter(|dir| !dir.is_empty()) {
        Some(dir) => dir.into(),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../build/modules")),
    }
}

/// The file of one of our modules.
///
/// # Errors
///
/// When it was not built.
pub fn module(name: &str) -> Result<PathBuf> {
    let file = modules().join(format!("{name}.ko"));
    ensure!(file.is_file(), "there is no {}", file.display());
    Ok(file)
}

/// Whether guests boot the kernel with KASAN and lockdep (`make torture`) and not Debian's.
pub fn checking_kernel() -> bool {
    env::var_os("OXEN_TORTURE").is_some()
}

/// One round of many: an error tells which it was.
///
/// # Errors
///
/// Those of `body`.
pub fn round(number: u64, body: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    body().map_err(|why| why.context(format!("round {number}")))
}

/// Adds to an error, below it, what explains it: the guest's own log or, when it is silent, what dom0 and Xen know of
/// it. A silent guest is given up.
pub fn explain(why: Error, machine: &Companion, guest: &Domain) -> Error {
    let log = match guest.try_sh("dmesg | tail -n 60", BRIEF) {
        Ok(log) => format!("--- {}: dmesg\n{}", guest.name(), log.stdout),
        Err(_) => {
            guest.close();
            machine.report(Some(guest.name()))
        }
    };
    anyhow!("{why:#}\n{log}")
}
