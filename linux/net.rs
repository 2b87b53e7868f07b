// SPDX-License-Identifier: GPL-2.0

//! Network devices (C header: `include/linux/netdevice.h`).
//!
//! - [`device`]: a registered device with a driver's data, and the driver trait.
//! - [`napi`]: polling, one instance for each queue.
//! - [`queue`]: the stack's transmit queues: stop, wake, byte limits.
//! - [`skb`]: a packet as an owned value.
//! - [`page_pool`]: pages to receive into.
//! - [`features`]: what a device can do for the stack.
//! - [`ethtool`]: what `ethtool` shows of a device.

pub mod device;
mod ethtool;
pub mod features;
pub mod napi;
pub mod page_pool;
pub mod queue;
pub mod skb;

use crate::bindings;
use core::marker::PhantomData;

/// Softirqs do not run on this CPU as long as the value lives.
///
/// Data that a poll or a transmission locks is locked elsewhere only with one of these held, or the lock's holder
/// could be interrupted by them.
pub struct SoftirqsOff {
    /// Bound to the CPU: not to be sent to another thread.
    _not_send: PhantomData<*mut ()>,
}

impl SoftirqsOff {
    /// Keeps softirqs off. Not for use with hard interrupts off.
    #[expect(clippy::new_without_default)]
    pub fn new() -> Self {
        // SAFETY: May be called from process and softirq context; `drop` is the counterpart.
        unsafe { bindings::local_bh_disable() };
        Self {
            _not_send: PhantomData,
        }
    }
}

impl Drop for SoftirqsOff {
    fn drop(&mut self) {
        // SAFETY: `new` disabled them on this CPU.
        unsafe { bindings::local_bh_enable() };
    }
}
