// SPDX-License-Identifier: GPL-2.0

//! What a console has counted, shown in debugfs.

use kernel::{
    debugfs,
    fmt,
    sync::Arc, //
};
use linux::sync::counter::Counter;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one console.
        #[derive(Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: Counter,)*
        }

        impl<T: AsRef<Counters> + Send + Sync> debugfs::Writer for Source<T> {
            fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let counters = (*self.0).as_ref();
                $(writeln!(f, "{}: {}", stringify!($name), counters.$name)?;)*
                Ok(())
            }
        }
    };
}

counters! {
    /// Connections that were made.
    connections,
    /// Bytes of input.
    bytes_in,
    /// Bytes of output.
    bytes_out,
    /// Events received.
    events,
    /// Events without work.
    spurious,
    /// Times that output waited for room.
    full,
    /// Notifications of output.
    notified,
    /// Times that output was dropped, or left to a later try of the tty layer.
    stalled,
    /// Impossible indices of the backend's.
    bad_index,
}

/// The counters of a console, as a file of debugfs.
pub(crate) struct Source<T>(pub(crate) Arc<T>);
