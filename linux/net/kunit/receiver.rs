// SPDX-License-Identifier: GPL-2.0

//! The other end of the loop: receives the packets of the tests as the stack hands them to a protocol.

use super::{
    super::{
        device::Device,
        skb::{
            SkBuff,
            ETHERNET_HEADER, //
        }, //
    },
    pattern,
    Loop,
    PROTOCOL, //
};
use crate::{
    bindings,
    testing::Steps, //
};
use core::{
    mem::MaybeUninit,
    ptr,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};

/// Who receives the test's packets of a device.
pub(super) struct Receiver {
    hook: KBox<Opaque<bindings::packet_type>>,
    pub(super) seen: KBox<Seen>,
}

/// What was received.
pub(super) struct Seen {
    pub(super) packets: Arc<Steps>,
    pub(super) bytes: Atomic<usize>,
    pub(super) wrong: Atomic<u32>,
}

impl Receiver {
    pub(super) fn new(dev: &Device<Loop>) -> Result<Self> {
        let seen = Seen {
            packets: Steps::new()?,
            bytes: Atomic::new(0),
            wrong: Atomic::new(0),
        };
        let seen = KBox::new(seen, GFP_KERNEL)?;
        // SAFETY: All fields may be zero.
        let mut hook: bindings::packet_type = unsafe { MaybeUninit::zeroed().assume_init() };
        hook.type_ = u16::from_ne_bytes(PROTOCOL);
        hook.dev = dev.raw();
        hook.func = Some(Self::receive);
        hook.af_packet_priv = ptr::from_ref(&*seen).cast_mut().cast();
        let hook = KBox::new(Opaque::new(hook), GFP_KERNEL)?;
        // SAFETY: Both boxes live until the hook has been taken off in `drop`.
        unsafe { bindings::dev_add_pack(hook.get()) };
        Ok(Self { hook, seen })
    }

    /// # Safety
    ///
    /// Called by the stack for a packet, with the `hook` of a live `Receiver`.
    unsafe extern "C" fn receive(
        skb: *mut bindings::sk_buff,
        _dev: *mut bindings::net_device,
        hook: *mut bindings::packet_type,
        _orig: *mut bindings::net_device,
    ) -> i32 {
        // SAFETY: By the safety requirements.
        let seen = unsafe { &*(*hook).af_packet_priv.cast::<Seen>() };
        let mut rest = [0u8; 64];
        let mut offset = 0;
        // SAFETY: The packet is valid.
        let len = unsafe { (*skb).len } as usize;
        while offset < len {
            let part = rest.len().min(len - offset);
            // SAFETY: The packet is valid, and there is room for the part.
            let copied = unsafe {
                bindings::skb_copy_bits(skb, offset as i32, rest.as_mut_ptr().cast(), part as i32)
            };
            let right = rest
                .iter()
                .take(part)
                .enumerate()
                .all(|(i, byte)| *byte == pattern(ETHERNET_HEADER + offset + i));
            if copied != 0 || !right {
                seen.wrong.add(1, Relaxed);
            }
            offset += part;
        }
        seen.bytes.add(len + ETHERNET_HEADER, Relaxed);
        if let Some(skb) = NonNull::new(skb) {
            // SAFETY: The stack hands its reference over.
            unsafe { SkBuff::from_raw(skb) }.consume(0);
        }
        seen.packets.step();
        0
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // SAFETY: It was added in `new`. This waits until no CPU is in it.
        unsafe { bindings::dev_remove_pack(self.hook.get()) };
    }
}
