// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/xenbus`, as Debian's own xenstore tools use it.

use anyhow::{ensure, Context, Result};
use companion::{Disk, Domain, BRIEF};
use e2e::check;

/// `xenstore-ls`, `-write`, `-read` and `-watch` in the guest.
pub(crate) fn tools(dom0: &Domain, guest: &Domain, name: &str) -> Result<()> {
    let id = check::domid(dom0, name)?;
    let listing = guest.sh("xenstore-ls device")?;
    ensure!(
        listing.contains("vbd = \"\"") && listing.contains("51712"),
        "xenstore-ls device: {listing}"
    );
    ensure!(
        guest.sh("xenstore-read domid")?.trim() == id.to_string(),
        "the guest's domid is not {id}"
    );

    // Written there, read here, and the other way round.
    guest.sh("xenstore-write data/greeting hello")?;
    let path = format!("/local/domain/{id}/data");
    ensure!(dom0.sh(&format!("xenstore-read {path}/greeting"))?.trim() == "hello");
    guest.sh("xenstore-rm data/greeting")?;
    let missing = guest.try_sh("xenstore-read data/greeting", BRIEF)?;
    ensure!(!missing.success(), "a removed key can still be read");

    // -n 2: the watch fires once when it is set, and once for the write.
    let watch = guest.spawn_sh("exec xenstore-watch -n 2 data/signal")?;
    guest.until("pidof xenstore-watch", BRIEF)?;
    for _ in 0..20 {
        dom0.sh(&format!("xenstore-write {path}/signal $(date +%N)"))?;
        if guest.try_sh("pidof xenstore-watch", BRIEF)?.code != 0 {
            break;
        }
        guest.sh("sleep 0.5")?;
    }
    let seen = watch.wait(BRIEF)?;
    ensure!(
        seen.success() && seen.stdout.contains("data/signal"),
        "xenstore-watch: {seen}"
    );
    Ok(())
}

/// Many writers at once: `xenstore-write` of several keys is one transaction.
pub(crate) fn transactions(guest: &Domain) -> Result<()> {
    guest.sh(
        "set -e; for i in 1 2 3 4; do \
         (for j in 1 2 3 4 5; do xenstore-write data/t$i/a $j data/t$i/b $j || exit 1; done) & pids=\"$pids $!\"; done; \
         for p in $pids; do wait $p; done; \
         for i in 1 2 3 4; do [ $(xenstore-read data/t$i/a) = 5 ]; [ $(xenstore-read data/t$i/b) = 5 ]; xenstore-rm data/t$i; done",
    )?;
    // A program that dies with a transaction open and a watch set leaves neither behind.
    guest.sh(
        "for i in $(seq 1 10); do xenstore-watch data/x >/dev/null & p=$!; sleep 0.1; kill -9 $p; done; xenstore-ls data >/dev/null",
    )?;
    Ok(())
}

/// Bad uses of `/dev/xen/xenbus`, by what the agent calls them, and what it has to be answered.
const ABUSES: [(&str, &str); 4] = [
    ("page", "ready"),
    ("deaf", "^refused after [0-9]*: ENOBUFS$"),
    ("watches 600", "^64 watches, then ENOSPC$"),
    ("transactions 40", "^6 transactions, then ENOSPC$"),
];

/// Programs that use the xenstore badly get errors, and devices of the guest come and go meanwhile.
pub(crate) fn abuse(dom0: &Domain, guest: &Domain, name: &str) -> Result<()> {
    const AGENT: &str = "/run/companion/agent store";
    const COUNTERS: &str = "/sys/kernel/debug/oxen/xenbus/store";
    let disk = Disk::new("xvdf", 16);
    dom0.sh(&format!("truncate -s 16M {}", disk.image(name)))?;
    let attach = || -> Result<()> {
        dom0.sh(&format!("xl block-attach {name} '{}'", disk.spec(name)))?;
        guest.until("[ -b /dev/xvdf ]", BRIEF)?;
        dom0.sh(&format!("xl block-detach {name} xvdf"))?;
        guest.until("[ ! -e /sys/block/xvdf ]", BRIEF)?;
        Ok(())
    };
    let before = guest.sh(&format!(
        "grep -E '^(watches|transactions|faults) ' {COUNTERS}"
    ))?;

    let polite = guest.sh(&format!("{AGENT} polite"))?;
    ensure!(
        polite.contains("an unknown command: Err(\"ENOSYS\")"),
        "{polite}"
    );
    for (how, answer) in ABUSES {
        let round = || -> Result<()> {
            let program = guest.spawn_sh(&format!("exec {AGENT} {how} >/run/abuse 2>&1"))?;
            guest.until("grep -q '^ready$' /run/abuse", BRIEF)?;
            let said = guest.sh("cat /run/abuse")?;
            guest
                .sh(&format!("grep -q '{answer}' /run/abuse"))
                .with_context(|| format!("it said {said}"))?;
            attach()?;
            program.stop()?;
            Ok(())
        };
        round().with_context(|| format!("while a program runs: {how}"))?;
    }
    // More often than the server allows a domain transactions.
    guest.sh(&format!(
        "for i in $(seq 1 30); do {AGENT} die; [ $? = 137 ] || exit 1; done"
    ))?;
    attach().context("after 30 programs were killed in a transaction")?;
    // Nothing is left behind, and the server did nothing wrong.
    for line in before.lines() {
        guest.until(&format!("grep -qx '{line}' {COUNTERS}"), BRIEF)?;
    }
    Ok(())
}
