// SPDX-License-Identifier: GPL-2.0

//! The stack's transmit queues (C header: `include/linux/netdevice.h`).

use crate::bindings;
use core::marker::PhantomData;

/// A transmit queue of a device.
///
/// # Invariants
///
/// `raw` is valid for `'a`.
#[derive(Clone, Copy)]
pub struct TxQueue<'a> {
    raw: *mut bindings::netdev_queue,
    device: PhantomData<&'a ()>,
}

impl<'a> TxQueue<'a> {
    /// Gives transmit queue `index` of a device.
    ///
    /// # Safety
    ///
    /// `dev` is valid for `'a` and has that many queues.
    pub(super) unsafe fn of(dev: *mut bindings::net_device, index: u32) -> Self {
        Self {
            // SAFETY: By the safety requirements.
            raw: unsafe { bindings::netdev_get_tx_queue(dev, index) },
            device: PhantomData,
        }
    }

    /// Asks the stack to send no more on this queue.
    pub fn stop(self) {
        // SAFETY: The queue is valid by the type invariant.
        unsafe { bindings::netif_tx_stop_queue(self.raw) }
    }

    /// Lets the stack send on this queue again.
    pub fn wake(self) {
        // SAFETY: The queue is valid by the type invariant.
        unsafe { bindings::netif_tx_wake_queue(self.raw) }
    }

    /// Whether the queue is stopped, by the driver or by its byte limit.
    pub fn stopped(self) -> bool {
        // SAFETY: The queue is valid by the type invariant.
        unsafe { bindings::netif_tx_queue_stopped(self.raw) }
    }

    /// Counts a packet as sent. `more`: the stack has another one at hand.
    ///
    /// Returns whether the device should be told now.
    pub fn sent(self, bytes: usize, more: bool) -> bool {
        // SAFETY: The queue is valid by the type invariant.
        // CAST: A packet is far below 4 GiB.
        unsafe { bindings::__netdev_tx_sent_queue(self.raw, bytes as u32, more) }
    }

    /// Counts packets as done. They must have been counted as [`sent`](Self::sent) since the last reset.
    pub fn completed(self, packets: usize, bytes: usize) {
        // SAFETY: The queue is valid by the type invariant.
        // CAST: What a ring holds is far below 4 GiB.
        unsafe { bindings::netdev_tx_completed_queue(self.raw, packets as u32, bytes as u32) }
    }

    /// Sets what the byte limit does not go below.
    pub fn set_min_limit(self, bytes: u32) {
        // SAFETY: The queue is valid by the type invariant.
        unsafe { bindings::netdev_queue_set_dql_min_limit(self.raw, bytes) }
    }

    /// Forgets all packets that were counted as sent: they will never be done.
    pub fn reset(self) {
        // SAFETY: The queue is valid by the type invariant.
        unsafe { bindings::netdev_tx_reset_queue(self.raw) }
    }
}
