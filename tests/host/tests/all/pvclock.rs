// SPDX-License-Identifier: GPL-2.0

//! pvclock: against 128-bit arithmetic, and against a writer in the middle of it.

use abi::{
    pvclock::{Monotonic, TimeInfo, WallClock},
    shared::{bytes_of, zeroed},
};
use host_tests::peer::{Access, Idle, Peer};
use proptest::prelude::*;

/// What the header says, without losing a bit: `system_time + ((ticks << shift) * mul >> 32)`.
fn reference(info: &TimeInfo, tsc: u64) -> Option<u64> {
    let ticks = u128::from(tsc.checked_sub(info.tsc_timestamp)?);
    let shifted = match info.tsc_shift {
        right @ i8::MIN..=-1 => ticks >> right.unsigned_abs().min(127),
        left => ticks << left.min(63),
    };
    let shifted = u64::try_from(shifted).ok()?;
    let ns = (u128::from(shifted) * u128::from(info.tsc_to_system_mul)) >> 32;
    u64::try_from(u128::from(info.system_time) + ns).ok()
}

prop_compose! {
    fn info()(tsc_timestamp: u64, system_time in 0u64..1 << 60, tsc_to_system_mul: u32, tsc_shift in -40i8..40)
        -> TimeInfo {
        TimeInfo { tsc_timestamp, system_time, tsc_to_system_mul, tsc_shift, ..zeroed() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn arithmetic_is_that_of_128_bits(info in info(), ticks in 0u64..1 << 62, bits in 0u32..62) {
        let tsc = info.tsc_timestamp.wrapping_add(ticks >> bits);
        if let Some(wanted) = reference(&info, tsc) {
            prop_assert_eq!(info.nanoseconds(tsc), wanted);
        }
    }

    #[test]
    fn nothing_panics(bytes in any::<[u8; 32]>(), tsc: u64) {
        let mut info: TimeInfo = zeroed();
        abi::shared::bytes_of_mut(&mut info).copy_from_slice(&bytes);
        let _ = (info.nanoseconds(tsc), info.khz());
    }

    /// A TSC behind the snapshot is the snapshot's own: time does not jump.
    #[test]
    fn a_tsc_behind_counts_as_the_snapshot(info in info(), behind in 1u64..1 << 62) {
        prop_assert_eq!(info.nanoseconds(info.tsc_timestamp.wrapping_sub(behind)), info.system_time);
    }

    #[test]
    fn frequency_is_the_one_that_was_scaled(khz in 1000u64..10_000_000) {
        // As the hypervisor makes mul and shift: mul in [2^31, 2^32).
        let (mut shift, mut hz) = (0i8, khz * 1000);
        while hz > 2_000_000_000 { hz /= 2; shift -= 1; }
        while hz <= 1_000_000_000 { hz *= 2; shift += 1; }
        let mul = ((1_000_000_000u128 << 32) / u128::from(hz)) as u32;
        let info = TimeInfo { tsc_to_system_mul: mul, tsc_shift: shift, ..zeroed() };
        let got = info.khz().unwrap();
        prop_assert!(got.abs_diff(khz) <= khz / 10_000 + 1, "{} for {}", got, khz);
    }
}

/// The frequency is 10^9 * 2^32 / (mul << shift), to the tick.
#[test]
fn frequency_is_exact() {
    for (mul, shift) in [
        (0xcccc_cccd, -1),
        (u32::MAX, -1),
        (1 << 31, 0),
        (0x8000_0001, 1),
        (0xa3d7_0a3e, -2),
        (0xffff_ffff, 3),
    ] {
        let info = TimeInfo {
            tsc_to_system_mul: mul,
            tsc_shift: shift,
            ..zeroed()
        };
        let ticks = 1_000_000_000u128 << 40;
        let wanted = (ticks << 32) / u128::from(mul) / (1 << (40 + shift));
        assert_eq!(info.hz().map(u128::from), Some(wanted), "{mul} {shift}");
    }
}

/// A time that is told after another one, on whatever CPU, is no earlier one.
#[test]
fn the_time_that_is_told_goes_forward_on_all_cpus() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let (clock, told) = (Monotonic::new(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for behind in 0..4u64 {
            let (clock, told) = (&clock, &told);
            scope.spawn(move || {
                for now in 0..100_000u64 {
                    let before = told.load(Ordering::SeqCst);
                    let time = clock.tell((now * 7).saturating_sub(behind * 50));
                    assert!(time >= before, "{time} after {before}");
                    told.fetch_max(time, Ordering::SeqCst);
                }
            });
        }
    });
}

const A: TimeInfo = TimeInfo {
    version: 2,
    pad0: 0,
    tsc_timestamp: 1,
    system_time: 10,
    tsc_to_system_mul: 1 << 31,
    tsc_shift: 0,
    flags: 1,
    pad1: [0; 2],
};
const B: TimeInfo = TimeInfo {
    version: 4,
    tsc_timestamp: 2,
    system_time: 20,
    flags: 0,
    ..A
};

/// A writer that updates at any access: what is read is the old or the new value, never a mixture.
#[test]
fn an_update_in_the_middle_is_never_seen() {
    for at in 0..120 {
        for half in 0..32 {
            let mut count = 0;
            let page = Peer::new(4096, move |page: &mut [u8], _: Access| {
                // Odd version, half of the bytes, then, two accesses later, all of it.
                if count == at {
                    page[..4].copy_from_slice(&3u32.to_le_bytes());
                    page[4..4 + half.min(28)].copy_from_slice(&bytes_of(&B)[4..4 + half.min(28)]);
                }
                if count == at + 2 {
                    page[..32].copy_from_slice(bytes_of(&B));
                }
                count += 1;
            });
            page.with(|page| page[..32].copy_from_slice(bytes_of(&A)));
            let got = TimeInfo::read(&page, 0).unwrap();
            assert!(got == A || got == B, "{got:?}");
        }
    }
}

#[test]
fn a_writer_without_end_is_given_up() {
    let page = Peer::new(4096, |page: &mut [u8], _: Access| {
        page[0] = page[0].wrapping_add(1)
    });
    assert_eq!(TimeInfo::read(&page, 0), None);
    assert!(page.accesses() < 5000);
    let page = Peer::new(4096, Idle);
    page.poke(0, 1);
    assert_eq!(TimeInfo::read(&page, 0), None);
}

#[test]
fn wall_clock_is_valid_when_written_and_possible() {
    let page = Peer::new(4096, Idle);
    assert_eq!(WallClock::read(&page, 0), None, "never written");
    page.poke(0, 2);
    page.poke(4, 5);
    page.poke(12, 1);
    assert_eq!(
        WallClock::read(&page, 0).map(|clock| clock.seconds()),
        Some((1 << 32) + 5)
    );
    page.poke(8, 999_999_999);
    assert!(WallClock::read(&page, 0).is_some());
    page.poke(8, 1_000_000_000);
    assert_eq!(WallClock::read(&page, 0), None, "no such nanosecond");
    page.poke(8, 0);
    page.poke(0, 3);
    assert_eq!(WallClock::read(&page, 0), None, "being written");
}

#[test]
fn the_stable_bit_is_its_own() {
    for flags in 0..=255u8 {
        let info = TimeInfo {
            flags,
            ..zeroed::<TimeInfo>()
        };
        assert_eq!(info.is_tsc_stable(), flags & 1 == 1, "flags {flags:#x}");
    }
}
