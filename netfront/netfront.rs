// SPDX-License-Identifier: GPL-2.0

//! Network device of a Xen guest: the frontend of the split network driver (Xen: `io/netif.h`).
//!
//! - [`frontend`]: a device's life, as its backend's state changes.
//! - [`interface`]: the device as the stack sees it.
//! - [`connection`]: rings and channels, made and given up.
//! - [`queue`]: a pair of rings with its poll and its events; [`queue::groups`]: which multicast the backend passes on.
//! - [`tx`]: sending: who is told when; [`outbox`]: packets as slots; [`cells`], [`loan`], [`marks`]: what the
//!   backend gets of them.
//! - [`rx`]: receiving packets.
//! - [`programs`]: whether they go through a program first.
//! - [`steering`]: how they are spread over the queues; [`control`]: how the backend is told.
//! - [`counters`]: what a queue counts.

mod cells;
mod connection;
mod control;
mod counters;
mod debug;
mod frontend;
mod given;
mod interface;
mod loan;
mod marks;
mod outbox;
mod programs;
mod queue;
mod rx;
mod steering;
mod tx;

xenbus::module_xenbus_driver! {
    type: frontend::Frontend,
    name: "oxen_netfront",
    authors: ["Oxen developers"],
    description: "Xen network frontend",
    license: "GPL",
    alias: ["oxen:vif"],
}
