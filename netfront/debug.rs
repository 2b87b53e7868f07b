// SPDX-License-Identifier: GPL-2.0

//! The counters of a device in debugfs.

use crate::{
    counters::NAMES,
    queue::Queue, //
};
use kernel::{
    debugfs::File,
    fmt,
    prelude::*,
    str::CString,
    sync::Arc, //
};
use linux::net::napi::Napi;

/// The counters of a device in debugfs: `oxen/vif-0/counters`. Dropping it takes them away.
pub(crate) struct CountersFile {
    _file: Pin<KBox<File<Queues>>>,
}

/// What the file shows.
struct Queues(KVec<Arc<Napi<Queue>>>);

impl CountersFile {
    /// Makes the file. A device does without it if that fails.
    pub(crate) fn new(dev: &xenbus::Device, queues: &[Arc<Napi<Queue>>]) -> Option<Self> {
        let name = CString::try_from_fmt(fmt!("vif-{}", dev.id().ok()?)).ok()?;
        let dir = xen_core::debugfs_dir(&name)?;
        let mut list = KVec::with_capacity(queues.len(), GFP_KERNEL).ok()?;
        for napi in queues {
            list.push_within_capacity(napi.clone()).ok()?;
        }
        let file = dir.read_callback_file(c"counters", Queues(list), &show);
        Some(Self {
            _file: KBox::pin_init(file, GFP_KERNEL).ok()?,
        })
    }
}

/// Prints the counters, one a line.
fn show(queues: &Queues, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for napi in &queues.0 {
        for (number, name) in NAMES.iter().enumerate() {
            let name = name.to_str().unwrap_or("?");
            let value = napi.counters.by_number(number);
            writeln!(f, "queue_{}_{name}: {value}", napi.index())?;
        }
    }
    Ok(())
}
