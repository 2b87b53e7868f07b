// SPDX-License-Identifier: GPL-2.0

//! Backends that are killed, hang and come back with other features, again and again, while their device is in use: nothing
//! that was written or sent is lost.

use super::bystanders::stand_by;
use super::{disk, net};
use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{BRIEF, LONG};
use e2e::backend::Backend;
use e2e::check;
use e2e::suite::Test;

pub(super) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    vec![
        ("hostile/disk-backend-changes-under-load", |s| {
            disks(s, rounds(s, 50))
        }),
        ("hostile/net-backend-changes-under-load", |s| {
            interfaces(s, rounds(s, 15))
        }),
    ]
}

/// Each kind of round once, or `many` in a soak.
fn rounds(s: &Scene<'_>, many: u64) -> u64 {
    if s.settings.rounds < 20 {
        3
    } else {
        many * s.settings.rounds / 20
    }
}

/// What a disk's backend offers from one life to the next.
const DISKS: [&str; 4] = [
    "--queues 4 --ring-order 3 --persistent",
    "--indirect 0 --no-flush",
    "--queues 2 --map --indirect 32 --barrier",
    "--ring-order 1 --persistent --discard",
];

/// What it offers less than that when it begins anew by itself.
const LESS: &str = "multi-queue-max-queues=1 max-ring-page-order=0 feature-persistent=0 feature-max-indirect-segments=8";

/// The same of an interface's.
const INTERFACES: [&str; 4] = [
    "--queues 2",
    "--no-sg --no-gso --no-split",
    "--queues 4 --multicast",
    "--xdp --no-csum",
];
const LESS_NET: &str =
    "multi-queue-max-queues=1 feature-sg=0 feature-gso-tcpv4=0 feature-split-event-channels=0";

/// Disturbs a backend, in another way each round. It is started anew with `adopt`.
fn disturb(
    s: &Scene<'_>,
    round: u64,
    backend: &mut Backend,
    less: &str,
    adopt: impl FnOnce(&mut Backend) -> Result<()>,
) -> Result<()> {
    match round % 3 {
        1 => {
            backend.kill()?;
            adopt(backend)
        }
        2 => {
            backend.signal("STOP")?;
            let well = stand_by(&s.guest);
            backend.signal("CONT")?;
            well
        }
        _ => backend.tell(&format!("restart {less}")).map(drop),
    }
}

fn disks(s: &Scene<'_>, rounds: u64) -> Result<()> {
    const MIB: u64 = 16;
    const DONE: &str = "awk '{ print $1 + $5 }' /sys/block/xvdc/stat";
    let before = check::counters(&s.guest)?;
    s.dom0()
        .sh(&format!("rm -f {0}; truncate -s {MIB}M {0}", disk::SCRATCH))?;
    let options = |at: u64| {
        let offer = DISKS[at as usize % DISKS.len()];
        format!("--file {} {offer}", disk::SCRATCH)
    };
    let mut backend = disk::start(s, &options(0))?;
    s.guest.until("[ -b /dev/xvdc ]", BRIEF)?;
    s.guest.sh("rm -f /tmp/over")?;
    let load = s.guest.spawn_sh(&format!(
        "exec /run/companion/agent verify /dev/xvdc {MIB} /tmp/over"
    ))?;
    check::goes_on(&s.guest, DONE, 100)?;
    for round in 1..=rounds {
        e2e::round(round, || {
            disturb(s, round, &mut backend, LESS, |backend| {
                backend.adopt(&options(round.div_ceil(3)))
            })?;
            check::goes_on(&s.guest, DONE, 100).with_context(|| {
                let queues = s.guest.sh("cat /sys/kernel/debug/oxen/xvdc/*");
                format!("{queues:?}, and the backend {:?}", backend.counts())
            })
        })?;
    }
    s.guest.sh("touch /tmp/over")?;
    let load = load.wait(LONG)?;
    ensure!(load.success(), "a request went wrong: {load}");
    stand_by(&s.guest)?;
    disk::detach(s, backend)?;
    check::counters_return(&s.guest, &before)
}

fn interfaces(s: &Scene<'_>, rounds: u64) -> Result<()> {
    const OVER: &str = "/tmp/over-net";
    let before = check::counters(&s.guest)?;
    let offer = |at: u64| INTERFACES[at as usize % INTERFACES.len()];
    let mut backend = net::attach(s, offer(0))?;
    // Both directions at once.
    let sink = s
        .dom0()
        .spawn_sh("socat -u TCP-LISTEN:5011,reuseaddr - | sha256sum")?;
    let source = s.dom0().spawn_sh(&format!(
        "{} | socat -u - TCP-LISTEN:5012,reuseaddr; wait; cat {OVER}.sum",
        check::stream(OVER, disk::IMAGE)
    ))?;
    s.dom0()
        .until("ss -ltn | grep -q :5011 && ss -ltn | grep -q :5012", BRIEF)?;
    let there = s.guest.spawn_sh(&format!(
        "{} | nc {} 5011; wait; cat {OVER}.sum",
        check::stream(OVER, "/tmp/data"),
        net::DOM0
    ))?;
    let back = s
        .guest
        .spawn_sh(&format!("nc {} 5012 </dev/null | sha256sum", net::DOM0))?;
    let both_go_on = || -> Result<()> {
        for way in ["tx", "rx"] {
            let count = format!("cat $(dirname $({}))/statistics/{way}_bytes", net::ADDRESS);
            check::goes_on(&s.guest, &count, 1 << 17)?;
        }
        Ok(())
    };
    both_go_on()?;
    for round in 1..=rounds {
        e2e::round(round, || {
            disturb(s, round, &mut backend, LESS_NET, |backend| {
                let offer = offer(round.div_ceil(3));
                backend.adopt(&format!("--mac {} --tap {} {offer}", net::MAC, net::TAP))?;
                net::up(s)
            })?;
            both_go_on()
        })?;
    }
    s.guest.sh(&format!("touch {OVER}"))?;
    s.dom0().sh(&format!("touch {OVER}"))?;
    let (sent, received) = (there.wait(LONG)?.stdout, sink.wait(LONG)?.stdout);
    check::same_sum("from the guest", &sent, &received)?;
    let (sent, received) = (source.wait(LONG)?.stdout, back.wait(LONG)?.stdout);
    check::same_sum("to the guest", &sent, &received)?;
    net::detach(s, backend)?;
    check::counters_return(&s.guest, &before)
}
