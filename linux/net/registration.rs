// SPDX-License-Identifier: GPL-2.0

//! Ethernet devices that the stack knows (C header: `include/linux/netdevice.h`).

use super::{
    device::{
        Config,
        Device,
        Driver,
        Mtu,
        Private,
        Vtable, //
    },
    ethtool,
    napi::Napi,
    xdp::attach, //
};
use crate::bindings;
use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    device,
    error::to_result,
    prelude::*, //
};

/// A registered device. Dropping it takes the interface away.
///
/// # Invariants
///
/// The device is registered and owned by this value.
pub struct Registration<T: Driver> {
    dev: NonNull<Device<T>>,
}

// SAFETY: A device may be used from any thread.
unsafe impl<T: Driver> Send for Registration<T> {}
// SAFETY: As above.
unsafe impl<T: Driver> Sync for Registration<T> {}

/// A device that is not registered, to be freed.
struct Allocated<T: Driver>(NonNull<Device<T>>);

impl<T: Driver> Drop for Allocated<T> {
    fn drop(&mut self) {
        // SAFETY: The device is valid and not registered, so nobody uses it.
        let dev = unsafe { self.0.as_ref() };
        // SAFETY: The place is there by the type invariant of the device.
        let place = unsafe { bindings::netdev_priv(dev.raw()).cast::<*mut Private<T>>() };
        // SAFETY: It is either null or a pinned box that `Registration::new` gave away.
        let private = unsafe { (*place).as_mut() };
        if let Some(private) = private {
            for napi in &private.queues {
                napi.detach();
            }
            // SAFETY: As above; nobody uses the device any more.
            drop(unsafe { Pin::new_unchecked(KBox::from_raw(private)) });
        }
        // SAFETY: The device is not registered, and its queues are off it.
        unsafe { bindings::free_netdev(self.0.as_ptr().cast()) }
    }
}

impl<T: Driver> Registration<T> {
    /// The table of functions of the driver.
    const NETDEV: bindings::net_device_ops = bindings::net_device_ops {
        ndo_bpf: Some(attach::Vtable::<T>::bpf),
        ndo_xdp_xmit: Some(attach::Vtable::<T>::xmit),
        ..Vtable::<T>::NETDEV
    };

    /// Makes a device `eth*` with `driver` as its data and as many queues as `config` says, of which the stack uses one at
    /// first, and registers it.
    ///
    /// # Errors
    ///
    /// Memory is short, the address is taken, or one of the initialisers failed.
    pub fn new<I, Q>(
        parent: &device::Device,
        config: &Config,
        driver: I,
        mut queue: impl FnMut(u32) -> Q,
    ) -> Result<Self>
    where
        I: PinInit<T, Error>,
        Q: PinInit<T::Queue, Error>,
    {
        let size = core::mem::size_of::<*mut Private<T>>() as i32;
        // SAFETY: Plain allocation; the private area comes zeroed.
        let raw = unsafe { bindings::alloc_etherdev_mqs(size, config.queues, config.queues) };
        let dev = NonNull::new(raw.cast::<Device<T>>()).ok_or(ENOMEM)?;
        let allocated = Allocated(dev);

        let mut queues = KVec::with_capacity(config.queues as usize, GFP_KERNEL)?;
        for index in 0..config.queues {
            // SAFETY: `Allocated` detaches every queue that it knows before it frees the device. Until it knows them,
            // a queue detaches itself when it is dropped, which is before `allocated` is.
            let napi = unsafe { Napi::new(raw, index, queue(index)) }?;
            queues.push(napi, GFP_KERNEL)?;
        }
        let private = KBox::pin_init(
            try_pin_init!(Private {
                queues,
                mtu: Mtu::new(),
                driver <- driver,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: Nobody else uses the device yet. The box stays pinned until the device is freed.
        unsafe {
            let place = bindings::netdev_priv(raw).cast::<*mut Private<T>>();
            *place = KBox::into_raw(Pin::into_inner_unchecked(private));
        }

        // SAFETY: It is complete but for what follows.
        let device = unsafe { Device::<T>::from_raw(raw) };
        device.queues().iter().for_each(|napi| napi.enable());
        let all = (config.hw_features & !config.off_features) | config.fixed_features;
        // SAFETY: Nobody else uses the device yet. Both tables are static. The parent outlives its children.
        unsafe {
            bindings::set_netdev_dev(raw, core::ptr::from_ref(parent).cast_mut().cast());
            bindings::netdev_set_flags(raw);
            bindings::eth_hw_addr_set(raw, config.mac.as_ptr());
            (*raw).netdev_ops = &Self::NETDEV;
            bindings::xdp_set_features(raw);
            (*raw).ethtool_ops = ethtool::vtable::<T>();
            (*raw).hw_features |= config.hw_features.0;
            (*raw).features |= all.0;
            (*raw).min_mtu = bindings::ETH_MIN_MTU;
            (*raw).max_mtu = device.driver().max_mtu(device);
            (*raw).mtu = config.mtu;
            (*raw).watchdog_timeo = bindings::__msecs_to_jiffies(config.tx_timeout) as i32;
            // CAST: A packet is far below 4 GiB.
            bindings::netif_set_tso_max_size(raw, config.tso_max_size as u32);
            bindings::netif_carrier_off(raw);
        }
        // The driver says how many are used.
        // SAFETY: Nobody else uses the device yet.
        to_result(unsafe { bindings::netif_set_real_num_queues(raw, 1, 1) })?;
        // SAFETY: The device is complete.
        to_result(unsafe { bindings::register_netdev(raw) })?;
        core::mem::forget(allocated);
        // INVARIANT: Registered, and ours.
        Ok(Self { dev })
    }
}

impl<T: Driver> Deref for Registration<T> {
    type Target = Device<T>;

    fn deref(&self) -> &Device<T> {
        // SAFETY: By the type invariant.
        unsafe { self.dev.as_ref() }
    }
}

impl<T: Driver> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. This brings the device down and waits for all users.
        unsafe { bindings::unregister_netdev(self.dev.as_ptr().cast()) };
        drop(Allocated(self.dev));
    }
}
