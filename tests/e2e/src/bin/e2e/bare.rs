// SPDX-License-Identifier: GPL-2.0

//! A guest that needs none of our modules to live: here they come and go, and meet backends that
//! are silent, broken or too many.

use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{Domain, BRIEF, LONG};
use e2e::suite::Test;
use e2e::{check, checking_kernel, spoil, LOAD_ALL, MODULES, UNLOAD_ALL};

/// The tests, in their order.
pub(crate) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    let mut tests: Vec<Test<Scene<'a>>> = vec![
        ("bare/control-run-without-modules", |s| {
            control_run(&s.guest, s.settings.control_seconds)
        }),
        ("bare/twin-still-attached", |s| twin(&s.guest)),
        ("bare/upcall-callback", |s| upcall(&s.guest, "callback")),
        ("bare/upcall-intx", |s| upcall(&s.guest, "intx")),
        ("bare/second-load", |s| second_load(&s.guest)),
        ("bare/module-of-another-build", |s| another_build(&s.guest)),
        ("bare/unload-and-reload", |s| {
            reload(&s.guest, s.settings.rounds)
        }),
        ("bare/two-level-events", |s| two_level(&s.guest)),
        ("bare/backend-never-connects", |s| {
            silent_backend(s.dom0(), &s.guest)
        }),
        ("bare/malformed-values-and-keys", |s| {
            malformed(s.dom0(), &s.guest)
        }),
        ("bare/driver-gone-before-its-grants", |s| {
            gone_before_grants(s.dom0(), &s.guest)
        }),
        ("bare/grants-exhausted", |s| exhausted(s.dom0(), &s.guest)),
        // The last way: once a vCPU has had a vector, Xen takes no other until the guest is booted again.
        ("bare/upcall-vector", |s| upcall(&s.guest, "vector")),
        ("bare/intx-after-vector", |s| intx_after_vector(&s.guest)),
        ("bare/unload-at-last", |s| {
            s.guest.sh_for(UNLOAD_ALL, LONG).map(drop)
        }),
        ("bare/toolstack-sees-no-drivers", |s| {
            toolstack_sees_none(s.dom0(), s.name())
        }),
    ];
    if checking_kernel() {
        tests.push(("bare/nothing-leaked", |s| check::nothing_leaked(&s.guest)));
    }
    tests.push(("bare/dmesg-clean", |s| check::dmesg_is_clean(&s.guest)));
    tests.push(("bare/destroy-while-connected", destroy));
    tests
}

/// All modules loaded, and the twin out of their way.
fn ready(guest: &Domain) -> Result<()> {
    guest.sh(&format!(
        "{TWIN_OFF}; [ ! -d /sys/module/sd_mod ] && [ ! -d /sys/module/ata_piix ]"
    ))?;
    guest.sh_for(LOAD_ALL, LONG)?;
    guest.until("[ -b /dev/xvdb ]", BRIEF)?;
    Ok(())
}

/// Takes the driver of the disk's emulated twin away.
const TWIN_OFF: &str =
    "for m in sd_mod ata_piix; do [ ! -d /sys/module/$m ] || /sbin/modprobe -r $m; done";

/// The guest's end, with a disk and an interface in use, leaves nothing in dom0.
fn destroy(s: &Scene<'_>) -> Result<()> {
    ready(&s.guest)?;
    disk_and_network(&s.guest)?;
    // Not `s.dom0()`: the guest ends on purpose.
    let dom0 = s.machine.dom0();
    let id = check::domid(dom0, s.name())?;
    let traces = [
        format!("xl domname {id}"),
        format!("xenstore-ls -f /local/domain/0/backend | grep /{id}/"),
        format!("ls /sys/bus/xen-backend/devices | grep -e -{id}-"),
    ];
    for trace in &traces {
        dom0.sh(trace)?;
    }
    s.guest.close();
    dom0.sh_for(&format!("xl destroy {}", s.name()), LONG)?;
    for trace in &traces {
        dom0.until(&format!("! {trace}"), BRIEF)?;
    }
    Ok(())
}

/// The same checksum over and over on both CPUs, with no module of ours: when this fails, the
/// machine below is at fault, and what else fails means nothing.
fn control_run(guest: &Domain, seconds: u64) -> Result<()> {
    ensure!(
        !guest.sh("lsmod")?.contains("oxen_"),
        "a module of ours is loaded"
    );
    guest.sh_for(
        &format!(
            "head -c 4194304 /dev/urandom >/tmp/data; want=$(sha256sum </tmp/data); end=$(($(date +%s) + {seconds})); \
             run() {{ n=0; while [ $(date +%s) -lt $end ]; do [ \"$(sha256sum </tmp/data)\" = \"$want\" ] || return 1; n=$((n + 1)); done; [ $n -gt 0 ]; }}; \
             run & a=$!; run & b=$!; wait $a && wait $b"
        ),
        LONG,
    )?;
    Ok(())
}

/// A disk whose emulated twin is in use is refused; once the twin's driver is gone it works.
fn twin(guest: &Domain) -> Result<()> {
    guest.until("ls /sys/block | grep -q ^sd", BRIEF)?;
    guest.sh_for(LOAD_ALL, LONG)?;
    // Each disk has been refused before any of them can be missed.
    guest.until(
        "disks=$(ls /sys/bus/oxen/devices | grep -c ^vbd-); [ $disks -gt 0 ] && \
         [ $(dmesg | grep -c 'an emulated disk with the same data is in use') -ge $disks ]",
        BRIEF,
    )?;
    guest.sh("! ls /sys/block | grep xvd")?;
    guest.sh_for(UNLOAD_ALL, LONG)?;
    ready(guest)?;
    disk_and_network(guest)
}

/// Disk and network, loaded, unloaded and loaded again with upcalls that come in one `way`; then, where Xen lets us,
/// in the way that is taken without a word, which is `callback` here. A module tries events by themselves.
fn upcall(guest: &Domain, way: &str) -> Result<()> {
    let is = |way: &str| -> Result<()> {
        let ports = guest.sh("cat /sys/kernel/debug/oxen/evtchn/ports")?;
        let line = format!("upcall {way}");
        ensure!(
            ports.lines().any(|found| found == line),
            "no {line}:\n{ports}"
        );
        disk_and_network(guest)
    };
    ready(guest)?;
    for _ in 0..2 {
        guest.sh_for(UNLOAD_ALL, LONG)?;
        guest.sh_for(
            &format!("/sbin/modprobe oxen_xen_core && /sbin/modprobe oxen_evtchn upcall={way}"),
            LONG,
        )?;
        ready(guest)?;
        is(way)?;
        let pin = guest.sh("cat /proc/interrupts")?;
        let pin = pin
            .lines()
            .any(|line| line.contains("oxen-upcall") && line.contains("IO-APIC"));
        ensure!(pin == (way == "intx"), "{way}: the pin is in use: {pin}");
    }
    guest.sh_for(
        "/sbin/modprobe evtchn_test pings=50 && /sbin/modprobe -r evtchn_test",
        LONG,
    )?;
    guest.sh_for(UNLOAD_ALL, LONG)?;
    if way != "vector" {
        ready(guest)?;
        return is("callback");
    }
    guest.sh("/sbin/modprobe oxen_xen_core")?;
    check::refuses(
        guest,
        "/sbin/modprobe oxen_evtchn upcall=intx",
        &["upcall=intx", "reboot the guest"],
    )?;
    // By default the callback is tried, and found to come beside the vector that Xen still has.
    ready(guest)?;
    is("callback")
}

/// The pin cannot work once a vCPU has had a vector: that is found out, and said.
fn intx_after_vector(guest: &Domain) -> Result<()> {
    guest.sh_for(UNLOAD_ALL, LONG)?;
    guest.sh("/sbin/modprobe oxen_xen_core")?;
    check::refuses(
        guest,
        "/sbin/modprobe oxen_evtchn upcall=intx",
        &["oxen_evtchn", "Xen prefers a vector that was set before"],
    )?;
    ready(guest)
}

/// With no driver of ours left, the toolstack no longer asks any to shut the guest down.
fn toolstack_sees_none(dom0: &Domain, name: &str) -> Result<()> {
    let asked = dom0.try_sh(&format!("xl shutdown {name}"), BRIEF)?;
    ensure!(
        asked.stderr.contains("PV control interface not available"),
        "the toolstack believes in drivers: {asked}"
    );
    Ok(())
}

fn second_load(guest: &Domain) -> Result<()> {
    ready(guest)?;
    for module in MODULES {
        let again = guest.try_sh(&format!("/sbin/insmod $(/sbin/modinfo -n {module})"), BRIEF)?;
        ensure!(!again.success(), "{module} loaded a second time");
        ensure!(
            !again.stderr.trim().is_empty(),
            "no word about the second load of {module}"
        );
    }
    Ok(())
}

/// A module made for another kernel, and one whose crates are not those that are loaded: each is refused by name.
fn another_build(guest: &Domain) -> Result<()> {
    let module = e2e::module("oxen_netfront")?;
    let symbol = spoil::imported_from("grant_table", &module)?;
    ready(guest)?;
    guest.sh("/sbin/modprobe -r oxen_netfront")?;
    for (text, word) in [("vermagic=", "version magic"), (&symbol, "Unknown symbol")] {
        guest.put_bytes(&spoil::after(text, &module)?, "/tmp/spoilt.ko")?;
        check::refuses(
            guest,
            "/sbin/insmod /tmp/spoilt.ko",
            &["oxen_netfront", word],
        )?;
    }
    guest.sh_for("/sbin/modprobe oxen_netfront", LONG)?;
    Ok(())
}

fn disk_and_network(guest: &Domain) -> Result<()> {
    guest.sh_for(&io("xvdb"), LONG)?;
    guest.until("[ -d /sys/class/net/eth0 ]", BRIEF)?;
    guest.sh("ip addr flush dev eth0; ip addr add 10.77.0.3/24 dev eth0; ip link set eth0 up")?;
    guest.until("ping -c 1 -W 5 10.77.0.1", BRIEF)?;
    Ok(())
}

/// Writes 4 MiB to a disk, and reads the same back from it.
fn io(disk: &str) -> String {
    format!(
        "set -e; head -c 4194304 /dev/urandom >/tmp/w; dd if=/tmp/w of=/dev/{disk} bs=64k conv=fsync 2>/dev/null; \
         echo 3 >/proc/sys/vm/drop_caches; head -c 4194304 /dev/{disk} | cmp - /tmp/w"
    )
}

fn reload(guest: &Domain, rounds: u64) -> Result<()> {
    ready(guest)?;
    let before = check::counters(guest)?;
    for round in 1..=rounds {
        e2e::round(round, || {
            guest.sh_for(UNLOAD_ALL, LONG)?;
            ensure!(
                !guest.sh("cat /proc/interrupts")?.contains("oxen"),
                "an interrupt of ours is left"
            );
            guest.sh_for(LOAD_ALL, LONG)?;
            guest.until("[ -b /dev/xvdb ]", BRIEF)?;
            guest.until("[ -d /sys/class/net/eth0 ]", BRIEF)?;
            Ok(())
        })?;
    }
    disk_and_network(guest)?;
    // The interface is up now and was when the counters were taken.
    check::counters_return(guest, &before)
}

/// Everything once more with two-level events, then as before.
fn two_level(guest: &Domain) -> Result<()> {
    ready(guest)?;
    for first in [
        "/sbin/modprobe oxen_xen_core && /sbin/modprobe oxen_evtchn fifo=0",
        ":",
    ] {
        guest.sh_for(UNLOAD_ALL, LONG)?;
        guest.sh_for(first, LONG)?;
        ready(guest)?;
        disk_and_network(guest)?;
    }
    Ok(())
}

/// Shell functions that play the toolstack: nodes of a device whose backend nobody runs.
fn toolstack(id: u32) -> String {
    // The backend lies where no driver of dom0 looks. Its path is written last: with it the device is whole.
    format!(
        "set -e; fe=/local/domain/{id}/device; be=/local/domain/0/backend/none/{id}; \
         node() {{ xenstore-write \"$1\" \"$2\"; xenstore-chmod \"$1\" n0 b{id}; }}; \
         device() {{ node $be/$2 ''; node $be/$2/frontend $fe/$1/$2; node $be/$2/frontend-id {id}; node $be/$2/state 1; \
         node $fe/$1/$2 ''; xenstore-chmod $fe/$1/$2 n{id} r0; node $fe/$1/$2/mac ${{3:-00:16:3e:77:03:01}}; \
         node $fe/$1/$2/backend-id 0; node $fe/$1/$2/backend $be/$2; xenstore-write $fe/$1/$2/virtual-device $2; node $fe/$1/$2/state 1; xenstore-chmod $fe/$1/$2/state n{id} r0; }}; "
    )
}

fn silent_backend(dom0: &Domain, guest: &Domain) -> Result<()> {
    ready(guest)?;
    let name = guest.name();
    let id = check::domid(dom0, name)?;
    let play = toolstack(id);
    dom0.sh(&format!("{play} device vbd 51792; device vif 7"))?;
    guest.until("ls /sys/bus/oxen/devices | grep -q 51792", BRIEF)?;
    guest.until("ls /sys/bus/oxen/devices | grep -q vif-7", BRIEF)?;
    // Nothing else waits for it: a real disk comes, works and goes.
    dom0.sh(&format!(
        "truncate -s 8M /var/lib/companion/{name}-xvdh.img; xl block-attach {name} \
         'format=raw,vdev=xvdh,access=rw,script=/run/companion/block,target=/var/lib/companion/{name}-xvdh.img'"
    ))?;
    guest.until("[ -b /dev/xvdh ]", BRIEF)?;
    guest.sh_for(&io("xvdh"), LONG)?;
    dom0.sh(&format!("xl block-detach {name} xvdh"))?;
    guest.until("[ ! -e /sys/block/xvdh ]", BRIEF)?;
    // The drivers can go and come while it waits.
    guest.sh_for(
        "/sbin/modprobe -r oxen_netfront && /sbin/modprobe oxen_netfront",
        LONG,
    )?;
    // And it can be taken away.
    dom0.sh(&format!(
        "{play} xenstore-rm $fe/vbd/51792; xenstore-rm $fe/vif/7; xenstore-rm $be"
    ))?;
    guest.until("! ls /sys/bus/oxen/devices | grep -E '51792|vif-7'", BRIEF)?;
    guest.until("[ -d /sys/class/net/eth0 ]", BRIEF)?;
    disk_and_network(guest)
}

fn malformed(dom0: &Domain, guest: &Domain) -> Result<()> {
    ready(guest)?;
    let name = guest.name();
    let id = check::domid(dom0, name)?;
    let play = toolstack(id);
    let long = "x".repeat(900);
    // Names that are no numbers, states that are none, a backend that is nowhere, and sizes and
    // features that no disk has.
    dom0.sh(&format!(
        "{play} device vbd 51808; xenstore-write $be/51808/state banana; \
         device vbd 51824; xenstore-write $fe/vbd/51824/backend-id 70000; xenstore-write $fe/vbd/51824/state 1; \
         device vbd 51840; xenstore-write $fe/vbd/51840/backend /nowhere/at/all; xenstore-write $fe/vbd/51840/state 1; \
         device vbd 51856; for k in sectors sector-size info feature-max-indirect-segments multi-queue-max-queues feature-flush-cache max-ring-page-order; do \
         node $be/51856/$k 99999999999999999999; done; node $be/51856/state 2; \
         device vbd not-a-number; device vif 4294967296; device vif 8 zz:zz; node $be/8/state 2; \
         device vbd {}; xenstore-write $be/8/feature-rx-notify {long}",
        "y".repeat(60)
    ))?;
    // A backend that connects before the frontend has told it how is waited for.
    dom0.until(
        &format!("[ \"$(xenstore-read /local/domain/{id}/device/vbd/51856/state)\" = 3 ]"),
        BRIEF,
    )?;
    dom0.sh(&format!("{play} xenstore-write $be/51856/state 4"))?;
    for (device, words) in [
        ("vbd-51808", "the backend's state is not usable"),
        ("vbd/51824", "its backend-id 70000 is no domain"),
        ("51856/sectors", "is not usable: the number is too large"),
        ("vbd-51856", "the backend does not tell the size"),
        ("vbd-not-a-number", "its name in the xenstore is not usable"),
        (
            "vif-8",
            "the hardware address in the xenstore is not of the form",
        ),
        ("vbd-yyy", "its name in the xenstore is not usable"),
    ] {
        guest
            .until(
                &format!("dmesg | grep {device} | grep -q \"{words}\""),
                BRIEF,
            )
            .with_context(|| format!("no sentence about {device}"))?;
    }
    // Those that are well go on.
    disk_and_network(guest)?;
    dom0.sh(&format!(
        "{play} for d in vbd/51808 vbd/51824 vbd/51840 vbd/51856 vbd/not-a-number vif/4294967296 vif/8 vbd/{}; do xenstore-rm $fe/$d; done; xenstore-rm $be",
        "y".repeat(60)
    ))?;
    guest.until(
        "! ls /sys/bus/oxen/devices | grep -E '518[0-9][0-9]|not-a-number|4294967296|vif-8|yyy'",
        BRIEF,
    )?;
    Ok(())
}

/// A driver is unloaded while its backend has pages of it: they wait for the backend, and nothing of the driver is needed
/// when it lets go.
fn gone_before_grants(dom0: &Domain, guest: &Domain) -> Result<()> {
    const COUNTERS: &str = "/sys/kernel/debug/oxen/grants/counters";
    ready(guest)?;
    let name = guest.name();
    let image = format!("/var/lib/companion/{name}-xvdk.img");
    let before = check::counters(guest)?;
    // A disk that can be made to keep its requests.
    dom0.sh(&format!(
        "set -e; truncate -s 8M {image}; loop=$(losetup -f --show {image}); \
         echo \"0 16384 linear $loop 0\" | dmsetup create --noudevsync {name}-slow; dmsetup mknodes {name}-slow; \
         xl block-attach {name} 'format=raw,vdev=xvdk,access=rw,script=/run/companion/block,target=/dev/mapper/{name}-slow'"
    ))?;
    let kept = (|| {
        guest.until("[ -b /dev/xvdk ]", BRIEF)?;
        dom0.sh(&format!(
            "dmsetup suspend --noudevsync --noflush --nolockfs {name}-slow"
        ))?;
        let read = guest.spawn_sh("dd if=/dev/xvdk of=/dev/null bs=64k count=1 iflag=direct")?;
        guest.until("[ $(awk '{print $9}' /sys/block/xvdk/stat) -gt 0 ]", BRIEF)?;
        let device = guest.sh("basename $(readlink -f /sys/block/xvdk/device)")?;
        guest.sh_for(
            &format!(
                "echo {0} >/sys/bus/oxen/devices/{0}/driver/unbind",
                device.trim()
            ),
            LONG,
        )?;
        ensure!(!read.wait(LONG)?.success(), "a read of a disk that is gone");
        guest.sh_for("/sbin/modprobe -r oxen_blkfront", LONG)?;
        let counters = guest.sh(&format!("cat {COUNTERS}"))?;
        ensure!(
            !counters.contains("deferred: 0\n"),
            "the backend kept nothing:\n{counters}"
        );
        Ok(())
    })();
    dom0.sh(&format!("dmsetup resume --noudevsync {name}-slow"))?;
    kept?;
    // blkback has answered by now, but it keeps the ring of a frontend that closed meanwhile until its device goes.
    dom0.sh_for(&format!("xl block-detach {name} xvdk"), LONG)?;
    guest.until(&format!("grep -qx 'deferred: 0' {COUNTERS}"), BRIEF)?;
    check::dmesg_is_clean(guest)?;
    guest.sh_for("/sbin/modprobe oxen_blkfront", LONG)?;
    dom0.sh(&format!(
        "n=0; until dmsetup remove --noudevsync {name}-slow || [ $n -gt 50 ]; do n=$((n + 1)); sleep 0.2; done; \
         losetup -j {image} | cut -d: -f1 | xargs -r losetup -d; rm {image}"
    ))?;
    ready(guest)?;
    disk_and_network(guest)?;
    check::counters_return(guest, &before)
}

/// Interfaces until the grant table is full: one sentence, no harm, and room again afterwards.
fn exhausted(dom0: &Domain, guest: &Domain) -> Result<()> {
    ready(guest)?;
    let name = guest.name();
    let before = check::counters(guest)?;
    let vifs = format!("/local/domain/{}/device/vif", check::domid(dom0, name)?);
    let settled = format!(
        "( for vif in $(xenstore-list {vifs}); do case $(xenstore-read {vifs}/$vif/state) in [456]) ;; *) exit 1 ;; esac; done )"
    );
    let mut attached = Vec::new();
    let said = "dmesg | grep -q 'oxen_grant_table: grant table full:'";
    ensure!(
        !guest.try_sh(said, BRIEF)?.success(),
        "the grant table was full before"
    );
    for n in 0..8 {
        let mac = format!("00:16:3e:77:02:{n:02x}");
        dom0.try_sh(
            &format!("xl network-attach {name} type=vif script=/run/companion/vif mac={mac} bridge=xenbr1"),
            LONG,
        )?;
        attached.push(mac);
        dom0.until(&settled, BRIEF)?;
        if guest.try_sh(said, BRIEF)?.success() {
            break;
        }
    }
    let told = guest.until(said, BRIEF);
    disk_and_network(guest).context("with the grant table full")?;
    for mac in attached {
        dom0.try_sh(&format!("xl network-detach {name} {mac}"), LONG)?;
    }
    told.context("no sentence about the grant table")?;
    disk_and_network(guest)?;
    check::counters_return(guest, &before)
}
