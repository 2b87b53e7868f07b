// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/oxen/balloon/size`: how large the guest is and shall be, and what went wrong.

use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    prelude::*,
    sync::Arc, //
};

use crate::size::Size;

/// The file, until it is dropped.
pub(crate) struct CountersFile {
    _file: Pin<KBox<File<Arc<Size>>>>,
    _dir: Dir,
}

impl CountersFile {
    /// Shows `size`.
    ///
    /// # Errors
    ///
    /// `ENODEV` without debugfs, `ENOMEM`.
    pub(crate) fn new(size: Arc<Size>) -> Result<Self> {
        let dir = xen_core::debugfs_dir(c"balloon").ok_or(ENODEV)?;
        let file = KBox::pin_init(dir.read_callback_file(c"size", size, &show), GFP_KERNEL)?;
        Ok(Self {
            _file: file,
            _dir: dir,
        })
    }
}

fn show(size: &Arc<Size>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let numbers = size.numbers();
    writeln!(f, "managed: {}", numbers.managed)?;
    writeln!(f, "away: {}", numbers.away)?;
    writeln!(f, "wanted away: {}", numbers.wanted)?;
    writeln!(f, "short: {}", size.short.get())?;
    writeln!(f, "refused: {}", size.refused.get())?;
    writeln!(f, "relieved: {}", size.relieved.get())
}
