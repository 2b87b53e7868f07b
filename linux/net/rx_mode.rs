// SPDX-License-Identifier: GPL-2.0

//! What of what is on the line the stack wants to receive (C header: `include/linux/netdevice.h`).

use crate::bindings;
use core::{
    marker::PhantomData,
    ptr, //
};

/// Bytes of an Ethernet address.
const ADDRESS: usize = 6;

/// What a device should receive besides its own packets and those for everybody.
///
/// # Invariants
///
/// `dev` is an Ethernet device, valid for `'a`, and the lock of its lists of addresses is held as long.
pub struct RxMode<'a> {
    dev: *mut bindings::net_device,
    device: PhantomData<&'a ()>,
}

impl RxMode<'_> {
    /// # Safety
    ///
    /// `dev` is an Ethernet device. It is valid, and the lock of its lists of addresses is held, for `'a`.
    pub(super) unsafe fn of(dev: *mut bindings::net_device) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            dev,
            device: PhantomData,
        }
    }

    /// Whether somebody wants all multicast, or everything.
    pub fn wants_all(&self) -> bool {
        let all = bindings::net_device_flags_IFF_PROMISC | bindings::net_device_flags_IFF_ALLMULTI;
        // SAFETY: The device is valid. The flags may change while they are read, and whoever changes them calls again.
        let flags = unsafe { (&raw const (*self.dev).flags).read_volatile() };
        flags & all != 0
    }

    /// The groups that somebody is in, each once.
    pub fn groups(&self) -> impl Iterator<Item = [u8; ADDRESS]> + '_ {
        let mut last = ptr::null();
        core::iter::from_fn(move || {
            // SAFETY: The device is valid, and `last` is null or on its list, which cannot change: the lock is held by the
            // type invariant.
            let next = unsafe { bindings::netdev_next_mc_addr(self.dev, last) };
            if next.is_null() {
                return None;
            }
            last = next;
            // SAFETY: It is on the list, as above, and an address of Ethernet has so many bytes.
            Some(unsafe { (&raw const (*next).addr).cast::<[u8; ADDRESS]>().read() })
        })
    }
}
