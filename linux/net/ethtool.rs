// SPDX-License-Identifier: GPL-2.0

//! What `ethtool` shows of a device (C header: `include/linux/ethtool.h`).

use super::device::{
    Device,
    Driver, //
};
use crate::{
    bindings,
    error::EOPNOTSUPP, //
};
use core::{
    marker::PhantomData,
    mem::MaybeUninit, //
};
use kernel::{
    error::from_result,
    prelude::*, //
};

/// The table of functions of a driver.
pub(super) fn vtable<T: Driver>() -> *const bindings::ethtool_ops {
    &Vtable::<T>::ETHTOOL
}

struct Vtable<T>(PhantomData<T>);

impl<T: Driver> Vtable<T> {
    const ETHTOOL: bindings::ethtool_ops = bindings::ethtool_ops {
        get_drvinfo: Some(Self::drvinfo),
        get_link: Some(bindings::ethtool_op_get_link),
        get_ts_info: Some(bindings::ethtool_op_get_ts_info),
        get_sset_count: Some(Self::count),
        get_strings: Some(Self::strings),
        get_ethtool_stats: Some(Self::stats),
        get_channels: Some(Self::channels),
        set_channels: Some(Self::set_channels),
        get_ringparam: Some(Self::rings),
        get_rx_ring_count: Some(Self::ring_count),
        get_rxfh_key_size: Some(Self::key_size),
        get_rxfh_indir_size: Some(Self::table_size),
        get_rxfh: Some(Self::hash),
        set_rxfh: Some(Self::set_hash),
        // SAFETY: All fields may be zero.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// Called by ethtool for a device of `T`, with room for what is asked for; so with all functions below.
    unsafe extern "C" fn drvinfo(
        _dev: *mut bindings::net_device,
        info: *mut bindings::ethtool_drvinfo,
    ) {
        // SAFETY: By the safety requirements.
        let info = unsafe { &mut *info };
        copy_name(&mut info.driver, T::NAME);
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn count(dev: *mut bindings::net_device, set: i32) -> i32 {
        if set != bindings::ethtool_stringset_ETH_SS_STATS as i32 {
            return EOPNOTSUPP.to_errno();
        }
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // CAST: A few names.
        dev.queues().len().wrapping_mul(T::QUEUE_STATS.len()) as i32
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn strings(dev: *mut bindings::net_device, set: u32, mut data: *mut u8) {
        if set != bindings::ethtool_stringset_ETH_SS_STATS {
            return;
        }
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        for index in 0..dev.queues().len() {
            for name in T::QUEUE_STATS {
                // SAFETY: There is room for as many names as `count` told; the format fits its arguments.
                unsafe {
                    bindings::ethtool_sprintf(
                        &mut data,
                        c"queue_%u_%s".as_char_ptr(),
                        index as u32,
                        name.as_char_ptr(),
                    );
                }
            }
        }
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn stats(
        dev: *mut bindings::net_device,
        _request: *mut bindings::ethtool_stats,
        data: *mut u64,
    ) {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        let values = dev.queues().iter().flat_map(|napi| {
            (0..T::QUEUE_STATS.len()).map(move |index| T::queue_stat(napi, index))
        });
        for (i, value) in values.enumerate() {
            // SAFETY: There is room for as many values as `count` told.
            unsafe { data.add(i).write(value) };
        }
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn channels(
        dev: *mut bindings::net_device,
        channels: *mut bindings::ethtool_channels,
    ) {
        // SAFETY: By the safety requirements.
        let (dev, channels) = unsafe { (Device::<T>::from_raw(dev), &mut *channels) };
        // CAST: Queues are few.
        channels.combined_count = dev.queue_count() as u32;
        channels.max_combined = dev.driver().max_queues(dev);
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn set_channels(
        dev: *mut bindings::net_device,
        channels: *mut bindings::ethtool_channels,
    ) -> i32 {
        // SAFETY: By the safety requirements.
        let (dev, channels) = unsafe { (Device::<T>::from_raw(dev), &*channels) };
        // The caller has checked it against the limit.
        from_result(|| {
            dev.driver()
                .set_queues(dev, channels.combined_count)
                .map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn rings(
        _dev: *mut bindings::net_device,
        rings: *mut bindings::ethtool_ringparam,
        _more: *mut bindings::kernel_ethtool_ringparam,
        _why: *mut bindings::netlink_ext_ack,
    ) {
        // SAFETY: By the safety requirements.
        let rings = unsafe { &mut *rings };
        rings.rx_max_pending = T::RING_SLOTS;
        rings.tx_max_pending = T::RING_SLOTS;
        rings.rx_pending = T::RING_SLOTS;
        rings.tx_pending = T::RING_SLOTS;
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn ring_count(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // CAST: Queues are few.
        dev.queue_count() as u32
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn key_size(_dev: *mut bindings::net_device) -> u32 {
        // CAST: A few bytes.
        T::HASH_KEY as u32
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn table_size(_dev: *mut bindings::net_device) -> u32 {
        // CAST: A few entries.
        T::HASH_TABLE as u32
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn hash(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_rxfh_param,
    ) -> i32 {
        // SAFETY: By the safety requirements.
        let (dev, param) = unsafe { (Device::<T>::from_raw(dev), &mut *param) };
        // SAFETY: Where it is not null there is room for as much as the sizes above tell, which nobody else uses.
        let (key, table) = unsafe {
            (
                (!param.key.is_null())
                    .then(|| core::slice::from_raw_parts_mut(param.key, T::HASH_KEY)),
                (!param.indir.is_null())
                    .then(|| core::slice::from_raw_parts_mut(param.indir, T::HASH_TABLE)),
            )
        };
        let used = dev.driver().hash(dev, key, table);
        param.hfunc = if used { TOEPLITZ } else { 0 };
        0
    }

    /// # Safety
    ///
    /// Only the kernel calls it, with what was registered together with this function.
    unsafe extern "C" fn set_hash(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_rxfh_param,
        _why: *mut bindings::netlink_ext_ack,
    ) -> i32 {
        // SAFETY: By the safety requirements.
        let (dev, param) = unsafe { (Device::<T>::from_raw(dev), &*param) };
        // 0 leaves it as it is.
        if ![0, TOEPLITZ].contains(&param.hfunc) {
            return EOPNOTSUPP.to_errno();
        }
        // SAFETY: Where it is not null it is as long as the sizes above tell, and the caller has checked the table's queues.
        let (key, table) = unsafe {
            (
                (!param.key.is_null()).then(|| core::slice::from_raw_parts(param.key, T::HASH_KEY)),
                (!param.indir.is_null())
                    .then(|| core::slice::from_raw_parts(param.indir, T::HASH_TABLE)),
            )
        };
        from_result(|| dev.driver().set_hash(dev, key, table).map(|()| 0))
    }
}

/// `ETH_RSS_HASH_TOP`: the hash is Toeplitz's.
const TOEPLITZ: u8 = 1;

/// Copies a name into a zeroed array of C characters.
fn copy_name(into: &mut [c_char], name: &CStr) {
    let room = into.len().saturating_sub(1);
    for (to, from) in into.iter_mut().take(room).zip(name.to_bytes()) {
        *to = *from as c_char;
    }
}
