// SPDX-License-Identifier: GPL-2.0

//! What debugfs shows of a disk.

use crate::{
    counters::NAMES,
    queue::{
        Load,
        Queue, //
    },
};
use abi::block::vbd::Vbd;
use kernel::{
    debugfs,
    fmt,
    prelude::*,
    str::CString,
    sync::Arc, //
};
use linux::{
    fmt::Shown,
    sync::counter::Counter, //
};

/// What the disk counts, in all queues together, and what each queue has.
struct Sums {
    connections: Arc<Counter>,
    queues: Arc<KVec<Arc<Queue>>>,
}

impl debugfs::Writer for Sums {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "connections: {}", *self.connections)?;
        for (number, name) in NAMES.iter().enumerate() {
            let counts = self.queues.iter().map(|queue| queue.counters().get(number));
            writeln!(f, "{name}: {}", counts.fold(0, u64::wrapping_add))?;
        }
        for (number, queue) in self.queues.iter().enumerate() {
            let Load {
                sent,
                held,
                parked,
                grants,
            } = queue.load();
            writeln!(
                f,
                "queue {number}: {sent} sent, {held} held back, {parked} parked, {grants} grants"
            )?;
        }
        Ok(())
    }
}

/// What each queue counts, in a column.
struct Table(Arc<KVec<Arc<Queue>>>);

impl debugfs::Writer for Table {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<16}", "queue")?;
        for number in 0..self.0.len() {
            write!(f, "{number:>16}")?;
        }
        writeln!(f)?;
        for (number, name) in NAMES.iter().enumerate() {
            write!(f, "{name:<16}")?;
            for queue in self.0.iter() {
                write!(f, "{:>16}", queue.counters().get(number))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The files in the debugfs directory of one disk, which go away with it.
pub(crate) struct Files {
    _sums: Pin<KBox<debugfs::File<Sums>>>,
    _table: Pin<KBox<debugfs::File<Table>>>,
    _dir: debugfs::Dir,
}

impl Files {
    /// Shows what is counted of `vbd`, and its queues.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        vbd: &Vbd,
        connections: Arc<Counter>,
        queues: Arc<KVec<Arc<Queue>>>,
    ) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("{}", Shown(vbd)))?;
        let dir = xen_core::debugfs_dir(&name).ok_or(ENODEV)?;
        let table = Table(queues.clone());
        let sums = Sums {
            connections,
            queues,
        };
        Ok(Self {
            _sums: KBox::pin_init(dir.read_only_file(c"blkfront", sums), GFP_KERNEL)?,
            _table: KBox::pin_init(dir.read_only_file(c"queues", table), GFP_KERNEL)?,
            _dir: dir,
        })
    }
}
