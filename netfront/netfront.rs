// SPDX-License-Identifier: GPL-2.0

//! Network device of a Xen guest: the frontend of the split network driver (Xen: `io/netif.h`).
//!
//! - [`frontend`]: a device's life, as its backend's state changes.
//! - [`interface`]: the device as the stack sees it.
//! - [`connection`]: rings and channels, made and given up.
//! - [`queue`]: a pair of rings with its poll and its events.
//! - [`tx`], [`rx`]: sending and receiving.
//! - [`counters`]: what a queue counts; [`ring`], [`shown`]: small things shared.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod connection;
mod counters;
mod frontend;
mod interface;
mod queue;
mod ring;
mod rx;
mod shown;
mod tx;

xenbus::module_xenbus_driver! {
    type: frontend::Frontend,
    name: "oxen_netfront",
    authors: ["Oxen developers"],
    description: "Xen network frontend",
    license: "GPL",
    alias: ["oxen:vif"],
}
