// SPDX-License-Identifier: GPL-2.0

//! Ethernet devices (C header: `include/linux/netdevice.h`).

use super::{
    ethtool,
    features::Features,
    napi::{
        Napi,
        Poll, //
    },
    queue::TxQueue,
    skb::SkBuff,
};
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    device,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// What became of a packet that the stack wants to send.
pub enum Xmit {
    /// It was sent or dropped.
    Done,
    /// There is no room: the stack shall keep it, and the queue has been stopped.
    Busy(SkBuff),
}

/// Counters of a device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets that came malformed.
    pub rx_errors: u64,
    /// Good packets lost, as memory was short.
    pub rx_dropped: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that the other side did not take.
    pub tx_errors: u64,
    /// Packets not sent.
    pub tx_dropped: u64,
}

/// A driver of Ethernet devices.
pub trait Driver: Send + Sync + Sized + 'static {
    /// Name, as `ethtool -i` shows it.
    const NAME: &'static CStr;

    /// Names of the counters that each queue has.
    const QUEUE_STATS: &'static [&'static CStr];

    /// A queue: one for each transmit queue and poll.
    type Queue: Poll;

    /// The device is brought up. Polls are enabled already.
    fn open(&self, dev: &Device<Self>) -> Result;

    /// The device is brought down. No transmission runs, and polls are disabled afterwards.
    fn stop(&self, dev: &Device<Self>);

    /// Sends a packet. `more` says that another one follows at once, so that the other side need not be told yet.
    ///
    /// Softirq context or with softirqs off, one at a time for each queue.
    fn start_xmit(napi: &Napi<Self::Queue>, queue: TxQueue<'_>, skb: SkBuff, more: bool) -> Xmit;

    /// A stopped queue has sent nothing for a while.
    fn tx_timeout(&self, dev: &Device<Self>, queue: usize);

    /// Narrows the features that the user wants down to what is possible now.
    fn fix_features(&self, dev: &Device<Self>, wanted: Features) -> Features;

    /// Largest MTU that is possible now.
    fn max_mtu(&self, dev: &Device<Self>) -> u32;

    /// Counters. May be called in any context.
    fn stats(&self, dev: &Device<Self>) -> Stats;

    /// Value of a counter of a queue, by its index in [`QUEUE_STATS`](Self::QUEUE_STATS).
    fn queue_stat(queue: &Self::Queue, index: usize) -> u64;
}

/// How a device starts out.
pub struct Config {
    /// Number of queues.
    pub queues: u32,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Features that the user can switch.
    pub hw_features: Features,
    /// Features that are always on.
    pub fixed_features: Features,
    /// Milliseconds without progress after which a stopped queue counts as stuck.
    pub tx_timeout: u32,
}

/// What belongs to a device on our side.
#[pin_data]
struct Private<T: Driver> {
    queues: KVec<Arc<Napi<T::Queue>>>,
    #[pin]
    driver: T,
}

/// An Ethernet device of driver `T`.
///
/// # Invariants
///
/// It is allocated with room for a pointer, which points to a pinned [`Private`] that lives as long as the device.
#[repr(transparent)]
pub struct Device<T: Driver> {
    raw: Opaque<bindings::net_device>,
    driver: PhantomData<T>,
}

// SAFETY: A device may be used from any thread; what it holds of ours is `Sync`.
unsafe impl<T: Driver> Sync for Device<T> {}

impl<T: Driver> Device<T> {
    /// # Safety
    ///
    /// `raw` is a device made by [`Registration::new`] for the same `T`, live for `'a`.
    pub(super) unsafe fn from_raw<'a>(raw: *mut bindings::net_device) -> &'a Self {
        // SAFETY: By the safety requirements; the layout is the same.
        unsafe { &*raw.cast() }
    }

    pub(super) fn raw(&self) -> *mut bindings::net_device {
        self.raw.get()
    }

    fn private(&self) -> &Private<T> {
        // SAFETY: By the type invariant.
        unsafe {
            let place = bindings::netdev_priv(self.raw()).cast::<*const Private<T>>();
            &**place
        }
    }

    /// The driver's data of the device.
    pub fn driver(&self) -> &T {
        &self.private().driver
    }

    /// The device's queues.
    pub fn queues(&self) -> &[Arc<Napi<T::Queue>>] {
        &self.private().queues
    }

    /// A transmit queue, if there is one with this number.
    pub fn tx_queue(&self, index: usize) -> Option<TxQueue<'_>> {
        if index >= self.queues().len() {
            return None;
        }
        // SAFETY: The device is valid and has as many transmit queues as polled ones.
        Some(unsafe { TxQueue::of(self.raw(), index as u32) })
    }

    /// The interface's name.
    pub fn name(&self) -> &CStr {
        // SAFETY: The name is a terminated string inside the device. It may change while it is read, but the
        // terminator at its end stays.
        unsafe { CStr::from_char_ptr((*self.raw()).name.as_ptr().cast()) }
    }

    /// Whether the device is up.
    pub fn running(&self) -> bool {
        // SAFETY: The device is valid.
        unsafe { bindings::netif_running(self.raw()) }
    }

    /// Tells the stack that packets can be sent and received.
    pub fn carrier_on(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::netif_carrier_on(self.raw()) }
    }

    /// Tells the stack that the line is dead.
    pub fn carrier_off(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::netif_carrier_off(self.raw()) }
    }

    /// Stops all transmit queues and waits for running transmissions. Process context.
    pub fn stop_queues(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::netif_tx_disable(self.raw()) }
    }

    /// Wakes all transmit queues in use.
    pub fn wake_queues(&self) {
        for queue in (0..self.queues().len()).filter_map(|i| self.tx_queue(i)) {
            queue.wake();
        }
    }

    /// Tells the neighbours where the device is now. Process context.
    pub fn notify_peers(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::netdev_notify_peers(self.raw()) }
    }

    /// Has the stack ask again which features and MTU are possible. Process context, for registered devices.
    pub fn update_features(&self) {
        let max_mtu = self.driver().max_mtu(self);
        // SAFETY: The device is valid and registered; its features and limits change under the RTNL.
        unsafe {
            bindings::rtnl_lock();
            (*self.raw()).max_mtu = max_mtu;
            if (*self.raw()).mtu > max_mtu {
                bindings::dev_set_mtu(self.raw(), max_mtu as i32);
            }
            bindings::netdev_update_features(self.raw());
            bindings::rtnl_unlock();
        }
    }
}

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
    /// Makes a device `eth*` with `driver` as its data and as many queues as `config` says, and registers it.
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
                driver <- driver,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: Nobody else uses the device yet. The box stays pinned until the device is freed.
        unsafe {
            let place = bindings::netdev_priv(raw).cast::<*mut Private<T>>();
            *place = KBox::into_raw(Pin::into_inner_unchecked(private));
        }

        let all = config.hw_features | config.fixed_features;
        // SAFETY: Nobody else uses the device yet. Both tables are static. The parent outlives its children.
        unsafe {
            bindings::set_netdev_dev(raw, core::ptr::from_ref(parent).cast_mut().cast());
            bindings::netdev_tx_unshared(raw);
            bindings::eth_hw_addr_set(raw, config.mac.as_ptr());
            (*raw).netdev_ops = &Vtable::<T>::NETDEV;
            (*raw).ethtool_ops = ethtool::vtable::<T>();
            (*raw).hw_features |= config.hw_features.0;
            (*raw).features |= all.0;
            (*raw).min_mtu = bindings::ETH_MIN_MTU;
            (*raw).max_mtu = bindings::ETH_DATA_LEN;
            (*raw).watchdog_timeo = bindings::__msecs_to_jiffies(config.tx_timeout) as i32;
            bindings::netif_carrier_off(raw);
        }
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

/// The functions of a driver, as C calls them.
struct Vtable<T>(PhantomData<T>);

impl<T: Driver> Vtable<T> {
    const NETDEV: bindings::net_device_ops = bindings::net_device_ops {
        ndo_open: Some(Self::open),
        ndo_stop: Some(Self::stop),
        ndo_start_xmit: Some(Self::start_xmit),
        ndo_tx_timeout: Some(Self::tx_timeout),
        ndo_fix_features: Some(Self::fix_features),
        ndo_get_stats64: Some(Self::stats),
        ndo_set_mac_address: Some(bindings::eth_mac_addr),
        ndo_validate_addr: Some(bindings::eth_validate_addr),
        // SAFETY: All fields may be zero.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// Called by the stack for a device of `T`; so with all functions below.
    unsafe extern "C" fn open(dev: *mut bindings::net_device) -> i32 {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        from_result(|| {
            dev.queues().iter().for_each(|napi| napi.enable());
            dev.driver().open(dev).inspect_err(|_| {
                dev.queues().iter().for_each(|napi| napi.disable());
            })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn stop(dev: *mut bindings::net_device) -> i32 {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        dev.stop_queues();
        dev.driver().stop(dev);
        dev.queues().iter().for_each(|napi| napi.disable());
        0
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn start_xmit(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
    ) -> bindings::netdev_tx_t {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: The packet is valid, and so is the per-CPU state, as transmission runs.
        let (index, more) = unsafe {
            (
                u32::from(bindings::skb_get_queue_mapping(skb)),
                bindings::netdev_xmit_more(),
            )
        };
        let Some(skb) = NonNull::new(skb) else {
            return bindings::netdev_tx_NETDEV_TX_OK;
        };
        // SAFETY: The stack hands the packet over.
        let skb = unsafe { SkBuff::from_raw(skb) };
        let (Some(napi), Some(queue)) = (
            dev.queues().get(index as usize),
            dev.tx_queue(index as usize),
        ) else {
            return bindings::netdev_tx_NETDEV_TX_OK;
        };
        match T::start_xmit(napi, queue, skb, more) {
            Xmit::Done => bindings::netdev_tx_NETDEV_TX_OK,
            Xmit::Busy(skb) => {
                // The stack keeps the packet.
                skb.into_raw();
                bindings::netdev_tx_NETDEV_TX_BUSY
            }
        }
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn tx_timeout(dev: *mut bindings::net_device, queue: u32) {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        dev.driver().tx_timeout(dev, queue as usize);
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn fix_features(
        dev: *mut bindings::net_device,
        wanted: bindings::netdev_features_t,
    ) -> bindings::netdev_features_t {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        dev.driver().fix_features(dev, Features(wanted)).0
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn stats(
        dev: *mut bindings::net_device,
        storage: *mut bindings::rtnl_link_stats64,
    ) {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        let stats = dev.driver().stats(dev);
        // SAFETY: The stack gives a structure to fill in.
        let storage = unsafe { &mut *storage };
        storage.rx_packets = stats.rx_packets;
        storage.rx_bytes = stats.rx_bytes;
        storage.rx_errors = stats.rx_errors;
        storage.rx_dropped = stats.rx_dropped;
        storage.tx_packets = stats.tx_packets;
        storage.tx_bytes = stats.tx_bytes;
        storage.tx_errors = stats.tx_errors;
        storage.tx_dropped = stats.tx_dropped;
    }
}
