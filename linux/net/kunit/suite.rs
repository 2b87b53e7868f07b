// SPDX-License-Identifier: GPL-2.0

//! The tests of devices, polls, packets and pages.

use super::{
    super::{
        features::Features,
        page_pool::{
            PagePool,
            PAGE_SIZE, //
        },
        skb::{
            Checksum,
            MAX_FRAGS, //
        }, //
    },
    packet,
    pattern,
    receiver::Receiver,
    with_rtnl,
    Fixture,
    Queue,
    GROUP,
    LONG,
    MAC,
    QUEUES, //
};
use crate::{
    bindings,
    sync::wait::Woken, //
};
use core::{
    mem::MaybeUninit,
    ptr, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::Relaxed, //
};

/// Milliseconds to wait for what must not happen.
const SHORT: i64 = 100;

#[kunit_tests(oxen_net)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_comes_back_whole() -> Result {
        let test = Fixture::opened()?;
        let receiver = Receiver::new(&test.dev)?;
        let mut bytes = 0;
        for (i, (head, paged)) in [(60, 0), (300, 0), (64, 5), (64, 1436), (14, 1000)]
            .into_iter()
            .enumerate()
        {
            test.send(head, paged)?;
            let packets = u32::try_from(i)? + 1;
            assert_eq!(receiver.seen.packets.wait(packets, LONG), Woken::Ready);
            bytes += head + paged;
        }
        assert_eq!(receiver.seen.bytes.load(Relaxed), bytes);
        assert_eq!(receiver.seen.wrong.load(Relaxed), 0);
        assert_eq!(test.queue()?.wrong(), 0);
        Ok(())
    }

    #[test]
    fn what_a_driver_has_no_room_for_stays_with_the_stack() -> Result {
        let test = Fixture::opened()?;
        let receiver = Receiver::new(&test.dev)?;
        let napi = test.queue()?;
        napi.inner.lock().busy = 1;
        test.send(64, 1000)?;
        assert_eq!(napi.offered.wait(1, LONG), Woken::Ready);
        assert_eq!(receiver.seen.packets.wait(1, SHORT), Woken::TimedOut);
        assert_eq!(napi.offered.count(), 1);
        let queue = test.dev.tx_queue(0).ok_or(ENODEV)?;
        assert!(queue.stopped());
        queue.wake();
        assert_eq!(receiver.seen.packets.wait(1, LONG), Woken::Ready);
        assert_eq!(napi.offered.count(), 2);
        assert_eq!(receiver.seen.wrong.load(Relaxed), 0);
        assert!(test.dev.tx_queue(QUEUES as usize).is_none());
        Ok(())
    }

    #[test]
    fn a_poll_goes_on_until_it_is_done_and_completes_once() -> Result {
        let test = Fixture::opened()?;
        let napi = test.queue()?;
        napi.inner.lock().again = 3;
        Queue::schedule(&napi);
        assert_eq!(napi.completed.wait(1, LONG), Woken::Ready);
        assert_eq!(napi.polled.count(), 4);
        assert_eq!(napi.completed.wait(2, SHORT), Woken::TimedOut);
        napi.schedule_later(20);
        assert_eq!(napi.completed.wait(2, LONG), Woken::Ready);
        assert_eq!(napi.polled.count(), 5);
        Ok(())
    }

    #[test]
    fn a_device_that_is_down_is_polled_and_one_that_is_gone_is_not() -> Result {
        let test = Fixture::opened()?;
        let napi = test.queue()?;
        assert!(test.attempt(|_, context| context.running())?);
        test.down();
        assert!(!test.dev.running());
        assert!(test.attempt(|_, context| !context.running())?);
        test.up()?;
        assert!(test.attempt(|_, context| context.running())?);
        assert_eq!(napi.completed.wait(3, LONG), Woken::Ready);
        napi.schedule_later(30);
        drop(test);
        let polls = napi.polled.count();
        Queue::schedule(&napi);
        napi.schedule_later(1);
        napi.enable();
        Queue::schedule(&napi);
        assert_eq!(napi.polled.wait(polls + 1, SHORT), Woken::TimedOut);
        Ok(())
    }

    #[test]
    fn a_device_that_does_not_open_can_be_tried_again() -> Result {
        let test = Fixture::new()?;
        test.dev.driver().refuses_to_open.store(1, Relaxed);
        assert_eq!(test.up(), Err(ENODEV));
        assert!(!test.dev.running());
        test.dev.driver().refuses_to_open.store(0, Relaxed);
        test.up()?;
        assert!(test.dev.running());
        assert!(test.attempt(|_, _| true)?);
        Ok(())
    }

    #[test]
    fn a_packet_takes_only_what_is_inside_a_page() -> Result {
        let test = Fixture::opened()?;
        let right = test.attempt(|pool, context| {
            let (Some(page), Some(mut skb)) = (pool.alloc(), context.alloc_skb(64)) else {
                return false;
            };
            let room = skb.append_to_head(&page, 0, PAGE_SIZE + 1);
            let full = skb.append_to_head(&page, 0, 1);
            let mut right = (64..=PAGE_SIZE).contains(&room) && full == 0 && skb.len() == room;
            let Some(mut skb) = context.alloc_skb(64) else {
                return false;
            };
            right &= skb.append_to_head(&page, PAGE_SIZE - 3, 10) == 3;
            right &= skb.append_to_head(&page, PAGE_SIZE, 1) == 0;
            right &= skb.append_to_head(&page, usize::MAX, 1) == 0;
            let mut page = page;
            for (offset, len) in [(0, PAGE_SIZE + 1), (PAGE_SIZE - 1, 2), (usize::MAX, 1)] {
                match skb.append_page(page, offset, len) {
                    Ok(()) => return false,
                    Err(back) => page = back,
                }
            }
            right && skb.append_page(page, PAGE_SIZE - 1, 1).is_ok() && skb.len() == 4
        })?;
        assert!(right);
        Ok(())
    }

    #[test]
    fn headers_are_found_within_what_there_is() -> Result {
        let test = Fixture::opened()?;
        let right = test.attempt(|pool, context| {
            let Some(page) = pool.alloc() else {
                return false;
            };
            // Zeros: an Ethernet header of no known protocol.
            [
                (0, 0, 0),
                (0, 13, 13),
                (0, 14, 14),
                (100, 1500, 14),
                (PAGE_SIZE - 5, 1500, 5),
                (PAGE_SIZE, 9, 0),
                (usize::MAX, 9, 0),
            ]
            .iter()
            .all(|(offset, len, want)| context.header_len(&page, *offset, *len) == *want)
        })?;
        assert!(right);
        Ok(())
    }

    #[test]
    fn pieces_of_a_packet_are_copied() -> Result {
        let skb = packet(100, 5000)?;
        let mut bytes = [0u8; 8];
        skb.copy(97, &mut bytes)?;
        assert!((97..105).map(pattern).eq(bytes));
        assert!(skb.copy(5093, &mut bytes).is_err());
        assert!(skb.copy(usize::MAX, &mut bytes).is_err());
        let len = |offset| skb.copy_page(offset).map(|copy| copy.len());
        assert_eq!((len(0), len(4096)), (Some(4096), Some(1004)));
        assert_eq!((len(5099), len(5100)), (Some(1), None));
        for skip in [0, 99, 100, 101, 5099, 5100, 9999] {
            let rest: usize = skb.runs(skip).map(|run| run.len).sum();
            assert_eq!(rest, 5100usize.saturating_sub(skip));
            assert!(skb.runs(skip).all(|run| run.len != 0));
        }
        Ok(())
    }

    #[test]
    fn a_packet_has_no_more_pages_than_there_are_places() -> Result {
        let test = Fixture::opened()?;
        let right = test.attempt(|pool, context| {
            let Some(mut skb) = context.alloc_skb(64) else {
                return false;
            };
            for _ in 0..MAX_FRAGS {
                match pool.alloc().map(|page| skb.append_page(page, 1, 2)) {
                    Some(Ok(())) => {}
                    _ => return false,
                }
            }
            let Some(page) = pool.alloc() else {
                return false;
            };
            // Nothing goes to the head any more, either.
            let late = skb.append_to_head(&page, 0, 1);
            skb.append_page(page, 1, 2).is_err() && late == 0 && skb.len() == 2 * MAX_FRAGS
        })?;
        assert!(right);
        Ok(())
    }

    #[test]
    fn a_packet_without_a_header_or_checksum_is_dropped() -> Result {
        let test = Fixture::opened()?;
        let receiver = Receiver::new(&test.dev)?;
        let right = test.attempt(|pool, context| {
            let mut right = true;
            for (len, checksum) in [(13, Checksum::Unknown), (14, Checksum::Blank)] {
                let (Some(page), Some(mut skb)) = (pool.alloc(), context.alloc_skb(64)) else {
                    return false;
                };
                right &= skb.append_to_head(&page, 0, len) == len;
                right &= context.receive(skb, checksum).is_err();
            }
            right
        })?;
        assert!(right);
        assert_eq!(receiver.seen.packets.count(), 0);
        Ok(())
    }

    #[test]
    fn a_page_that_left_its_pool_outlives_it() -> Result {
        let mut pool = PagePool::new(4)?;
        let mut page = pool.alloc().ok_or(ENOMEM)?;
        page.clear();
        let pfn = page.pfn();
        let kept = page.leave_pool().ok_or(ENOMEM)?;
        // The pool must not give it out again.
        let others = [pool.alloc(), pool.alloc(), pool.alloc()];
        assert!(others.iter().flatten().all(|other| other.pfn() != pfn));
        drop(others);
        drop(pool);
        drop(kept);
        Ok(())
    }

    #[test]
    fn features_and_mtu_follow_what_the_driver_says() -> Result {
        let test = Fixture::opened()?;
        // SAFETY: The device is registered.
        let read = || unsafe { (Features((*test.dev.raw()).features), (*test.dev.raw()).mtu) };
        assert!(read().0.contains(Features::SG | Features::RXCSUM));
        // SAFETY: The device is registered.
        assert_eq!(unsafe { (*test.dev.raw()).tso_max_size }, 0xffff);
        // SAFETY: The device is registered.
        assert_eq!(unsafe { (*test.dev.raw()).max_mtu }, 9000);
        let driver = test.dev.driver();
        driver.max_mtu.store(600, Relaxed);
        driver.features.store((!Features::SG).bits(), Relaxed);
        test.dev.update_features(None);
        assert_eq!(read().1, 600);
        // What the user wanted comes back, but not over what the user set since.
        driver.max_mtu.store(9000, Relaxed);
        test.dev.update_features(None);
        assert_eq!(read().1, 1500);
        driver.max_mtu.store(600, Relaxed);
        test.dev.update_features(None);
        // SAFETY: The device is registered, and the lock is held.
        with_rtnl(|| unsafe { bindings::dev_set_mtu(test.dev.raw(), 500) });
        driver.max_mtu.store(9000, Relaxed);
        test.dev.update_features(None);
        assert_eq!(read().1, 500);
        // The driver wants another one, more than is possible yet.
        driver.max_mtu.store(1000, Relaxed);
        test.dev.update_features(Some(1400));
        assert_eq!(read().1, 1000);
        driver.max_mtu.store(9000, Relaxed);
        test.dev.update_features(None);
        assert_eq!(read().1, 1400);
        assert!(!read().0.contains(Features::SG));
        assert!(read().0.contains(Features::RXCSUM));
        Ok(())
    }

    #[test]
    fn the_stack_uses_as_many_queues_as_it_is_told() -> Result {
        let test = Fixture::opened()?;
        let receiver = Receiver::new(&test.dev)?;
        for count in [0, 3, usize::MAX] {
            assert!(test.dev.set_queue_count(count).is_err());
            assert_eq!(test.dev.queue_count(), 1);
        }
        test.send(64, 100)?;
        assert_eq!(receiver.seen.packets.wait(1, LONG), Woken::Ready);
        test.dev.set_queue_count(2)?;
        assert_eq!(test.dev.queue_count(), 2);
        // SAFETY: The device is registered, its table is complete, and the lock is held.
        let (now, max) = with_rtnl(|| unsafe {
            let mut channels: bindings::ethtool_channels = MaybeUninit::zeroed().assume_init();
            let ops = &*(*test.dev.raw()).ethtool_ops;
            if let (Some(get), Some(set)) = (ops.get_channels, ops.set_channels) {
                get(test.dev.raw(), &mut channels);
                let found = (channels.combined_count, channels.max_combined);
                channels.combined_count = 1;
                set(test.dev.raw(), &mut channels);
                found
            } else {
                (0, 0)
            }
        });
        assert_eq!((now, max), (2, QUEUES));
        assert_eq!(test.dev.driver().wanted_queues.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn the_address_changes_while_the_device_is_up() -> Result {
        let test = Fixture::opened()?;
        let other = [2, 0, 0, 0, 0x88, 0xb6];
        test.dev.set_mac(other)?;
        // SAFETY: The device is registered, and has an address of six bytes.
        let now = unsafe { (*test.dev.raw()).dev_addr.cast::<[u8; 6]>().read() };
        assert_eq!(now, other);
        // A group's.
        assert!(test.dev.set_mac([1; 6]).is_err());
        test.dev.set_mac(MAC)?;
        Ok(())
    }

    #[test]
    fn groups_are_told_as_they_come_and_go() -> Result {
        let test = Fixture::opened()?;
        let driver = test.dev.driver();
        let seen = || (driver.groups.load(Relaxed), driver.all.load(Relaxed));
        assert_eq!(seen(), (0, false));
        let before = driver.modes.count();
        // SAFETY: The device is registered, and the address has six bytes.
        to_result(unsafe { bindings::dev_mc_add(test.dev.raw(), GROUP.as_ptr()) })?;
        assert_eq!(seen(), (1, false));
        assert!(driver.modes.count() != before);
        // SAFETY: As above, with the lock held.
        to_result(with_rtnl(|| unsafe {
            bindings::dev_set_allmulti(test.dev.raw(), 1)
        }))?;
        assert_eq!(seen(), (1, true));
        // SAFETY: As above.
        to_result(with_rtnl(|| unsafe {
            bindings::dev_set_allmulti(test.dev.raw(), -1)
        }))?;
        test.down();
        // SAFETY: As for the addition.
        to_result(unsafe { bindings::dev_mc_del(test.dev.raw(), GROUP.as_ptr()) })?;
        // Nobody asks a device that is down, but it can look.
        assert_eq!(seen(), (1, false));
        test.dev.look_at_rx_mode();
        assert_eq!(seen(), (0, false));
        Ok(())
    }

    #[test]
    fn another_address_does_not_bring_everything() -> Result {
        let test = Fixture::opened()?;
        let other = [2, 0, 0, 0, 0x88, 0xb7];
        // SAFETY: The device is registered, and the address has six bytes.
        to_result(unsafe { bindings::dev_uc_add(test.dev.raw(), other.as_ptr()) })?;
        assert!(!test.dev.driver().all.load(Relaxed));
        // SAFETY: As above.
        to_result(unsafe { bindings::dev_uc_del(test.dev.raw(), other.as_ptr()) })?;
        Ok(())
    }

    #[test]
    fn counters_and_names_are_the_drivers() -> Result {
        let test = Fixture::opened()?;
        let dev = test.dev.raw();
        // SAFETY: The device is registered; all there is room for is zeroed plain data.
        unsafe {
            let mut stats: bindings::rtnl_link_stats64 = MaybeUninit::zeroed().assume_init();
            bindings::dev_get_stats(dev, &mut stats);
            assert_eq!((stats.rx_packets, stats.rx_bytes), (1, 2));
            assert_eq!((stats.rx_errors, stats.rx_dropped), (3, 4));
            assert_eq!((stats.tx_packets, stats.tx_bytes), (5, 6));
            assert_eq!((stats.tx_errors, stats.tx_dropped), (7, 8));

            let ops = &*(*dev).ethtool_ops;
            let count = ops.get_sset_count.ok_or(EINVAL)?;
            assert_eq!(
                count(dev, bindings::ethtool_stringset_ETH_SS_STATS as i32),
                4
            );
            assert!(count(dev, bindings::ethtool_stringset_ETH_SS_TEST as i32) < 0);

            let mut names = [0u8; 4 * bindings::ETH_GSTRING_LEN as usize];
            let strings = ops.get_strings.ok_or(EINVAL)?;
            strings(
                dev,
                bindings::ethtool_stringset_ETH_SS_STATS,
                names.as_mut_ptr(),
            );
            let last = names.get(3 * bindings::ETH_GSTRING_LEN as usize..);
            let last = CStr::from_bytes_until_nul(last.ok_or(EINVAL)?);
            assert_eq!(last.ok(), Some(c"queue_1_polled"));

            let mut values = [0u64; 4];
            let fill = ops.get_ethtool_stats.ok_or(EINVAL)?;
            fill(dev, ptr::null_mut(), values.as_mut_ptr());
            assert_eq!(values, [0, 1000, 0, 1000]);

            let mut info: bindings::ethtool_drvinfo = MaybeUninit::zeroed().assume_init();
            ops.get_drvinfo.ok_or(EINVAL)?(dev, &mut info);
            assert!(info.driver.starts_with(b"oxen_test_loop\0"));
        }
        Ok(())
    }
}
