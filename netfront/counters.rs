// SPDX-License-Identifier: GPL-2.0

//! What a queue counts, for `ethtool -S`, the interface's statistics and [debugfs](crate::debug).

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Defines the counters with their names, in one order.
macro_rules! counters {
    ($($(#[$meta:meta])* $name:ident = $text:literal,)*) => {
        /// A counter of a queue.
        #[derive(Clone, Copy)]
        #[repr(usize)]
        pub(crate) enum Counter {
            $($(#[$meta])* $name,)*
        }

        /// Names of all counters, by their number.
        pub(crate) const NAMES: &[&CStr] = &[$($text,)*];

        impl Counters {
            /// All zero.
            pub(crate) const fn new() -> Self {
                Self([$({ let _ = Counter::$name; Atomic::new(0) },)*])
            }
        }
    };
}

counters! {
    /// Packets handed to the backend.
    TxPackets = c"tx_packets",
    /// Bytes of them.
    TxBytes = c"tx_bytes",
    /// Ring slots that they took.
    TxSlots = c"tx_slots",
    /// Notifications sent for them.
    TxNotified = c"tx_notified",
    /// Packets not sent: malformed, or no memory or no connection.
    TxDropped = c"tx_dropped",
    /// Slots that the backend answered with an error.
    TxErrors = c"tx_errors",
    /// Packets copied to pages of ours, whole or only their front.
    TxCopied = c"tx_copied",
    /// Slots that the backend answered but still had mapped.
    TxDeferred = c"tx_deferred",
    /// Times that the stack found the queue stuck.
    TxTimeouts = c"tx_timeouts",
    /// Connections given up because the backend took no packet.
    TxIgnored = c"tx_ignored",
    /// Packets received.
    RxPackets = c"rx_packets",
    /// Bytes of them.
    RxBytes = c"rx_bytes",
    /// Ring slots that came back.
    RxSlots = c"rx_slots",
    /// Packets copied whole, so that their page went back as it was.
    RxCopied = c"rx_copied",
    /// Notifications sent for new receive pages.
    RxNotified = c"rx_notified",
    /// Packets lost because memory was short.
    RxDropped = c"rx_dropped",
    /// Packets that came malformed.
    RxErrors = c"rx_errors",
    /// Pages that the backend gave back but still used.
    RxDeferred = c"rx_deferred",
    /// Packets that went through a program.
    XdpPackets = c"xdp_packets",
    /// Of them, those that it dropped.
    XdpDrop = c"xdp_drop",
    /// Those that it sent back to the backend.
    XdpTx = c"xdp_tx",
    /// Those that could not be sent back.
    XdpTxErrors = c"xdp_tx_errors",
    /// Packets that it sent elsewhere.
    XdpRedirect = c"xdp_redirect",
    /// Packets lost because a program failed, or could not be given them.
    XdpErrors = c"xdp_errors",
    /// Frames that other devices sent.
    XdpXmit = c"xdp_xmit",
    /// Events from the backend.
    Events = c"events",
    /// Events that brought nothing.
    Spurious = c"spurious",
    /// Polls.
    Polls = c"polls",
    /// Times that the backend broke the rules of a ring.
    Broken = c"broken",
}

/// The counters of a queue. Each is added to by one CPU at a time: under the lock of a ring, by the poll or by the handler of
/// events.
pub(crate) struct Counters([Atomic<u64>; NAMES.len()]);

impl Counters {
    /// Adds to a counter.
    pub(crate) fn add(&self, counter: Counter, n: usize) {
        if let Some(value) = self.0.get(counter as usize).filter(|_| n != 0) {
            // Not one step, which would cost as much as all the rest.
            value.store(value.load(Relaxed).wrapping_add(n as u64), Relaxed);
        }
    }

    /// The value of a counter.
    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.by_number(counter as usize)
    }

    /// The value of a counter by its number; 0 if there is none.
    pub(crate) fn by_number(&self, number: usize) -> u64 {
        self.0.get(number).map_or(0, |value| value.load(Relaxed))
    }
}

#[kunit_tests(oxen_netfront_counters)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_a_place_of_its_own() {
        let counters = Counters::new();
        counters.add(Counter::RxBytes, 1500);
        counters.add(Counter::RxBytes, 60);
        counters.add(Counter::Broken, 1);
        counters.add(Counter::Polls, 0);
        assert_eq!(counters.get(Counter::RxBytes), 1560);
        assert_eq!(counters.get(Counter::Broken), 1);
        assert_eq!(counters.get(Counter::Polls), 0);
        assert_eq!(counters.by_number(NAMES.len()), 0);
    }
}
