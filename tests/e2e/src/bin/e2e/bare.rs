// SPDX-License-Identifier: GPL-2.0

//! A guest that needs none of our modules to live: here they come and go, and meet backends that
//! are silent, broken or too many.

use crate::settings::Settings;
use anyhow::{ensure, Context, Result};
use companion::{Companion, Domain, BRIEF, LONG};
use e2e::suite::Suite;
use e2e::{check, checking_kernel, explain, guests, spoil, LOAD_ALL, MODULES, UNLOAD_ALL};

const NAME: &str = "bare";

/// Boots the guest and runs the tests in it.
pub(crate) fn run(suite: &mut Suite, machine: &Companion, settings: &Settings) {
    let config = guests::bare(NAME);
    let Some(Some(guest)) = suite.stage("bare/boot", || machine.create(&config)) else {
        machine.destroy(NAME).ok();
        return;
    };
    let dom0 = machine.dom0();
    let report = |done: Result<()>| done.map_err(|why| explain(why, machine, &guest));

    suite.test("bare/control-run-without-modules", || {
        control_run(&guest, settings.control_seconds)
    });
    suite.test("bare/twin-still-attached-and-intx", || {
        report(twin_with_intx(&guest))
    });
    suite.test("bare/second-load", || second_load(&guest));
    suite.test("bare/module-of-another-build", || {
        report(another_build(&guest))
    });
    suite.test("bare/disk-and-network", || report(disk_and_network(&guest)));
    suite.test("bare/unload-and-reload-20", || {
        report(reload(&guest, settings.rounds))
    });
    suite.test("bare/two-level-events", || {
        report(with_parameter(&guest, "oxen_evtchn", "fifo=0"))
    });
    suite.test("bare/backend-never-connects", || {
        report(silent_backend(dom0, &guest))
    });
    suite.test("bare/malformed-values-and-keys", || {
        report(malformed(dom0, &guest))
    });
    suite.test("bare/grants-exhausted", || report(exhausted(dom0, &guest)));
    suite.test("bare/unload-at-last", || {
        report(guest.sh_for(UNLOAD_ALL, LONG).map(drop))
    });
    if checking_kernel() {
        suite.test("bare/nothing-leaked", || check::nothing_leaked(&guest));
    }
    suite.test("bare/dmesg-clean", || check::dmesg_is_clean(&guest));
    guest.close();
    suite.test("bare/destroy", || machine.destroy(NAME));
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

/// A disk whose emulated twin is in use is refused; once the twin's driver is gone it works. All of it with upcalls by
/// pin, which only a guest's first load can have: Xen keeps the vectors once they are set.
fn twin_with_intx(guest: &Domain) -> Result<()> {
    let load = format!(
        "/sbin/modprobe oxen_xen_core && /sbin/modprobe oxen_evtchn upcall=intx && {LOAD_ALL}"
    );
    guest.until("ls /sys/block | grep -q ^sd", BRIEF)?;
    guest.sh_for(&load, LONG)?;
    // Each disk has been refused before any of them can be missed.
    guest.until(
        "disks=$(ls /sys/bus/oxen/devices | grep -c ^vbd-); [ $disks -gt 0 ] && \
         [ $(dmesg | grep -c 'an emulated disk with the same data is in use') -ge $disks ]",
        BRIEF,
    )?;
    guest.sh("! ls /sys/block | grep xvd")?;
    guest.sh_for(UNLOAD_ALL, LONG)?;
    guest.sh("/sbin/modprobe -r sd_mod; /sbin/modprobe -r ata_piix")?;
    guest.sh_for(&load, LONG)?;
    guest.until("[ -b /dev/xvdb ]", BRIEF)?;
    guest.sh("grep oxen-upcall /proc/interrupts | grep -q IO-APIC")?;
    disk_and_network(guest)?;
    guest.sh_for(UNLOAD_ALL, LONG)?;
    guest.sh_for(LOAD_ALL, LONG)?;
    guest.until("[ -b /dev/xvdb ]", BRIEF)?;
    Ok(())
}

fn second_load(guest: &Domain) -> Result<()> {
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

/// Everything once more with a parameter, then as before.
fn with_parameter(guest: &Domain, module: &str, parameter: &str) -> Result<()> {
    guest.sh_for(UNLOAD_ALL, LONG)?;
    guest.sh_for(
        &format!("/sbin/modprobe oxen_xen_core && /sbin/modprobe {module} {parameter}"),
        LONG,
    )?;
    guest.sh_for(LOAD_ALL, LONG)?;
    guest.until("[ -b /dev/xvdb ]", BRIEF)?;
    disk_and_network(guest)?;
    guest.sh_for(UNLOAD_ALL, LONG)?;
    guest.sh_for(LOAD_ALL, LONG)?;
    guest.until("[ -b /dev/xvdb ]", BRIEF)?;
    disk_and_network(guest)
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
    let id = check::domid(dom0, NAME)?;
    let play = toolstack(id);
    dom0.sh(&format!("{play} device vbd 51792; device vif 7"))?;
    guest.until("ls /sys/bus/oxen/devices | grep -q 51792", BRIEF)?;
    guest.until("ls /sys/bus/oxen/devices | grep -q vif-7", BRIEF)?;
    // Nothing else waits for it: a real disk comes, works and goes.
    dom0.sh(&format!(
        "truncate -s 8M /var/lib/companion/{NAME}-xvdh.img; xl block-attach {NAME} \
         'format=raw,vdev=xvdh,access=rw,script=/run/companion/block,target=/var/lib/companion/{NAME}-xvdh.img'"
    ))?;
    guest.until("[ -b /dev/xvdh ]", BRIEF)?;
    guest.sh_for(&io("xvdh"), LONG)?;
    dom0.sh(&format!("xl block-detach {NAME} xvdh"))?;
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
    let id = check::domid(dom0, NAME)?;
    let play = toolstack(id);
    let long = "x".repeat(900);
    // Names that are no numbers, states that are none, a backend that is nowhere, and sizes and
    // features that no disk has.
    dom0.sh(&format!(
        "{play} device vbd 51808; xenstore-write $be/51808/state banana; \
         device vbd 51824; xenstore-write $fe/vbd/51824/backend-id 70000; xenstore-write $fe/vbd/51824/state 1; \
         device vbd 51840; xenstore-write $fe/vbd/51840/backend /nowhere/at/all; xenstore-write $fe/vbd/51840/state 1; \
         device vbd 51856; for k in sectors sector-size info feature-max-indirect-segments multi-queue-max-queues feature-flush-cache max-ring-page-order; do \
         node $be/51856/$k 99999999999999999999; done; node $be/51856/state 2; xenstore-write $be/51856/state 4; \
         device vbd not-a-number; device vif 4294967296; device vif 8 zz:zz; node $be/8/state 2; \
         device vbd {}; xenstore-write $be/8/feature-rx-notify {long}",
        "y".repeat(60)
    ))?;
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

/// Interfaces until the grant table is full: one sentence, no harm, and room again afterwards.
fn exhausted(dom0: &Domain, guest: &Domain) -> Result<()> {
    let before = check::counters(guest)?;
    let vifs = format!("/local/domain/{}/device/vif", check::domid(dom0, NAME)?);
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
            &format!("xl network-attach {NAME} type=vif script=/run/companion/vif mac={mac} bridge=xenbr1"),
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
        dom0.try_sh(&format!("xl network-detach {NAME} {mac}"), LONG)?;
    }
    told.context("no sentence about the grant table")?;
    disk_and_network(guest)?;
    check::counters_return(guest, &before)
}
