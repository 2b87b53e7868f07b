// SPDX-License-Identifier: GPL-2.0

//! What a disk can be, beside what is read from and written to it: on Linux's backend, and on one of our own where that
//! one lacks it or has to change its mind.

use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{Disk, Domain, BRIEF, LONG};
use e2e::backend::{self, Backend};
use e2e::check;
use e2e::suite::Test;

/// The disk of our own backend: xvdg.
pub(crate) const NUMBER: u32 = 51808;

/// The numbers of other kinds' first disks, which would be called xvda too.
const HDA: u32 = 768;
const SDA: u32 = 2048;

/// A disk too many for the minor numbers of a block major.
const XVDZZZ: u32 = EXTENDED + (18_277 << 8);

/// The first number of the format that has room for more disks.
const EXTENDED: u32 = 1 << 28;

/// Its data.
pub(crate) const FILE: &str = "/var/lib/companion/disk.img";

pub(crate) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    vec![
        ("debian/disk-discard", discard),
        ("debian/disk-secure-discard", secure_discard),
        ("debian/disk-refuses-what-it-offered", refuses),
        ("debian/disk-comes-back-with-less", less),
        ("debian/disk-fails-requests-when-told-to", fails),
        ("debian/disk-whose-name-is-taken", name_is_taken),
        ("debian/disk-is-swapped-to-while-it-reconnects", swaps),
        ("debian/disk-shows-no-more-than-its-data", shows_its_data),
        ("debian/disk-keeps-its-pages", keeps_its_pages),
        ("debian/disk-backend-killed-under-fio", killed),
        ("debian/disk-rings", rings),
        ("debian/disk-of-4096-byte-sectors", large_sectors),
        ("debian/disk-odd-sizes-and-names", odd),
    ]
}

/// Attaches `mib` MiB of random data on our own backend, with `options` besides.
fn attach(s: &Scene<'_>, mib: u32, options: &str) -> Result<Backend> {
    start(s, "/dev/urandom", mib, options)
}

/// The same with zeroes.
fn zeroed(s: &Scene<'_>, mib: u32, options: &str) -> Result<Backend> {
    start(s, "/dev/zero", mib, options)
}

fn start(s: &Scene<'_>, data: &str, mib: u32, options: &str) -> Result<Backend> {
    backend::install(s.machine, s.name())?;
    s.dom0().sh(&format!("head -c {mib}M {data} >{FILE}"))?;
    s.guest.sh("dmesg -c >/dev/null")?;
    let backend = Backend::start(s.dom0(), "vbd", NUMBER, &format!("--file {FILE} {options}"))?;
    s.guest.until("[ -b /dev/xvdg ]", BRIEF)?;
    Ok(backend)
}

fn detach(s: &Scene<'_>, backend: Backend) -> Result<()> {
    backend.detach()?;
    s.guest.until("[ ! -e /sys/block/xvdg ]", BRIEF)?;
    check::log_is_clean(&s.guest.sh("dmesg")?)
}

/// The queue's attribute `name` comes to be `value`.
fn becomes(s: &Scene<'_>, name: &str, value: &str) -> Result<()> {
    let file = format!("/sys/block/xvdg/queue/{name}");
    s.guest
        .until(&format!("[ \"$(cat {file})\" = '{value}' ]"), BRIEF)
        .with_context(|| format!("{name} is not {value}"))?;
    Ok(())
}

/// How often the log has `words`.
fn said(s: &Scene<'_>, words: &str) -> Result<u64> {
    let count = s.guest.sh(&format!("dmesg | grep -c '{words}' || true"))?;
    Ok(count.trim().parse()?)
}

/// A disk that Linux refuses is made anew until it is taken, and then has its data.
fn name_is_taken(s: &Scene<'_>) -> Result<()> {
    s.guest.sh("modprobe disk_test")?;
    backend::install(s.machine, s.name())?;
    s.dom0().sh(&format!("head -c 1M /dev/urandom >{FILE}"))?;
    s.guest.sh("dmesg -c >/dev/null")?;
    let backend = Backend::start(s.dom0(), "vbd", NUMBER, &format!("--file {FILE}"))?;
    // The checking kernel has no names of errors.
    let refused = "the disk could not be added and is made anew: \\(EEXIST\\|Error(17)\\)";
    s.guest
        .until(&format!("dmesg | grep -q '{refused}'"), BRIEF)?;
    s.guest.sh("modprobe -r disk_test")?;
    // Linux tells the name that is there twice with a call trace.
    s.guest.until("[ -b /dev/xvdg ]", BRIEF)?;
    s.guest.sh("dmesg -c >/dev/null")?;
    let of = |at: &str| at.split_whitespace().next().map(str::to_owned);
    let (there, here) = (
        s.dom0().sh(&format!("sha256sum {FILE}"))?,
        s.guest.sh("sha256sum /dev/xvdg")?,
    );
    ensure!(of(&there) == of(&here), "{there} is read as {here}");
    detach(s, backend)
}

/// What is forgotten takes no room in a file behind Linux's backend.
fn discard(s: &Scene<'_>) -> Result<()> {
    let image = Disk::new("xvdb", 256).image(s.name());
    let blocks = || -> Result<u64> {
        let size = s.dom0().sh(&format!("du -k {image} | cut -f1"))?;
        Ok(size.trim().parse()?)
    };
    s.guest.sh_for(
        "dd if=/dev/urandom of=/dev/xvdb bs=1M count=8 oflag=direct 2>/dev/null",
        LONG,
    )?;
    let before = blocks()?;
    s.guest.sh("blkdiscard -o 1M -l 6M /dev/xvdb")?;
    let after = blocks()?;
    ensure!(
        after + 6 * 1024 == before,
        "the file had {before} KiB, and has {after} after 6 MiB were discarded"
    );
    // What is beside it is still there.
    s.guest.sh(
        "dd if=/dev/xvdb bs=1M count=1 iflag=direct 2>/dev/null | tr -d '\\0' | head -c 1 | grep -c . >/dev/null || \
         { echo 'the first MiB is gone' >&2; exit 1; }; \
         dd if=/dev/xvdb bs=1M skip=1 count=6 iflag=direct 2>/dev/null | cmp -n 6291456 - /dev/zero",
    )?;
    Ok(())
}

fn secure_discard(s: &Scene<'_>) -> Result<()> {
    let backend = attach(
        s,
        8,
        "--discard --secure --key discard-granularity=65536 --key discard-alignment=4096",
    )?;
    becomes(s, "discard_granularity", "65536")?;
    s.guest
        .sh("blkdiscard -o 65536 -l 131072 /dev/xvdg; blkdiscard -s -o 1M -l 1M /dev/xvdg; \
         dd if=/dev/xvdg bs=1M skip=1 count=1 iflag=direct 2>/dev/null | cmp -n 1048576 - /dev/zero")?;
    let counts = backend.counts()?;
    ensure!(
        counts.get("erased")? == 1 && counts.get("discards")? >= 2 && counts.get("failed")? == 0,
        "{counts:?}"
    );
    detach(s, backend)?;
    // Who cannot do it securely is not asked to.
    let backend = attach(s, 8, "--discard")?;
    let erase = s.guest.try_sh("blkdiscard -s /dev/xvdg", BRIEF)?;
    ensure!(!erase.success(), "it was erased without being so");
    ensure!(backend.counts()?.get("discards")? == 0, "it was asked");
    detach(s, backend)
}

/// A backend that has no flush after all costs no file system, and is told of once.
fn refuses(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, 16, "--no-flush --key feature-discard=1")?;
    s.guest.sh_for(
        "set -e; mkfs.ext4 -q -F /dev/xvdg; mkdir -p /mnt/g; mount /dev/xvdg /mnt/g",
        LONG,
    )?;
    // Not before it is mounted: who makes a file system may forgive an error.
    backend.tell("restart feature-flush-cache=1")?;
    becomes(s, "write_cache", "write back")?;
    s.guest.sh_for(
        "set -e; \
         for i in 1 2 3 4 5; do dd if=/dev/urandom of=/mnt/g/$i bs=64k count=4 conv=fsync 2>/dev/null; done; \
         grep ' /mnt/g ext4 rw' /proc/mounts; umount /mnt/g; fsck.ext4 -f -n /dev/xvdg",
        LONG,
    )?;
    becomes(s, "write_cache", "write through")?;
    // Linux keeps the first refusal to itself.
    s.guest.sh("blkdiscard -l 65536 /dev/xvdg")?;
    becomes(s, "discard_max_bytes", "0")?;
    let discard = s
        .guest
        .try_sh("blkdiscard -l 65536 /dev/xvdg 2>&1", BRIEF)?;
    ensure!(
        !discard.success() && discard.to_string().contains("not supported"),
        "{discard}"
    );
    for words in ["cannot flush its cache", "cannot discard"] {
        let count = said(s, words)?;
        ensure!(count == 1, "{count} sentences with {words:?}, not one");
    }
    let counts = backend.counts()?;
    ensure!(counts.get("flushes")? == 0, "{counts:?}");
    detach(s, backend)
}

/// A backend that comes back with less is asked for no more than that, under a reader.
fn less(s: &Scene<'_>) -> Result<()> {
    const READ: &str = "dd if=/dev/xvdg bs=1M count=8 iflag=direct | sha256sum";
    let backend = attach(s, 16, "--discard --key sectors=16384")?;
    becomes(s, "max_segments", "32")?;
    becomes(s, "write_cache", "write back")?;
    let sum = s.dom0().sh(&format!("head -c 8M {FILE} | sha256sum"))?;
    let read = s.guest.spawn_sh(READ)?;
    backend.tell(
        "restart feature-max-indirect-segments=0 feature-flush-cache=0 feature-discard=0 info=4 sectors=32768",
    )?;
    becomes(s, "max_segments", "11")?;
    becomes(s, "write_cache", "write through")?;
    becomes(s, "discard_max_bytes", "0")?;
    becomes(s, "max_hw_sectors_kb", "44")?;
    s.guest
        .sh("[ $(blockdev --getro /dev/xvdg) = 1 ] && [ $(cat /sys/block/xvdg/size) = 32768 ]")?;
    let read = read.wait(LONG)?;
    ensure!(read.success(), "the read failed: {read}");
    check::same_sum("from the disk", &sum, &read.stdout)?;
    // And the other way.
    backend.tell(
        "restart feature-max-indirect-segments=256 feature-flush-cache=1 feature-discard=1 info=0 sectors=16384",
    )?;
    becomes(s, "max_segments", "32")?;
    becomes(s, "write_cache", "write back")?;
    s.guest
        .sh("blkdiscard -l 65536 /dev/xvdg && [ $(blockdev --getro /dev/xvdg) = 0 ]")?;
    let counts = backend.counts()?;
    ensure!(
        counts.get("failed")? == 0 && counts.get("connections")? == 3,
        "{counts:?}"
    );
    // Neither a state that is gone nor a connection that cannot be made costs the disk anything.
    let sum = s.dom0().sh(&format!("head -c 8M {FILE} | sha256sum"))?;
    let id = check::domid(s.dom0(), s.name())?;
    s.dom0().sh(&format!(
        "xenstore-rm /local/domain/0/backend/oxen-vbd/{id}/{NUMBER}/state"
    ))?;
    check::same_sum("from the disk", &sum, &s.guest.sh_for(READ, LONG)?)?;
    backend.tell("restart sector-size=4096")?;
    let refused = "dmesg | grep -q 'the backend came back with another sector size'";
    s.guest.until(refused, BRIEF)?;
    let read = s.guest.spawn_sh(READ)?;
    backend.tell("restart sector-size=512")?;
    let read = read.wait(LONG)?;
    ensure!(read.success(), "the read failed: {read}");
    check::same_sum("from the disk", &sum, &read.stdout)?;
    detach(s, backend)
}

/// Requests wait for a backend that has left as long as the user wants them to, and the disk works again with the next one.
fn fails(s: &Scene<'_>) -> Result<()> {
    const LIMIT: &str = "/sys/module/oxen_blkfront/parameters/reconnect_timeout";
    let sum = "dd if=/dev/xvdg bs=64k count=16 iflag=direct 2>/dev/null | sha256sum";
    let mut backend = attach(s, 8, "--queues 2")?;
    let before = s.guest.sh(sum)?;
    // One that comes back in time has not left, even with a ring less: past the limit nothing is said. A slow machine
    // takes seconds for it.
    s.guest.sh(&format!("echo 10 >{LIMIT}"))?;
    backend.tell("restart multi-queue-max-queues=1")?;
    backend.until("queues", |count| count == 1)?;
    s.guest.sh("sleep 12")?;
    ensure!(said(s, "has not come back")? == 0);
    s.guest.sh(&format!("echo 3 >{LIMIT}"))?;
    backend.kill()?;
    let id = check::domid(s.dom0(), s.name())?;
    s.dom0().sh(&format!(
        "xenstore-write /local/domain/0/backend/oxen-vbd/{id}/{NUMBER}/state 6"
    ))?;
    let read = s.guest.try_sh(
        "dd if=/dev/xvdg bs=64k count=1 iflag=direct of=/dev/null",
        BRIEF,
    )?;
    s.guest.sh(&format!("echo 0 >{LIMIT}"))?;
    ensure!(
        read.stderr.contains("Input/output error"),
        "the read did not fail: {read}"
    );
    ensure!(said(s, "has not come back")? == 1);
    backend.adopt(&format!("--file {FILE}"))?;
    s.guest
        .until(&format!("[ \"$({sum})\" = '{}' ]", before.trim()), BRIEF)
        .context("the disk does not work again")?;
    backend.detach()?;
    s.guest.until("[ ! -e /sys/block/xvdg ]", BRIEF)?;
    // The block layer tells of the read that failed.
    s.guest.sh("dmesg -c >/dev/null")?;
    Ok(())
}

/// Memory is full, and what could free some goes to a disk whose connection is lost again and again.
fn swaps(s: &Scene<'_>) -> Result<()> {
    // A queue that writeback waits for has a thread of its own, since there may be no memory for one.
    s.guest
        .sh("cat /proc/[0-9]*/comm | grep '^kworker/R-oxen_xenbus_life'")?;
    let backend = zeroed(s, 192, "")?;
    s.guest
        .sh("mkswap /dev/xvdg >/dev/null && swapon -p 100 /dev/xvdg && mkdir -p /run/full && mount -t tmpfs -o size=200% none /run/full")?;
    // As much as is free, and 32 MiB more.
    let fill = s.guest.spawn_sh(
        "n=$(awk '/MemAvailable/ { print int($2 / 1024) + 32 }' /proc/meminfo); \
         head -c 16M /dev/urandom >/run/full/seed; \
         i=0; while [ $((i * 16)) -lt $n ]; do (echo $i; cat /run/full/seed) >/run/full/$i || exit; i=$((i + 1)); done; \
         for f in /run/full/[0-9]*; do tail -n +2 $f | cmp - /run/full/seed || exit; done; \
         awk '/pswpout/ { print $2 }' /proc/vmstat",
    )?;
    // Fewer connections than are too many within a minute.
    for _ in 0..4 {
        s.dom0().sh("sleep 15")?;
        backend.tell("restart")?;
    }
    let output = fill.wait(LONG)?;
    ensure!(output.success(), "{output}");
    ensure!(
        output.stdout.trim().parse::<u64>()? > 4096,
        "nothing was swapped out: {output}"
    );
    s.guest
        .sh_for("umount /run/full; swapoff /dev/xvdg", LONG)?;
    ensure!(backend.counts()?.get("connections")? > 2);
    detach(s, backend)
}

/// What else lies in a page of a request is seen by a backend that is trusted, and by no other.
fn shows_its_data(s: &Scene<'_>) -> Result<()> {
    // One write of 512 bytes, out of the first of eight buffers that were filled.
    let write = "fio --name=w --filename=/dev/xvdg --rw=write --bs=512 --direct=1 --ioengine=libaio --iodepth=8 \
                 --number_ios=1 --offset=1M --size=64k --output=/dev/null";
    let read =
        "dd if=/dev/xvdg bs=512 count=1 skip=2048 iflag=direct 2>/dev/null | tr -d '\\0' | wc -c";
    for (options, trusted) in [
        ("--map", true),
        ("--map --trusted 0", false),
        ("--persistent", false),
    ] {
        let seen = || -> Result<()> {
            let backend = zeroed(s, 4, &format!("--peek {options}"))?;
            s.guest.sh_for(write, LONG)?;
            // A page that is used again has data of the same disk, which is no secret.
            let counts = backend.counts()?;
            let written: u64 = s.guest.sh(read)?.trim().parse()?;
            ensure!(written > 0, "nothing was written");
            ensure!(
                counts.get("failed")? == 0 && (counts.get("stray")? > 0) == trusted,
                "{counts:?}"
            );
            detach(s, backend)
        };
        seen().with_context(|| options.to_string())?;
    }
    Ok(())
}

/// A backend that keeps pages mapped maps each once, and gets no others.
fn keeps_its_pages(s: &Scene<'_>) -> Result<()> {
    let mut backend = attach(s, 16, "--persistent")?;
    let verify = "fio --name=v --filename=/dev/xvdg --rw=randrw --bs=4k-128k --direct=1 --ioengine=libaio --iodepth=8 \
                  --size=8M --verify=crc32c --output=/dev/null";
    s.guest.sh_for(verify, LONG)?;
    let before = backend.counts()?;
    s.guest.sh_for(verify, LONG)?;
    let after = backend.counts()?;
    let (maps, more) = (
        before.get("maps")?,
        after.get("maps")? - before.get("maps")?,
    );
    ensure!(
        after.get("failed")? == 0 && maps > 32 && more < maps / 2,
        "{before:?} and then {after:?}"
    );
    // The other way, in the middle of a read.
    let sum = s.dom0().sh(&format!("sha256sum <{FILE}"))?;
    let read = s
        .guest
        .spawn_sh("dd if=/dev/xvdg bs=1M iflag=direct | sha256sum")?;
    backend.tell("die-after 3")?;
    backend.died()?;
    backend.adopt(&format!("--file {FILE}"))?;
    let read = read.wait(LONG)?;
    ensure!(read.success(), "the read failed: {read}");
    check::same_sum("from the disk", &sum, &read.stdout)?;
    detach(s, backend)
}

/// The backend is killed and comes back under fio, which verifies what it wrote; 50 times in a soak.
fn killed(s: &Scene<'_>) -> Result<()> {
    const DONE: &str = "awk '{ print $1 + $5 }' /sys/block/xvdg/stat";
    let kills = if s.settings.rounds < 20 {
        1
    } else {
        (5 * s.settings.rounds).div_ceil(8)
    };
    for options in [
        "--persistent --queues 2 --ring-order 2",
        "--map --indirect 32",
        "--indirect 0",
        "--trusted 0 --indirect 256",
    ] {
        let lives = || -> Result<()> {
            let mut backend = zeroed(s, 16, options)?;
            s.guest.sh("rm -f /tmp/over")?;
            // Each time with other data: what the disk had before would do else.
            let verify = s.guest.spawn_sh(
                "while [ ! -e /tmp/over ]; do \
                 fio --name=v --filename=/dev/xvdg --rw=randwrite --bs=4k-128k --size=16M --direct=1 --ioengine=libaio \
                 --iodepth=16 --randrepeat=0 --verify=crc32c --verify_fatal=1 --output=/dev/null || exit 1; done",
            )?;
            for _ in 0..kills {
                check::goes_on(&s.guest, DONE, 100)?;
                backend.kill()?;
                backend.adopt(&format!("--file {FILE} {options}"))?;
            }
            check::goes_on(&s.guest, DONE, 100)?;
            s.guest.sh("touch /tmp/over")?;
            let verify = verify.wait(LONG)?;
            ensure!(verify.success(), "fio: {verify}");
            let counts = backend.counts()?;
            ensure!(counts.get("failed")? == 0, "{counts:?}");
            detach(s, backend)
        };
        lives().with_context(|| options.to_string())?;
    }
    Ok(())
}

/// The disk's debugfs files agree: each of so many queues counts its own, all were used, and together they make the disk's
/// counters.
fn add_up(sums: &str, table: &str, queues: u64) -> Result<()> {
    for name in ["requests", "segments", "responses", "events"] {
        let row = |text: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|rest| rest.trim_start_matches(':').split_whitespace())
                .with_context(|| format!("no {name} in\n{text}"))?
                .map(|count| Ok(count.parse()?))
                .collect::<Result<Vec<u64>>>()
        };
        let (sum, counts) = (row(sums)?, row(table)?);
        ensure!(
            counts.len() as u64 == queues && !counts.contains(&0),
            "{name}: {queues} queues are in use, and they have {counts:?}"
        );
        ensure!(
            sum == [counts.iter().sum::<u64>()],
            "{name}: {sum:?} of the disk, {counts:?} of its queues"
        );
    }
    Ok(())
}

/// A ring for each CPU and of the size that is offered, by either name; fewer when the backend comes back with fewer.
fn rings(s: &Scene<'_>) -> Result<()> {
    let verify = "for cpu in 0 1; do fio --name=v$cpu --cpus_allowed=$cpu --filename=/dev/xvdg --rw=randwrite --bs=4k-64k \
                  --direct=1 --ioengine=libaio --iodepth=64 --offset=$((cpu * 8))M --size=1M --verify=crc32c \
                  --output=/dev/null & done; wait %1 && wait %2";
    for (options, queues, slots) in [
        ("--queues 4 --ring-order 4", 2, 128),
        ("--queues 2 --ring-order 1 --old-rings --persistent", 2, 64),
        ("--queues 1 --ring-order 0", 1, 32),
    ] {
        let works = || -> Result<()> {
            let backend = attach(s, 16, options)?;
            s.guest.sh_for(verify, LONG)?;
            let counts = backend.counts()?;
            ensure!(
                counts.get("failed")? == 0
                    && counts.get("queues")? == queues
                    && counts.get("used")? == queues
                    && counts.get("slots")? == slots,
                "{counts:?}"
            );
            let found = s
                .guest
                .sh("ls /sys/block/xvdg/mq | wc -l; grep -c xvdg /proc/interrupts")?;
            ensure!(
                found
                    .split_whitespace()
                    .all(|count| count == queues.to_string()),
                "hardware queues and interrupts: {found}"
            );
            let dir = "/sys/kernel/debug/oxen/xvdg";
            add_up(
                &s.guest.sh(&format!("cat {dir}/blkfront"))?,
                &s.guest.sh(&format!("cat {dir}/queues"))?,
                queues,
            )?;
            if queues == 1 {
                interrupt_follows(&s.guest)?;
            }
            if queues == 2 {
                // Each ring has the events of the CPUs whose requests it takes.
                s.guest.sh(
                    "for q in 0 1; do irq=$(sed -n \"s/^ *\\([0-9]*\\):.*xvdg-q$q.*/\\1/p\" /proc/interrupts); \
                     [ $(cat /proc/irq/$irq/smp_affinity_list) = $(cat /sys/block/xvdg/mq/$q/cpu_list) ] || \
                     { grep . /proc/irq/$irq/smp_affinity_list /sys/block/xvdg/mq/$q/cpu_list >&2; exit 1; }; done",
                )?;
                backend.tell(
                    "restart multi-queue-max-queues=1 max-ring-page-order=0 max-ring-pages=1",
                )?;
                backend.until("queues", |count| count == 1)?;
                s.guest.sh_for(verify, LONG)?;
                let counts = backend.counts()?;
                ensure!(
                    counts.get("failed")? == 0 && counts.get("slots")? == 32,
                    "after it came back with less: {counts:?}"
                );
            }
            detach(s, backend)
        };
        works().with_context(|| options.to_string())?;
    }
    Ok(())
}

/// The interrupt of a ring that serves all CPUs goes where requests come from, unless the user keeps it elsewhere.
fn interrupt_follows(guest: &Domain) -> Result<()> {
    guest.sh_for(
        "set -e; irq=$(sed -n 's/^ *\\([0-9]*\\):.*xvdg.*/\\1/p' /proc/interrupts); \
         reads() { fio --name=r --cpus_allowed=$1 --filename=/dev/xvdg --rw=read --bs=4k --size=400k --direct=1 \
         --ioengine=psync --output=/dev/null; \
         at=$(cat /proc/irq/$irq/effective_affinity_list); \
         [ $at = $2 ] || { echo \"reads on CPU $1 are answered on CPU $at, not $2\" >&2; exit 1; }; }; \
         reads 1 1; reads 0 0; reads 1 1; echo 1 >/proc/irq/$irq/smp_affinity; reads 1 0; \
         echo 3 >/proc/irq/$irq/smp_affinity; reads 1 1",
        LONG,
    )
    .map(drop)
}

/// Requests are of whole sectors, in buffers aligned to them; others are refused before the backend sees them.
fn large_sectors(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, 32, "--sector-size 4096")?;
    for (name, value) in [
        ("logical_block_size", "4096"),
        ("dma_alignment", "4095"),
        ("max_hw_sectors_kb", "128"),
        ("optimal_io_size", "131072"),
    ] {
        becomes(s, name, value)?;
    }
    let small = "dd if=/dev/xvdg of=/dev/null bs=512 count=1 iflag=direct 2>&1";
    let refused = s.guest.try_sh(small, BRIEF)?;
    ensure!(
        !refused.success() && refused.to_string().contains("Invalid argument"),
        "{refused}"
    );
    s.guest.sh_for(
        "set -e; printf 'label: gpt\\n,8M\\n,\\n' | sfdisk -q /dev/xvdg; \
         for i in $(seq 1 100); do [ -b /dev/xvdg2 ] && break; sleep 0.2; done; \
         mkfs.ext4 -q -F /dev/xvdg2; mkdir -p /mnt/g; mount /dev/xvdg2 /mnt/g; \
         head -c 8M /dev/urandom >/mnt/g/file; sha256sum </mnt/g/file >/tmp/sum; umount /mnt/g; \
         mount /dev/xvdg2 /mnt/g; sha256sum </mnt/g/file | cmp - /tmp/sum >&2; umount /mnt/g; \
         fsck.ext4 -f -n /dev/xvdg2",
        LONG,
    )?;
    let counts = backend.counts()?;
    ensure!(counts.get("failed")? == 0, "{counts:?}");
    detach(s, backend)
}

/// Files that are no whole sectors, and names beyond the sixteenth disk.
fn odd(s: &Scene<'_>) -> Result<()> {
    backend::install(s.machine, s.name())?;
    for (number, name, bytes, sector, sectors) in [
        (NUMBER, "xvdg", 0, 512, 0),
        (NUMBER, "xvdg", 511, 512, 0),
        (EXTENDED + (25 << 8), "xvdz", 512, 512, 1),
        (EXTENDED + (26 << 8), "xvdaa", (1 << 20) + 300, 512, 2048),
        (EXTENDED + (26 << 8) + 3, "xvdaa3", 8192 + 512, 4096, 16),
        (NUMBER + 1, "xvdg1", 1 << 20, 512, 2048),
        (2048 + 6 * 16, "xvdg", 3_u64 << 40, 512, 3_u64 << 31),
    ] {
        let comes = || -> Result<()> {
            s.dom0()
                .sh(&format!("rm -f {FILE}; truncate -s {bytes} {FILE}"))?;
            let backend = Backend::start(
                s.dom0(),
                "vbd",
                number,
                &format!("--file {FILE} --sector-size {sector}"),
            )?;
            s.guest.until(
                &format!("[ \"$(cat /sys/block/{name}/size)\" = {sectors} ] && [ -b /dev/{name} ]"),
                BRIEF,
            )?;
            if sectors > 0 {
                s.guest.sh(&format!(
                    "[ $(dd if=/dev/{name} bs={sector} skip=$(($(blockdev --getsz /dev/{name}) / ({sector} / 512) - 1)) \
                     iflag=direct 2>/dev/null | wc -c) = {sector} ]"
                ))?;
            }
            let counts = backend.counts()?;
            ensure!(counts.get("failed")? == 0, "{counts:?}");
            backend.detach()?;
            s.guest
                .until(&format!("[ ! -e /sys/block/{name} ]"), BRIEF)
                .map(drop)
        };
        comes().with_context(|| format!("{name} of {bytes} bytes"))?;
    }
    // The root disk is xvda. What no driver takes is closed by none: its backend leaves without.
    let taken = "xvda or its minor numbers belong to another disk";
    for (number, words, driven) in [
        (HDA, taken, true),
        (SDA, taken, true),
        (XVDZZZ, "has no room among the minor numbers", false),
    ] {
        s.guest.sh("dmesg -c >/dev/null")?;
        let backend = Backend::start(s.dom0(), "vbd", number, &format!("--file {FILE}"))?;
        s.guest
            .until(&format!("dmesg | grep -q '{words}'"), BRIEF)?;
        // Each further try would say it again.
        s.guest.sh("sleep 3; grep -qx 202:0 /sys/block/xvda/dev")?;
        let count = said(s, words)?;
        ensure!(count == 1, "{count} sentences for disk {number}, not one");
        if driven {
            backend.detach()?;
        } else {
            drop(backend);
        }
        check::log_is_clean(&s.guest.sh("dmesg")?)?;
    }
    s.dom0().sh(&format!("rm {FILE}")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_do_not_add_up_are_told() {
        let sums =
            "connections: 1\nrequests: 5\nsegments: 7\nresponses: 5\nevents: 2\nqueue 0: 0 sent\n";
        let table = |events| {
            format!("queue 0 1\nrequests 2 3\nsegments 3 4\nresponses 2 3\nevents {events}\n")
        };
        add_up(sums, &table("1 1"), 2).expect("they do");
        for events in ["1 2", "2 0", "2", "1 x"] {
            assert!(add_up(sums, &table(events), 2).is_err(), "{events}");
        }
        assert!(add_up(sums, "queue 0 1\n", 2).is_err());
    }
}
