// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/oxen`: the directory that all modules put their counters in.

use crate::{
    detect,
    platform, //
};
use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    prelude::*, //
};

kernel::sync::global_lock! {
    // SAFETY: Initialised at the start of the module's `init`.
    pub(crate) unsafe(uninit) static ROOT: Mutex<Option<Dir>> = None;
}

/// Makes a directory for a module's counters; it goes away on drop.
pub fn dir(name: &CStr) -> Option<Dir> {
    ROOT.lock().as_ref().map(|root| root.subdir(name))
}

/// What the file `xen` tells.
pub(crate) struct Facts;

fn show(_: &Facts, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(xen) = detect::found() {
        writeln!(f, "xen {}.{}", xen.version.major, xen.version.minor)?;
        writeln!(f, "hypercalls {:?}", xen.gate)?;
    }
    let apic = if detect::is_apic_virtualised() {
        "virtualised by hardware"
    } else {
        "emulated by Xen"
    };
    writeln!(f, "local apic {apic}")?;
    match platform::intx() {
        Some(pin) => writeln!(f, "platform device irq {}", pin.irq),
        None => writeln!(f, "platform device none"),
    }
}

/// Makes the file of this module.
pub(crate) fn file(root: &Dir) -> impl PinInit<File<Facts>> + '_ {
    root.read_callback_file(c"xen", Facts, &show)
}
