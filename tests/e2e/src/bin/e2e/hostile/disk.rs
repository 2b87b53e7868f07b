// SPDX-License-Identifier: GPL-2.0

//! A disk on a backend of our own: everything an honest one can offer, and what a hostile one may do.

use super::bystanders::stand_by;
use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{Domain, BRIEF, LONG};
use e2e::backend::Backend;
use e2e::check;
use e2e::suite::Test;
use std::time::Instant;

/// The disk: xvdc.
const DISK: u32 = 51744;

/// Its data, which is only read.
pub(super) const IMAGE: &str = "/var/lib/companion/hostile-data.img";

/// Data that is written to.
pub(super) const SCRATCH: &str = "/var/lib/companion/hostile-scratch.img";

/// Reads the whole disk, in requests that wait together; prints its checksum.
const READ: &str = "dd if=/dev/xvdc of=/tmp/read bs=1M iflag=direct 2>&1 && sha256sum </tmp/read";

pub(super) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    vec![
        ("hostile/disk-honest", honest),
        ("hostile/disk-offers", offers),
        ("hostile/disk-indices", |s| {
            acts(
                s,
                &[
                    (
                        "producer-beyond-ring",
                        Ends::Recovers("moved the response index"),
                    ),
                    (
                        "producer-backwards",
                        Ends::Recovers("moved the response index"),
                    ),
                    ("not-yet-pushed", Ends::Recovers("moved the response index")),
                ],
            )
        }),
        ("hostile/disk-ids", |s| {
            acts(
                s,
                &[
                    (
                        "id-out-of-range",
                        Ends::Recovers("response id is beyond the table"),
                    ),
                    ("id-never-sent", Ends::Recovers("response id was not sent")),
                    ("id-twice", Ends::Recovers("response id was not sent")),
                ],
            )
        }),
        ("hostile/disk-answers", |s| {
            acts(
                s,
                &[
                    (
                        "wrong-operation",
                        Ends::Recovers("was answered as operation"),
                    ),
                    ("error-status", Ends::Fails),
                    ("unknown-status", Ends::Fails),
                    ("not-supported", Ends::Fails),
                ],
            )
        }),
        ("hostile/disk-shared-memory", |s| {
            acts(
                s,
                &[
                    ("overwritten", Ends::Unharmed),
                    ("changed-while-read", Ends::Anyhow),
                ],
            )
        }),
        ("hostile/disk-states", states),
        ("hostile/disk-numbers", numbers),
        ("hostile/disk-backend-id", backend_id),
        ("hostile/disk-storm", storm),
        ("hostile/disk-keeps-grants", keeps_grants),
        (
            "hostile/disk-keeps-grants-of-a-connection",
            keeps_grants_of_a_connection,
        ),
        ("hostile/disk-hangs", hangs),
        ("hostile/disk-answers-slowly-as-it-goes", answers_slowly),
        ("hostile/disk-sizes", sizes),
        ("hostile/disk-dies", dies),
        ("hostile/disk-vanishes", vanishes),
    ]
}

/// Makes the data.
pub(super) fn prepare(s: &Scene<'_>) -> Result<()> {
    s.dom0().sh(&format!(
        "head -c 1048576 /dev/urandom >{IMAGE}; sha256sum <{IMAGE} >{IMAGE}.sum"
    ))?;
    Ok(())
}

/// What becomes of the read that meets an act. The next one is well in any case.
enum Ends {
    /// The ring is broken, one sentence says how, and the data comes over a new one.
    Recovers(&'static str),
    /// It fails, and the connection stays.
    Fails,
    /// Nothing.
    Unharmed,
    /// One of these.
    Anyhow,
}

/// Starts the backend, with `options`.
pub(super) fn start(s: &Scene<'_>, options: &str) -> Result<Backend> {
    s.guest.sh("dmesg -c >/dev/null")?;
    Backend::start(s.dom0(), "vbd", DISK, options)
}

/// The disk is there.
fn is_there(guest: &Domain) -> Result<()> {
    let there = "[ \"$(cat /sys/block/xvdc/size)\" = 2048 ] && [ -b /dev/xvdc ]";
    guest.until(there, BRIEF).map(drop)
}

/// Attaches the disk with the data, with `options` besides.
pub(super) fn attach(s: &Scene<'_>, options: &str) -> Result<Backend> {
    let backend = start(s, &format!("--file {IMAGE} {options}"))?;
    is_there(&s.guest)?;
    Ok(backend)
}

/// The disk is gone, and the others are well.
fn is_gone(s: &Scene<'_>) -> Result<()> {
    s.guest.until(
        "[ ! -e /sys/block/xvdc ] && ! ls /sys/bus/oxen/devices | grep -q vbd-51744",
        BRIEF,
    )?;
    stand_by(&s.guest)
}

pub(super) fn detach(s: &Scene<'_>, backend: Backend) -> Result<()> {
    backend.detach()?;
    is_gone(s)
}

/// What was read is the data.
fn is_data(s: &Scene<'_>, read: &str) -> Result<()> {
    let sum = s.dom0().sh(&format!("cat {IMAGE}.sum"))?;
    check::same_sum(
        "from the disk",
        &sum,
        read.lines().last().unwrap_or_default(),
    )
}

fn reads_well(s: &Scene<'_>) -> Result<()> {
    is_data(s, &s.guest.sh_for(READ, LONG)?)
}

/// A read goes on while `meanwhile` happens, and gives the data in the end.
fn reads_through(s: &Scene<'_>, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let read = s.guest.spawn_sh(READ)?;
    meanwhile()?;
    let read = read.wait(LONG)?;
    ensure!(read.success(), "the read failed: {read}");
    is_data(s, &read.stdout)
}

fn honest(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, "")?;
    reads_well(s)?;
    let counts = backend.counts()?;
    ensure!(
        counts.get("failed")? == 0 && counts.get("connections")? == 1,
        "{counts:?}"
    );
    detach(s, backend)
}

/// Whatever a backend offers, what is written is on the disk, and only there.
fn offers(s: &Scene<'_>) -> Result<()> {
    for (options, sector) in [
        ("--queues 4 --ring-order 3 --discard --persistent", 512),
        ("--sector-size 4096 --indirect 0 --no-flush", 4096),
        ("--barrier --map --indirect 32", 512),
    ] {
        written(s, options, sector).context(options)?;
    }
    Ok(())
}

fn written(s: &Scene<'_>, options: &str, sector: u32) -> Result<()> {
    s.dom0().sh(&format!("cp {IMAGE} {SCRATCH}"))?;
    let backend = start(s, &format!("--file {SCRATCH} {options}"))?;
    is_there(&s.guest)?;
    let script = format!(
        "set -e; q=/sys/block/xvdc/queue; [ $(cat $q/logical_block_size) = {sector} ]; \
         dd if=/dev/xvdc of=/tmp/want bs=64k 2>/dev/null; head -c 524288 /dev/urandom >/tmp/new; \
         dd if=/tmp/new of=/tmp/want bs=4k seek=64 conv=notrunc 2>/dev/null; \
         dd if=/tmp/new of=/dev/xvdc bs=4k seek=64 conv=notrunc,fsync 2>/dev/null; \
         if [ $(cat $q/discard_max_bytes) -gt 0 ]; then blkdiscard -l 65536 /dev/xvdc; \
         dd if=/dev/zero of=/tmp/want bs=64k count=1 conv=notrunc 2>/dev/null; fi; \
         dd if=/dev/xvdc of=/tmp/read bs=1M iflag=direct 2>/dev/null; cmp /tmp/read /tmp/want; sha256sum </tmp/want"
    );
    let want = s.guest.sh_for(&script, LONG)?;
    let found = s.dom0().sh(&format!("sha256sum <{SCRATCH}"))?;
    check::same_sum("on the disk", &want, &found)?;
    let counts = backend.counts()?;
    ensure!(counts.get("failed")? == 0, "{counts:?}");
    detach(s, backend)
}

/// Acts against a disk that is in use, one after the other.
fn acts(s: &Scene<'_>, acts: &[(&str, Ends)]) -> Result<()> {
    let backend = attach(s, "")?;
    for (script, ends) in acts {
        act(s, &backend, script, ends).with_context(|| format!("script {script}"))?;
    }
    detach(s, backend)
}

fn act(s: &Scene<'_>, backend: &Backend, script: &str, ends: &Ends) -> Result<()> {
    s.guest.sh("dmesg -c >/dev/null")?;
    let before = backend.tell(&format!("hostile {script}"))?;
    let before = before.get("connections")?;
    let met = s.guest.try_sh(READ, LONG)?;
    let counts = backend.counts()?;
    let made = counts.get("connections")? - before;
    ensure!(
        counts.get("acts")? == 1,
        "the act was not met: {counts:?} {met}"
    );
    let log = s.guest.sh_for(&format!("dmesg; {READ}"), LONG)?;
    check::log_is_clean(&log)?;
    is_data(s, &log).context("after the act")?;
    match ends {
        Ends::Recovers(words) => {
            ensure!(met.success(), "the read does not recover: {met}");
            is_data(s, &met.stdout)?;
            ensure!(made == 1, "{made} new connections, not one");
            let count = log.lines().filter(|line| line.contains(words)).count();
            ensure!(count == 1, "{count} sentences with {words:?}, not one");
        }
        Ends::Fails => {
            ensure!(!met.success(), "the read does not fail");
            ensure!(made == 0, "{made} new connections");
        }
        Ends::Unharmed => {
            ensure!(met.success(), "the read fails: {met}");
            is_data(s, &met.stdout)?;
            ensure!(made == 0, "{made} new connections");
        }
        Ends::Anyhow => {}
    }
    Ok(())
}

/// States in any order, and some that are none; then the backend begins anew.
fn states(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, "")?;
    for seed in [1, 20] {
        backend.tell(&format!("states {seed} 60"))?;
        stand_by(&s.guest)?;
        // What was read meanwhile may have failed; what is read now does not.
        s.guest
            .until(&format!("{READ} >/dev/null"), BRIEF)
            .and_then(|_| reads_well(s))
            .with_context(|| format!("after the states of seed {seed}"))?;
    }
    detach(s, backend)
}

/// Numbers that are none: where the disk cannot be without them one sentence says so, and it comes when they are right.
fn numbers(s: &Scene<'_>) -> Result<()> {
    for (bad, good, words) in [
        (
            "sectors=banana",
            "sectors=2048",
            "the backend does not tell the size",
        ),
        (
            "sectors=9999999999999999999",
            "sectors=2048",
            "the backend tells an impossible size",
        ),
        (
            "sector-size=3000",
            "sector-size=512",
            "the backend tells an unusable sector size",
        ),
    ] {
        let number = || -> Result<()> {
            let backend = start(s, &format!("--file {IMAGE} --key {bad}"))?;
            let said = format!("dmesg | grep vbd-51744 | grep -c '{words}' | grep -qx 1");
            s.guest.until(&said, BRIEF)?;
            s.guest.sh("[ ! -e /sys/block/xvdc ]")?;
            backend.tell(&format!("restart {good}"))?;
            is_there(&s.guest)?;
            reads_well(s)?;
            detach(s, backend)
        };
        number().with_context(|| bad.to_string())?;
    }
    // Those that a disk can do without are as good as not there.
    let options = [
        "multi-queue-max-queues=0x4",
        "max-ring-page-order=-1",
        "feature-max-indirect-segments=99999999999999999999",
        "feature-persistent=",
        "feature-flush-cache=yes",
        "feature-discard=1x",
        "physical-sector-size=banana",
        "info=-4",
    ]
    .map(|key| format!("--key {key}"))
    .join(" ");
    let backend = attach(s, &options)?;
    reads_well(s)?;
    detach(s, backend)
}

/// The toolstack names another domain: the device is dropped with all that was granted, and comes back with the right
/// one.
fn backend_id(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, "")?;
    reads_well(s)?;
    backend.tell("set-front backend-id 1")?;
    s.guest.until("[ ! -e /sys/block/xvdc ]", BRIEF)?;
    stand_by(&s.guest)?;
    backend.tell("set-front backend-id 0")?;
    is_there(&s.guest)?;
    reads_well(s)?;
    detach(s, backend)
}

/// Events without work, as fast as they can be sent.
fn storm(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, "")?;
    let spurious = "sed -n 's/^spurious: //p' /sys/kernel/debug/oxen/xvdc/blkfront";
    let before: u64 = s.guest.sh(spurious)?.trim().parse()?;
    backend.tell("storm 3")?;
    stand_by(&s.guest)?;
    reads_well(s)?;
    let after: u64 = s.guest.sh(spurious)?.trim().parse()?;
    ensure!(after > before, "no storm was seen");
    detach(s, backend)
}

/// Pages that stay mapped are nobody else's until they are let go of, also when the device is taken away meanwhile.
fn keeps_grants(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, "")?;
    let kept = |backend: &Backend| -> Result<()> {
        backend.until("kept", |pages| pages > 0)?;
        for _ in 0..2 {
            backend.tell("scrawl")?;
            stand_by(&s.guest)?;
        }
        Ok(())
    };
    backend.tell("keep")?;
    let read = s.guest.spawn_sh(READ)?;
    kept(&backend)?;
    backend.tell("release")?;
    ensure!(read.wait(LONG)?.success(), "the read failed");
    reads_well(s)?;

    backend.tell("keep")?;
    let read = s.guest.spawn_sh(READ)?;
    kept(&backend)?;
    backend.tell("deaf")?;
    backend.remove()?;
    is_gone(s)?;
    kept(&backend)?;
    read.wait(LONG)?;
    drop(backend);
    stand_by(&s.guest)
}

/// A request whose pages stay mapped when the connection goes ends when they are let go of, and not before.
fn keeps_grants_of_a_connection(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, "--key feature-persistent=0")?;
    backend.tell("keep")?;
    // One request: another one would wait at the new connection.
    let read = s
        .guest
        .spawn_sh("dd if=/dev/xvdc of=/tmp/read bs=4k count=1 iflag=direct && touch /tmp/over")?;
    backend.until("kept", |pages| pages > 0)?;
    backend.tell("restart")?;
    backend.until("connections", |count| count == 2)?;
    backend.tell("scrawl")?;
    stand_by(&s.guest)?;
    s.guest.sh("[ ! -e /tmp/over ]")?;
    backend.tell("release")?;
    let read = read.wait(LONG)?;
    ensure!(read.success(), "the read failed: {read}");
    s.guest.sh("rm /tmp/over")?;
    // What it read was written over meanwhile; what is read now is not.
    reads_well(s)?;
    detach(s, backend)
}

/// A disk that is detached gets the last requests done, as long as there is an answer now and then.
fn answers_slowly(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, "")?;
    backend.tell("hang")?;
    let reads = s.guest.spawn_sh(
        "jobs=; for i in 0 1 2 3 4 5 6 7 8 9; do \
         dd if=/dev/xvdc of=/dev/null bs=4k skip=$((i * 8)) count=1 iflag=direct & jobs=\"$jobs $!\"; done; \
         for job in $jobs; do wait $job || exit 1; done",
    )?;
    s.guest.until(
        "awk '{ exit $1 + $2 != 10 }' /sys/block/xvdc/inflight",
        BRIEF,
    )?;
    let steps = backend.in_steps(1)?;
    detach(s, backend)?;
    let reads = reads.wait(LONG)?;
    ensure!(reads.success(), "a request failed: {reads}");
    steps.stop().map(drop)
}

/// Sizes without end cost user space an event a second.
fn sizes(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, "")?;
    let events = || -> Result<u64> {
        let number = s.guest.sh("cat /sys/kernel/uevent_seqnum")?;
        Ok(number.trim().parse()?)
    };
    let (before, begun) = (events()?, Instant::now());
    let many = (0..60).map(|n| (2040 - n * 8).to_string());
    let many = many.collect::<Vec<String>>().join(" ");
    for _ in 0..3 {
        backend.tell(&format!("announce sectors {many}"))?;
    }
    backend.tell("announce sectors 2048")?;
    is_there(&s.guest)?;
    let seen = events()? - before;
    let most = 2 + 2 * begun.elapsed().as_secs();
    ensure!(
        seen <= most,
        "{seen} events for 181 sizes, {most} would be fine"
    );
    reads_well(s)?;
    detach(s, backend)
}

/// No answer for a while, and none at all.
fn hangs(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, "")?;
    s.guest.sh("echo 1000 >/sys/block/xvdc/queue/io_timeout")?;
    backend.tell("hang-after 2")?;
    reads_through(s, || {
        stand_by(&s.guest)?;
        let said = "dmesg | grep -c 'does not answer; requests wait' | grep -qx 1";
        s.guest.until(said, BRIEF)?;
        // Each round would be another one.
        s.guest.sh(&format!("sleep 3; {said}"))?;
        backend.tell("resume").map(drop)
    })?;
    backend.tell("hang-after 2")?;
    let read = s.guest.spawn_sh(READ)?;
    stand_by(&s.guest)?;
    detach(s, backend)?;
    let read = read.wait(LONG)?;
    ensure!(!read.success(), "what was never answered was read: {read}");
    Ok(())
}

/// A backend that dies in the middle of requests comes back with other features.
fn dies(s: &Scene<'_>) -> Result<()> {
    let mut backend = attach(s, "--queues 2 --ring-order 1")?;
    for (other, size) in [
        ("--indirect 0 --persistent", "no indirect requests"),
        ("--queues 4 --ring-order 4 --map", "more of everything"),
    ] {
        backend.tell("die-after 3")?;
        reads_through(s, || {
            backend.died()?;
            stand_by(&s.guest)?;
            backend.adopt(&format!("--file {IMAGE} {other}"))
        })
        .context(size)?;
        reads_well(s).context(size)?;
    }
    detach(s, backend)
}

/// The toolstack takes the nodes away while requests wait for a backend that hears nothing.
fn vanishes(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, "")?;
    backend.tell("hang-after 2")?;
    backend.tell("deaf")?;
    let read = s.guest.spawn_sh(READ)?;
    stand_by(&s.guest)?;
    backend.remove()?;
    is_gone(s)?;
    let read = read.wait(LONG)?;
    ensure!(!read.success(), "what was never answered was read: {read}");
    drop(backend);
    // It had the ring to its end.
    let none = "grep -qx 'deferred: 0' /sys/kernel/debug/oxen/grants/counters";
    s.guest.until(none, BRIEF).map(drop)
}
