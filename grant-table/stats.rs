// SPDX-License-Identifier: GPL-2.0

//! The counters in debugfs: `oxen/grants/counters`.

use crate::table::Table;
use kernel::{
    debugfs,
    fmt,
    prelude::*,
    sync::Arc, //
};

/// One look at the table.
pub(crate) struct Counts {
    /// Frames mapped.
    pub(crate) frames: u32,
    /// Frames that Xen lets us have.
    pub(crate) max_frames: usize,
    /// References that drivers hold, granted or not.
    pub(crate) in_use: usize,
    /// Entries through which a peer may reach a page right now.
    pub(crate) active: usize,
    /// References that nobody holds.
    pub(crate) free: usize,
    /// References whose peer did not let go.
    pub(crate) deferred: usize,
    /// References lost for want of memory.
    pub(crate) lost: usize,
}

/// What the file needs.
pub(crate) struct Stats(Arc<Table>);

/// Prints the counters, one a line.
fn show(stats: &Stats, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let counts = stats.0.counts();
    writeln!(f, "frames: {}", counts.frames)?;
    writeln!(f, "max_frames: {}", counts.max_frames)?;
    writeln!(f, "in_use: {}", counts.in_use)?;
    writeln!(f, "active: {}", counts.active)?;
    writeln!(f, "free: {}", counts.free)?;
    writeln!(f, "deferred: {}", counts.deferred)?;
    writeln!(f, "lost: {}", counts.lost)
}

/// The file.
pub(crate) fn file(
    dir: &debugfs::Dir,
    table: Arc<Table>,
) -> impl PinInit<debugfs::File<Stats>> + '_ {
    dir.read_callback_file(c"counters", Stats(table), &show)
}
