// SPDX-License-Identifier: GPL-2.0

//! What a queue counts.

use linux::sync::counter::Counter;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one queue.
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: Counter,)*
        }

        /// Their names.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name),)*];

        impl Counters {
            pub(crate) const fn new() -> Self {
                Self { $($name: Counter::new(),)* }
            }

            /// The counter of a name's number.
            pub(crate) fn get(&self, number: usize) -> u64 {
                [$(&self.$name,)*].get(number).map_or(0, |counter| counter.get())
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
    /// Segments of data in them.
    segments,
    /// Notifications sent.
    notifications,
    /// Events received.
    events,
    /// Events that brought no response.
    spurious,
    /// Responses taken.
    responses,
    /// Requests that the backend failed.
    errors,
    /// Requests that the backend does not know, although it offered them.
    refused,
    /// Requests that went out in more than one part.
    partial,
    /// Times that the queue waited for room in the ring or for grants.
    waits,
    /// Bytes copied to and from pages of our own.
    copied,
    /// Answered requests whose pages the backend still had mapped, and which were held back.
    held,
    /// Pages of requests that were left to the backend at the end of a connection, to be freed when it lets go.
    deferred,
    /// Times that a request was with the backend for longer than the time limit.
    timeouts,
    /// Rings that broke the rules.
    broken,
    /// Requests offered again after a connection was lost.
    requeued,
    /// Requests failed because the disk went away.
    abandoned,
}
