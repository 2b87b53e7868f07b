// SPDX-License-Identifier: GPL-2.0

//! The network interface protocol, seen from the frontend (Xen: `io/netif.h`).
//!
//! - [`wire`]: what lies in a slot of the transmit and receive rings.
//! - [`plan`]: how a packet to send is laid out in slots.
//! - [`tx`]: which grants and packets the backend holds, and what its answers may release.
//! - [`rx`]: received slots put together into packets that are safe to use.
//! - [`gso`]: segmentation as the two ends tell it to each other.
//! - [`share`]: how many queues there are; [`steering`]: which of them gets a packet that is received.
//! - [`multicast`]: which of it the backend passes on.
//! - [`merit`]: which events brought nothing.
//! - [`xdp`]: what a program that looks at received packets needs.
//! - [`mac`]: hardware addresses as the store spells them.
//! - [`features`]: what a backend offers and what is made of it.

pub mod features;
pub mod gso;
pub mod mac;
pub mod merit;
pub mod multicast;
pub mod patience;
pub mod plan;
pub mod rx;
pub mod share;
pub mod steering;
pub mod tx;
pub mod wire;
pub mod xdp;

pub use crate::types::PAGE_SIZE;

/// Slots of one ring in a page: a transmit slot has 12 bytes, a receive slot 8, and both rings
/// round down to this power of two.
pub const RING_SLOTS: usize = 256;

/// Most data slots of one packet, in either direction. Every backend takes as many.
pub const MAX_PACKET_SLOTS: usize = 18;

/// Bytes of an Ethernet header: the least that the first slot of a packet holds.
pub const ETHERNET_HEADER: usize = 14;

/// Largest packet that can be sent: its size goes into 16 bits.
pub const MAX_TX_SIZE: usize = 0xffff;
