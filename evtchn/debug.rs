// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/oxen/evtchn/ports`: the layout, the upcalls of each CPU, and each port that is listened to.

use crate::events::Events;
use kernel::{
    debugfs::{
        File,
        Writer, //
    },
    fmt,
    prelude::*,
    sync::Arc, //
};

/// How CPUs are interrupted.
pub(crate) struct Ways {
    pub(crate) upcall: &'static str,
    pub(crate) ipi: &'static str,
}

/// What the file tells.
pub(crate) struct Report {
    events: Arc<Events>,
    ways: Ways,
}

impl Report {
    /// Makes the file; none if there is no debugfs.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn file(events: Arc<Events>, ways: Ways) -> Result<Option<Pin<KBox<File<Self>>>>> {
        let Some(dir) = xen_core::debugfs_dir(c"evtchn") else {
            return Ok(None);
        };
        let file = KBox::pin_init(
            dir.read_only_file(c"ports", Self { events, ways }),
            GFP_KERNEL,
        )?;
        Ok(Some(file))
    }
}

impl Writer for Report {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "layout {}", self.events.layout().name())?;
        writeln!(f, "upcall {}", self.ways.upcall)?;
        writeln!(f, "ipi {}", self.ways.ipi)?;
        for cpu in linux::cpu::online() {
            if let Some((upcalls, ports)) = self.events.counts(cpu) {
                writeln!(f, "cpu {cpu} upcalls {upcalls} ports {ports}")?;
            }
        }
        let mut bound = 0u32;
        let mut result = Ok(());
        self.events.each_port(|port| {
            bound = bound.saturating_add(1);
            if result.is_ok() {
                result = port.show(f);
            }
        });
        result?;
        writeln!(f, "bound {bound}")
    }
}
