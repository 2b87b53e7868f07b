// SPDX-License-Identifier: GPL-2.0

//! Debian with its root disk, network and console on Oxen.

use crate::scene::Scene;
use crate::{
    clock, disk, filesystems, folders, hotplug, multicast, offload, paths, queues, room, steering,
    store, xdp,
};
use anyhow::{ensure, Result};
use companion::{Console, Domain, BRIEF, LONG};
use e2e::suite::Test;
use e2e::{check, checking_kernel};
use std::time::Duration;

/// The tests, in their order.
pub(crate) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    let mut tests: Vec<Test<Scene<'a>>> = vec![
        ("debian/root-on-xvda", |s| {
            check::root_is_xvda(&s.guest).map(drop)
        }),
        ("debian/modules-stack-up", |s| {
            check::modules_stack_up(&s.guest).map(drop)
        }),
        ("debian/network-up", |s| check::bring_up_network(&s.guest)),
        ("debian/ethtool-names-us", |s| {
            check::ethtool_names_us(&s.guest).map(drop)
        }),
        ("debian/mac-and-carrier", |s| mac_and_carrier(&s.guest)),
        ("debian/ping", |s| {
            check::bring_up_network(&s.guest)?;
            check::ping(s.dom0(), &s.guest).map(drop)
        }),
        ("debian/clock", |s| clock::is_ours(s.dom0(), &s.guest)),
        ("debian/clock-monotonic", |s| {
            clock::monotonic(&s.guest, s.settings.clock_seconds)
        }),
        ("debian/tcp-both-ways", |s| {
            check::bring_up_network(&s.guest)?;
            check::tcp_both_ways(s.dom0(), &s.guest, s.settings.mib).map(drop)
        }),
        ("debian/large-packets", offload::large_packets),
        ("debian/network-queues", queues::queues),
        ("debian/network-hash", steering::hostile),
        ("debian/xdp-verdicts", xdp::verdicts),
        ("debian/xdp-under-load", xdp::under_load),
        ("debian/xdp-other-backends", xdp::other_backends),
        ("debian/fio-verify", |s| {
            check::fio_verify(&s.guest, "xvdb", s.settings.mib).map(drop)
        }),
        ("debian/three-disks-two-nics-at-once", |s| {
            all_at_once(s.dom0(), &s.guest, s.settings.mib / 8)
        }),
        ("debian/interrupts-on-both-cpus", |s| {
            interrupts_on_both_cpus(&s.guest)
        }),
        ("debian/irq-affinity-moves", |s| {
            irq_affinity_moves(&s.guest)
        }),
        ("debian/cpu-goes-and-comes", |s| {
            cpu_goes_and_comes(&s.guest)
        }),
        ("debian/cpu-off-on", |s| {
            clock::cpu_off_and_on(&s.guest, s.settings.rounds)
        }),
        ("debian/time-reload", |s| {
            clock::reload(&s.guest, s.settings.rounds)
        }),
        ("debian/read-only-disk", |s| read_only_disk(&s.guest)),
        ("debian/partitions-and-flush", |s| partitions(&s.guest)),
        ("debian/xenstore-tools", |s| {
            store::tools(s.dom0(), &s.guest, s.name())
        }),
        ("debian/xenstore-transactions", |s| {
            store::transactions(&s.guest)
        }),
        ("debian/xenstore-abuse", |s| {
            store::abuse(s.dom0(), &s.guest, s.name())
        }),
        ("debian/console-login", |s| {
            check::console_login(s.dom0(), s.name()).map(drop)
        }),
        ("debian/console-kernel-messages", |s| {
            console_kernel_messages(s.dom0(), &s.guest)
        }),
        ("debian/console-2000-lines", |s| {
            console_flood(s.dom0(), &s.guest)
        }),
        ("debian/block-attach-detach", |s| {
            hotplug::blocks(s.dom0(), &s.guest, s.name(), often(s.settings.rounds))
        }),
        ("debian/network-attach-detach", |s| {
            check::bring_up_network(&s.guest)?;
            hotplug::networks(s.dom0(), &s.guest, s.name(), s.settings.rounds)
        }),
        ("debian/same-disk-without-a-pause", |s| {
            hotplug::same_disk(s.dom0(), &s.guest, s.name(), often(s.settings.rounds))
        }),
        ("debian/same-network-without-a-pause", |s| {
            hotplug::same_network(s.dom0(), &s.guest, s.name(), often(s.settings.rounds))
        }),
        ("debian/folders-removed", folders::removed),
        ("debian/streams-go-on-without-their-interface", |s| {
            // Of all together as much as is asked for.
            let rounds = s.settings.rounds;
            hotplug::streams_go_on(s, rounds, 1024 * s.settings.mib / rounds)
        }),
        ("debian/paused-as-devices-come-and-go", |s| {
            hotplug::paused(s.dom0(), &s.guest, s.name())
        }),
        ("debian/many-devices-at-once", |s| {
            // More than the ten transactions that xenstored allows at a time.
            let (disks, vifs) = if s.settings.rounds < 20 {
                (12, 2)
            } else {
                (60, 4)
            };
            hotplug::crowd(s.dom0(), &s.guest, s.name(), disks, vifs)
        }),
        ("debian/xenstored-without-room", room::is_waited_for),
        ("debian/any-state-in-any-order", |s| {
            check::bring_up_network(&s.guest)?;
            hotplug::state_storm(s.dom0(), &s.guest, 24 * s.settings.rounds)
        }),
        ("debian/io-after-hotplug", |s| {
            check::bring_up_network(&s.guest)?;
            check::fio_verify(&s.guest, "xvdb", s.settings.mib / 4)?;
            check::tcp_both_ways(s.dom0(), &s.guest, s.settings.mib / 8).map(drop)
        }),
        ("debian/reload-net", |s| {
            reload_net(&s.guest, s.settings.rounds.div_ceil(4))
        }),
        ("debian/no-deferred-grants", |s| {
            no_deferred_grants(&s.guest)
        }),
        ("debian/dmesg-clean", |s| check::dmesg_is_clean(&s.guest)),
    ];
    let at = tests
        .iter()
        .position(|(name, _)| *name == "debian/xenstore-tools");
    let after = tests.split_off(at.unwrap_or(tests.len()));
    tests.extend(multicast::tests());
    tests.extend(paths::tests());
    tests.extend(disk::tests());
    tests.extend(filesystems::tests());
    tests.extend(after);
    if !checking_kernel() {
        let stock: Test<Scene<'a>> = ("debian/kernel-is-stock", |s| {
            check::kernel_is_stock(&s.guest, &s.machine.assets().guest_release()?).map(drop)
        });
        tests.insert(0, stock);
    }
    tests
}

fn mac_and_carrier(guest: &Domain) -> Result<()> {
    let mac = guest.sh("cat /sys/class/net/eth0/address /sys/class/net/eth1/address")?;
    ensure!(
        mac.contains("00:16:3e:77:00:00") && mac.contains("00:16:3e:77:00:01"),
        "MAC addresses: {mac}"
    );
    guest.until("grep -q 1 /sys/class/net/eth0/carrier", BRIEF)?;
    Ok(())
}

/// Three disks are written and read back, twice `mib` MiB each, while both bridges carry `mib` MiB: one to the guest,
/// one from it.
///
/// By count and not by time: iperf3 gives up on a peer that is slow to notice that the time is over.
fn all_at_once(dom0: &Domain, guest: &Domain, mib: u64) -> Result<()> {
    check::bring_up_network(guest)?;
    let make = |file: &str| {
        format!("dd if=/dev/urandom of={file} bs=1M count={mib} 2>/dev/null; sha256sum <{file}")
    };
    let sent = dom0.sh_for(&make("/tmp/there"), LONG)?;
    let sent_back = guest.sh_for(&make("/tmp/back"), LONG)?;
    let source =
        dom0.spawn_sh("exec socat -b 65536 -u OPEN:/tmp/there TCP-LISTEN:5201,reuseaddr")?;
    let sink = dom0.spawn_sh("socat -b 65536 -u TCP-LISTEN:5202,reuseaddr - | sha256sum")?;
    let disk = mib * 2;
    let received = guest.sh_for(
        &format!("set -e; \
         socat -b 65536 -u TCP:10.77.0.1:5201,retry=100,interval=0.2 - >/tmp/there & a=$!; \
         socat -b 65536 -u OPEN:/tmp/back TCP:10.78.0.1:5202,retry=100,interval=0.2 & b=$!; \
         fio --name=b --filename=/dev/xvdb --rw=randrw --bs=16k --size={disk}m --direct=1 --ioengine=libaio --iodepth=8 --verify=crc32c --verify_fatal=1 >/tmp/f0 & c=$!; \
         fio --name=c --filename=/dev/xvdc --rw=write --bs=64k --size={disk}m --direct=1 --ioengine=libaio --iodepth=8 --verify=crc32c --verify_fatal=1 >/tmp/f1 & d=$!; \
         fio --name=a --filename=/root/file --rw=randwrite --bs=4k-64k --size={disk}m --verify=crc32c --verify_fatal=1 >/tmp/f2 & e=$!; \
         for p in $a $b $c $d $e; do wait $p; done; sha256sum </tmp/there; rm -f /root/file /tmp/there /tmp/back"),
        LONG,
    )?;
    source.wait(LONG)?;
    let received_back = sink.wait(LONG)?.stdout;
    check::same_sum("to the guest", &sent, &received)?;
    check::same_sum("from the guest", &sent_back, &received_back)
}

fn interrupts_on_both_cpus(guest: &Domain) -> Result<()> {
    check::bring_up_network(guest)?;
    let (before, _) = check::interrupts(guest)?;
    guest.sh_for(
        "for c in 0 1; do taskset -c $c dd if=/dev/xvdb of=/dev/null bs=64k count=64 iflag=direct; done 2>&1; \
         ping -c 10 -i 0.2 10.77.0.1; ping -c 10 -i 0.2 10.78.0.1",
        LONG,
    )?;
    let (after, count) = check::interrupts(guest)?;
    ensure!(after.len() >= 2, "only {} CPUs", after.len());
    let grown = before
        .iter()
        .zip(&after)
        .all(|(before, after)| after > before);
    ensure!(
        grown,
        "the {count} interrupts do not count on every CPU: {before:?}, then {after:?}"
    );
    Ok(())
}

fn irq_affinity_moves(guest: &Domain) -> Result<()> {
    check::bring_up_network(guest)?;
    // Put every port of ours on one CPU, then on the other, and have I/O done both times.
    guest.sh_for(
        "set -e; for mask in 1 2 3; do \
         for irq in $(grep oxen /proc/interrupts | grep -v oxen-upcall | cut -d: -f1); do \
         echo $mask >/proc/irq/$irq/smp_affinity 2>/dev/null || true; done; \
         dd if=/dev/xvdb of=/dev/null bs=64k count=32 iflag=direct 2>/dev/null; ping -c 2 -W 20 10.77.0.1 >/dev/null; done",
        LONG,
    )?;
    Ok(())
}

/// A CPU's ports move away from it; when it is back it takes upcalls again.
fn cpu_goes_and_comes(guest: &Domain) -> Result<()> {
    check::bring_up_network(guest)?;
    let online = "/sys/devices/system/cpu/cpu1/online";
    let work = "dd if=/dev/xvdb of=/dev/null bs=64k count=32 iflag=direct 2>/dev/null; \
                ping -c 2 -W 20 10.77.0.1 >/dev/null";
    guest.sh_for(
        &format!("set -e; echo 0 >{online}; {work}; echo 1 >{online}; {work}"),
        LONG,
    )?;
    let (before, _) = check::interrupts(guest)?;
    irq_affinity_moves(guest)?;
    let (after, _) = check::interrupts(guest)?;
    ensure!(
        after.len() == 2 && after[1] > before[1],
        "no interrupt on the CPU that came back: {before:?}, then {after:?}"
    );
    Ok(())
}

fn read_only_disk(guest: &Domain) -> Result<()> {
    ensure!(
        guest.sh("blockdev --getro /dev/xvdd")?.trim() == "1",
        "xvdd is not read-only"
    );
    let write = guest.try_sh(
        "dd if=/dev/zero of=/dev/xvdd bs=4k count=1 oflag=direct",
        BRIEF,
    )?;
    ensure!(!write.success(), "a read-only disk was written to");
    guest.sh("dd if=/dev/xvdd of=/dev/null bs=64k count=8 iflag=direct")?;
    Ok(())
}

fn partitions(guest: &Domain) -> Result<()> {
    guest.sh_for(
        "set -e; printf 'label: gpt\\n,40M\\n,40M\\n' | sfdisk -q /dev/xvdc; \
         for i in $(seq 1 100); do [ -b /dev/xvdc2 ] && break; sleep 0.2; done; \
         mkfs.ext4 -q -F /dev/xvdc2; mkdir -p /mnt/p; mount /dev/xvdc2 /mnt/p; \
         head -c 8M /dev/urandom >/mnt/p/file; sha256sum </mnt/p/file >/tmp/sum; sync; umount /mnt/p; \
         echo 3 >/proc/sys/vm/drop_caches; mount /dev/xvdc2 /mnt/p; sha256sum </mnt/p/file | cmp - /tmp/sum >&2; umount /mnt/p; \
         perl -e 'open my $d, \"<\", \"/dev/xvdb\" or die $!; my $g = \"\\0\" x 24; ioctl $d, 0x301, $g or die \"HDIO_GETGEO: $!\"; \
                  exit(join(\" \", unpack \"CCS\", $g) ne \"255 63 32\")'; \
         grep 'write back' /sys/block/xvdc/queue/write_cache || { cat /sys/block/xvdc/queue/write_cache >&2; exit 1; }",
        LONG,
    )?;
    Ok(())
}

fn console_kernel_messages(dom0: &Domain, guest: &Domain) -> Result<()> {
    let mut console = Console::open(dom0, guest.name())?;
    console.drain(Duration::from_secs(2))?;
    guest.sh("echo '<2>a message for hvc0' >/dev/kmsg")?;
    console.expect("a message for hvc0", BRIEF)?;
    console.close();
    Ok(())
}

fn console_flood(dom0: &Domain, guest: &Domain) -> Result<()> {
    // Somebody has to read; every line must come, whole and in order.
    let mut console = Console::open(dom0, guest.name())?;
    console.drain(Duration::from_secs(2))?;
    let lines = 2000;
    let job = guest.spawn_sh(&format!("for i in $(seq 1 {lines}); do echo \"line $i of the flood\"; done >/dev/hvc0; echo end-of-flood >/dev/hvc0"))?;
    let text = console.expect("end-of-flood", LONG)?;
    console.close();
    job.wait(LONG)?;
    let mut expected = 1;
    for line in text.lines().filter(|line| line.contains("of the flood")) {
        ensure!(
            line.contains(&format!("line {expected} of the flood")),
            "line {expected} came as {line:?}"
        );
        expected += 1;
    }
    ensure!(
        expected == lines + 1,
        "{} lines of {lines} came",
        expected - 1
    );
    Ok(())
}

fn reload_net(guest: &Domain, rounds: u64) -> Result<()> {
    for round in 1..=rounds {
        guest
            .sh_for("set -e; /sbin/modprobe -r oxen_netfront; [ ! -d /sys/class/net/eth0 ]; /sbin/modprobe oxen_netfront", LONG)
            .map_err(|why| why.context(format!("round {round}")))?;
        check::bring_up_network(guest)?;
    }
    Ok(())
}

fn no_deferred_grants(guest: &Domain) -> Result<()> {
    let text = check::counters(guest)?;
    for line in text
        .lines()
        .filter(|line| line.contains("deferred:") || line.contains("lost:"))
    {
        ensure!(line.ends_with(" 0"), "{text}");
    }
    Ok(())
}

/// What is quick is done oftener than the rest: 100 times in a soak.
fn often(rounds: u64) -> u64 {
    if rounds < 20 {
        rounds
    } else {
        5 * rounds
    }
}
