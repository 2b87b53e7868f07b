// SPDX-License-Identifier: GPL-2.0

//! Ethernet devices (C header: `include/linux/netdevice.h`).

use super::{
    features::Features,
    napi::{
        Napi,
        Poll, //
    },
    queue::TxQueue,
    rx_mode::RxMode,
    skb::SkBuff,
    xdp::{
        frame::Frames,
        program::Program,
        reason::Reason, //
    }, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
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

    /// The device is brought up.
    fn open(&self, dev: &Device<Self>) -> Result;

    /// The device has been brought down: no transmission runs, and no poll that still found it running. It is polled
    /// all the same, as the other side may still have something of the driver's.
    fn stop(&self, dev: &Device<Self>);

    /// Sends a packet. `more` says that another one follows at once, so that the other side need not be told yet.
    ///
    /// Softirq context or with softirqs off, one at a time for each queue.
    fn start_xmit(napi: &Napi<Self::Queue>, queue: TxQueue<'_>, skb: SkBuff, more: bool) -> Xmit;

    /// A stopped queue has sent nothing for a while.
    fn tx_timeout(&self, dev: &Device<Self>, queue: usize);

    /// Narrows the features that the user wants down to what is possible now.
    fn fix_features(&self, dev: &Device<Self>, wanted: Features) -> Features;

    /// The stack wants to receive other groups, or none in particular: softirqs are off, and a lock that spins is held.
    fn set_rx_mode(&self, _dev: &Device<Self>, _mode: &RxMode<'_>) {}

    /// The features change to `features`. With the RTNL held.
    fn set_features(&self, dev: &Device<Self>, features: Features);

    /// Bytes of the key of the hash by which received packets are spread over the queues.
    const HASH_KEY: usize;

    /// Entries of the table from hashes to queues.
    const HASH_TABLE: usize;

    /// Tells the key and the table of the hash, as far as they are asked for. Returns whether it is in use. With the RTNL
    /// held.
    fn hash(&self, dev: &Device<Self>, key: Option<&mut [u8]>, table: Option<&mut [u32]>) -> bool;

    /// The user wants another key or another table, whose queues are there. With the RTNL held.
    fn set_hash(&self, dev: &Device<Self>, key: Option<&[u8]>, table: Option<&[u32]>) -> Result;

    /// Slots of each ring of a queue, which `ethtool -g` shows.
    const RING_SLOTS: u32;

    /// Most queues that can be used now; not more than there are.
    fn max_queues(&self, dev: &Device<Self>) -> u32;

    /// The user wants so many queues, at most [`max_queues`](Self::max_queues). With the RTNL held.
    fn set_queues(&self, dev: &Device<Self>, count: u32) -> Result;

    /// The user wants received packets to go through a program, or through none: [`Device::put_program`] is how they do. With
    /// the RTNL held.
    ///
    /// # Errors
    ///
    /// It cannot be, as `why` is told; what was there stays.
    fn set_program(&self, dev: &Device<Self>, program: Option<Program>, why: Reason<'_>) -> Result;

    /// Sends frames of other devices, as many as there is room for: those that are not taken stay theirs.
    ///
    /// Softirq context, several at a time for each queue.
    fn xmit_frames(napi: &Napi<Self::Queue>, queue: TxQueue<'_>, frames: &mut Frames<'_>);

    /// Largest MTU that is possible now. It is asked again after [`set_program`](Self::set_program).
    fn max_mtu(&self, dev: &Device<Self>) -> u32;

    /// Counters. May be called in any context.
    fn stats(&self, dev: &Device<Self>) -> Stats;

    /// Value of a counter of a queue, by its index in [`QUEUE_STATS`](Self::QUEUE_STATS).
    fn queue_stat(queue: &Self::Queue, index: usize) -> u64;
}

/// How a device starts out.
pub struct Config {
    /// Number of queues that there can be.
    pub queues: u32,
    /// MTU.
    pub mtu: u32,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Features that the user can switch.
    pub hw_features: Features,
    /// Those of them that are off at first.
    pub off_features: Features,
    /// Features that are always on.
    pub fixed_features: Features,
    /// Largest packet to be segmented, in bytes with all headers.
    pub tso_max_size: usize,
    /// Milliseconds without progress after which a stopped queue counts as stuck.
    pub tx_timeout: u32,
}

/// What belongs to a device on our side.
#[pin_data]
pub(super) struct Private<T: Driver> {
    pub(super) queues: KVec<Arc<Napi<T::Queue>>>,
    pub(super) mtu: Mtu,
    #[pin]
    pub(super) driver: T,
}

/// The MTU that a device had before it was made smaller than its user wants it. Changed under the RTNL.
pub(super) struct Mtu {
    wanted: Atomic<u32>,
    cut: Atomic<u32>,
}

impl Mtu {
    pub(super) const fn new() -> Self {
        Self {
            wanted: Atomic::new(0),
            cut: Atomic::new(0),
        }
    }

    /// Another MTU than `now` is wanted from now on.
    fn want(&self, wanted: u32, now: u32) {
        self.wanted.store(wanted, Relaxed);
        self.cut.store(now, Relaxed);
    }

    /// Gives the MTU to set, if it has to change, when it is `now` and cannot exceed `max`: what the user wanted comes
    /// back as soon as it can, unless another one was set meanwhile.
    pub(super) fn limit(&self, now: u32, max: u32) -> Option<u32> {
        let wanted = match self.wanted.load(Relaxed) {
            wanted if wanted != 0 && now == self.cut.load(Relaxed) => wanted,
            _ => now,
        };
        let set = wanted.min(max);
        let short = set < wanted;
        self.wanted.store(if short { wanted } else { 0 }, Relaxed);
        self.cut.store(set, Relaxed);
        (set != now).then_some(set)
    }
}

/// The key that all devices of this system hash by.
pub fn hash_key<const N: usize>() -> [u8; N] {
    let mut key = [0; N];
    // SAFETY: There is room for as many bytes.
    unsafe { bindings::netdev_rss_key_fill(key.as_mut_ptr().cast(), N) };
    key
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
    /// `raw` is a device made by [`Registration::new`](super::registration::Registration::new) for the same `T`, live for `'a`.
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

    /// How many queues the stack uses.
    pub fn queue_count(&self) -> usize {
        // SAFETY: The device is valid. The number may change while it is read, to another one that is valid.
        unsafe { (&raw const (*self.raw()).real_num_tx_queues).read_volatile() as usize }
    }

    /// Has the stack use so many queues, and each CPU one of them. Process context, for registered devices whose queues are
    /// stopped.
    ///
    /// # Errors
    ///
    /// `EINVAL` for none, or for more than there are; `ENOMEM`.
    pub fn set_queue_count(&self, count: usize) -> Result {
        if count == self.queue_count() {
            return Ok(());
        }
        let count = count.try_into()?;
        // SAFETY: The device is valid and registered; its queues change under the RTNL.
        unsafe {
            bindings::rtnl_lock();
            let set = to_result(bindings::netif_set_real_num_queues(
                self.raw(),
                count,
                count,
            ))
            .and_then(|()| to_result(bindings::netif_spread_queues(self.raw(), count)));
            bindings::rtnl_unlock();
            set
        }
    }

    /// Wakes all transmit queues. Those that the stack does not use too: its watchdog takes a stopped one for stuck.
    pub fn wake_queues(&self) {
        for queue in (0..self.queues().len()).filter_map(|i| self.tx_queue(i)) {
            queue.wake();
        }
    }

    /// Sets the hardware address. Process context, for registered devices.
    ///
    /// # Errors
    ///
    /// The address is not valid, or somebody who was asked is against it.
    pub fn set_mac(&self, mac: [u8; 6]) -> Result {
        // SAFETY: The device is valid and registered; its address changes under the RTNL. The address has six bytes.
        unsafe {
            bindings::rtnl_lock();
            let set = bindings::netdev_set_address(self.raw(), mac.as_ptr());
            bindings::rtnl_unlock();
            to_result(set)
        }
    }

    /// Has the driver look at what the stack wants to receive, whether the device is up or not. Process context, for
    /// registered devices.
    pub fn look_at_rx_mode(&self) {
        // SAFETY: The device is valid and initialised; this is the lock of its lists of addresses.
        unsafe { bindings::netif_addr_lock_bh(self.raw()) };
        // SAFETY: The device is valid, and the lock is held until after the call.
        let mode = unsafe { RxMode::of(self.raw()) };
        self.driver().set_rx_mode(self, &mode);
        // SAFETY: Locked above.
        unsafe { bindings::netif_addr_unlock_bh(self.raw()) };
    }

    /// Tells the neighbours where the device is now, if it is up and has a carrier. Process context.
    pub fn notify_peers(&self) {
        // SAFETY: The device is valid, and is activated under the RTNL. The stack does so by itself after the carrier
        // came, but later, and drops what is sent before.
        unsafe {
            bindings::rtnl_lock();
            if bindings::netif_running(self.raw()) {
                bindings::dev_activate(self.raw());
                bindings::__netdev_notify_peers(self.raw());
            }
            bindings::rtnl_unlock();
        }
    }

    /// The MTU. Only with the RTNL held it stays as it is.
    pub fn mtu(&self) -> u32 {
        // SAFETY: The device is valid.
        unsafe { (&raw const (*self.raw()).mtu).read_volatile() }
    }

    /// Has what is received on any queue go through a program, or through none.
    pub fn put_program(&self, program: Option<Program>) {
        for napi in self.queues() {
            napi.put_program(program.clone());
        }
    }

    /// Has the stack ask again which MTU is possible. With the RTNL held; what there is now is within that.
    pub(super) fn limit_mtu(&self) {
        let max_mtu = self.driver().max_mtu(self);
        // SAFETY: The device is valid, and its limits change under the RTNL.
        unsafe { (*self.raw()).max_mtu = max_mtu }
    }

    /// Has the stack ask again which features and MTU are possible; `wanted` is another MTU to have if that is possible.
    /// Process context, for registered devices.
    pub fn update_features(&self, wanted: Option<u32>) {
        let max_mtu = self.driver().max_mtu(self);
        let mtu = &self.private().mtu;
        // SAFETY: The device is valid and registered; its features and limits change under the RTNL.
        unsafe {
            bindings::rtnl_lock();
            (*self.raw()).max_mtu = max_mtu;
            if let Some(wanted) = wanted {
                mtu.want(wanted, (*self.raw()).mtu);
            }
            if let Some(now) = mtu.limit((*self.raw()).mtu, max_mtu) {
                bindings::dev_set_mtu(self.raw(), now as i32);
            }
            bindings::netdev_update_features(self.raw());
            bindings::rtnl_unlock();
        }
    }
}

/// The functions of a driver, as C calls them.
pub(super) struct Vtable<T>(PhantomData<T>);

impl<T: Driver> Vtable<T> {
    pub(super) const NETDEV: bindings::net_device_ops = bindings::net_device_ops {
        ndo_open: Some(Self::open),
        ndo_stop: Some(Self::stop),
        ndo_start_xmit: Some(Self::start_xmit),
        ndo_tx_timeout: Some(Self::tx_timeout),
        ndo_fix_features: Some(Self::fix_features),
        ndo_set_features: Some(Self::set_features),
        ndo_set_rx_mode: Some(Self::set_rx_mode),
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
        from_result(|| dev.driver().open(dev).map(|()| 0))
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn stop(dev: *mut bindings::net_device) -> i32 {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        dev.stop_queues();
        for napi in dev.queues() {
            // Waits for a poll that runs.
            napi.disable();
            napi.enable();
        }
        dev.driver().stop(dev);
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
    unsafe extern "C" fn set_features(
        dev: *mut bindings::net_device,
        features: bindings::netdev_features_t,
    ) -> i32 {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        dev.driver().set_features(dev, Features(features));
        0
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn set_rx_mode(dev: *mut bindings::net_device) {
        // SAFETY: By the safety requirements.
        let this = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: As above; the stack holds the lock of the device's lists of addresses during the call.
        let mode = unsafe { RxMode::of(dev) };
        this.driver().set_rx_mode(this, &mode);
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
