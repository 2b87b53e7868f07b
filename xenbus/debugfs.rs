// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/oxen/xenbus`: what the client has done, and which devices there are.

use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    prelude::*,
    sync::{
        atomic::ordering::Relaxed,
        Arc, //
    },
};

use crate::{
    bus::scan::Scan,
    store::{
        client::Client,
        text, //
    },
};

/// The files.
#[pin_data]
pub(crate) struct Files {
    #[pin]
    store: File<Arc<Client>>,
    #[pin]
    devices: File<Arc<Scan>>,
}

impl Files {
    /// Makes the files in `dir`.
    pub(crate) fn new(
        dir: &Dir,
        client: Arc<Client>,
        scan: Arc<Scan>,
    ) -> impl PinInit<Self, Error> + '_ {
        try_pin_init!(Self {
            store <- dir.read_callback_file(c"store", client, &show_store),
            devices <- dir.read_callback_file(c"devices", scan, &show_devices),
        }? Error)
    }
}

fn show_store(client: &Arc<Client>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let counters = &client.counters;
    let (waiting, abandoned) = client.state().outstanding.usage();
    writeln!(f, "requests {}", counters.requests.load(Relaxed))?;
    writeln!(f, "replies {}", counters.replies.load(Relaxed))?;
    writeln!(f, "waiting {waiting}")?;
    writeln!(f, "abandoned {abandoned}")?;
    writeln!(f, "timeouts {}", counters.timeouts.load(Relaxed))?;
    writeln!(f, "late_replies {}", counters.late.load(Relaxed))?;
    writeln!(f, "transactions {}", client.transactions().taken())?;
    writeln!(f, "transactions_undone {}", counters.undone.load(Relaxed))?;
    writeln!(f, "watches {}", client.watches().count())?;
    writeln!(f, "watch_events {}", counters.events.load(Relaxed))?;
    writeln!(f, "stray_watch_events {}", counters.strays.load(Relaxed))?;
    writeln!(f, "interrupts {}", client.doorbell().events())?;
    writeln!(f, "faults {}", counters.violations.load(Relaxed))?;
    writeln!(f, "reconnects {}", counters.reconnects.load(Relaxed))
}

fn show_devices(scan: &Arc<Scan>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "scans {}", scan.scans())?;
    let mut result = Ok(());
    scan.for_each(|slot| {
        let Some(device) = slot.device() else {
            return;
        };
        result = result.and_then(|()| {
            writeln!(
                f,
                "{} {} {} backend {} {}",
                text(device.nodename()),
                device.state().name(),
                device.otherend_state().name(),
                device.otherend_id().0,
                text(&device.otherend()),
            )
        });
    });
    result
}
