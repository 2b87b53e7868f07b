// SPDX-License-Identifier: GPL-2.0

//! What a disk has counted, shown in debugfs.

use crate::show::Shown;
use abi::block::vbd::Vbd;
use kernel::{
    debugfs, fmt,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

/// One number that only grows.
pub(crate) struct Counter(Atomic<u64>);

impl Counter {
    const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Counts one.
    pub(crate) fn count(&self) {
        self.0.add(1, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What the file reads.
struct Source(Arc<Counters>);

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one disk.
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) const fn new() -> Self {
                Self { $($name: Counter::new(),)* }
            }
        }

        impl debugfs::Writer for Source {
            fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{}: {}", stringify!($name), self.0.$name.get())?;)*
                Ok(())
            }
        }
    };
}

counters! {
    /// Requests written into a ring.
    requests,
    /// Of these, those with indirect descriptors.
    indirect,
    /// Of these, flushes.
    flushes,
    /// Notifications sent.
    notifications,
    /// Events received.
    events,
    /// Events that brought no response.
    spurious,
    /// Requests that the backend failed.
    errors,
    /// Requests that went out in more than one part.
    partial,
    /// Times that a queue waited for room in the ring or for grants.
    waits,
    /// Answered requests whose pages the backend still had mapped, and which were held back.
    held,
    /// Pages that were left to the backend at the end of a connection, to be freed when it lets go.
    deferred,
    /// Times that a request was with the backend for longer than the time limit.
    timeouts,
    /// Rings that broke the rules.
    broken,
    /// Connections made.
    connections,
    /// Requests offered again after a connection was lost.
    requeued,
    /// Requests failed because the disk went away.
    abandoned,
}

/// The file `blkfront` in the debugfs directory of one disk, which goes away with it.
pub(crate) struct CountersFile {
    _file: Pin<KBox<debugfs::File<Source>>>,
    _dir: debugfs::Dir,
}

impl CountersFile {
    /// Shows the counters of `vbd`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(vbd: &Vbd, counters: Arc<Counters>) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("{}", Shown(vbd)))?;
        let dir = xen_core::debugfs_dir(&name).ok_or(ENODEV)?;
        let file = KBox::pin_init(
            dir.read_only_file(c"blkfront", Source(counters)),
            GFP_KERNEL,
        )?;
        Ok(Self {
            _file: file,
            _dir: dir,
        })
    }
}
