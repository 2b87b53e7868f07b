// SPDX-License-Identifier: GPL-2.0

//! The counters in debugfs: `oxen/grants/counters`.

use crate::table::Table;
use kernel::{
    debugfs,
    fmt,
    prelude::*,
    sync::Arc, //
};

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
