// SPDX-License-Identifier: GPL-2.0

//! Network devices (C header: `include/linux/netdevice.h`).
//!
//! - [`device`]: a device with a driver's data, and the driver trait.
//! - [`registration`]: a device that the stack knows.
//! - [`napi`]: polling, one instance for each queue.
//! - [`queue`]: the stack's transmit queues: stop, wake, byte limits.
//! - [`skb`]: a packet as an owned value.
//! - [`page_pool`]: pages to receive into.
//! - [`xdp`]: programs that look at received packets first.
//! - [`lock`]: locks that a poll and others share.
//! - [`features`]: what a device can do for the stack.
//! - [`rx_mode`]: what the stack wants to receive.
//! - [`ethtool`]: what `ethtool` shows of a device.

pub mod device;
mod ethtool;
pub mod features;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
pub mod lock;
pub mod napi;
pub mod page_pool;
pub mod queue;
pub mod registration;
pub mod rx_mode;
pub mod skb;
pub mod xdp;
