// SPDX-License-Identifier: GPL-2.0

//! How a device gets a program, and frames of other devices (C header: `include/linux/netdevice.h`, `ndo_bpf`).

use super::{
    frame::Frames,
    program::Program,
    reason::Reason, //
};
use crate::{
    bindings,
    cpu,
    error::ENETDOWN,
    net::device::{
        Device,
        Driver, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::from_result,
    prelude::*, //
};

/// The functions of a driver, as C calls them.
pub(in crate::net) struct Vtable<T>(PhantomData<T>);

impl<T: Driver> Vtable<T> {
    /// # Safety
    ///
    /// Called by the stack with the RTNL held, for a device of `T`.
    pub(in crate::net) unsafe extern "C" fn bpf(
        dev: *mut bindings::net_device,
        bpf: *mut bindings::netdev_bpf,
    ) -> i32 {
        // SAFETY: By the safety requirements.
        let (dev, bpf) = unsafe { (Device::<T>::from_raw(dev), &*bpf) };
        let mut raw = core::ptr::null_mut();
        // SAFETY: The structure is valid.
        if !unsafe { bindings::netdev_bpf_program(bpf, &mut raw) } {
            return EINVAL.to_errno();
        }
        let raw = NonNull::new(raw);
        // SAFETY: The program is the caller's, who has a reference.
        let program = raw.map(|raw| unsafe { Program::get(raw) });
        // SAFETY: The device is valid.
        if !unsafe { bindings::netdev_is_registered(dev.raw()) } {
            // It is being taken away, and the program with it.
            dev.put_program(None);
            return 0;
        }
        from_result(|| {
            dev.driver().set_program(dev, program, Reason::new(bpf))?;
            if let Some(raw) = raw {
                // The caller gives its reference away when this succeeds. The queues have theirs.
                // SAFETY: As just said.
                unsafe { bindings::bpf_prog_release(raw.as_ptr()) };
            }
            dev.limit_mtu();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called in softirq context for a device of `T`, with `count` frames, of which those are given away that the result
    /// counts.
    pub(in crate::net) unsafe extern "C" fn xmit(
        dev: *mut bindings::net_device,
        count: i32,
        frames: *mut *mut bindings::xdp_frame,
        flags: u32,
    ) -> i32 {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: The function has no requirements.
        if !unsafe { bindings::xdp_flags_are_known(flags) } {
            return EINVAL.to_errno();
        }
        // Queue n belongs to the CPUs n, n + queues, …
        let index = (cpu::current() as usize).checked_rem(dev.queue_count());
        let index = index.unwrap_or(0);
        let (Some(napi), Some(queue)) = (dev.queues().get(index), dev.tx_queue(index)) else {
            return ENETDOWN.to_errno();
        };
        // SAFETY: By the safety requirements. CAST: Not negative.
        let mut frames = unsafe {
            Frames::new(core::slice::from_raw_parts(
                frames.cast_const(),
                count as usize,
            ))
        };
        T::xmit_frames(napi, queue, &mut frames);
        // CAST: At most `count`.
        frames.taken() as i32
    }
}
