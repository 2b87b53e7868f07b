// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/xenbus`, as Debian's own xenstore tools use it.

use anyhow::{ensure, Result};
use companion::{Domain, BRIEF};
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
