// SPDX-License-Identifier: GPL-2.0

//! A xenstored that has no room for the keys of a device.

use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{Disk, Domain, BRIEF};
use e2e::check;

const MAC: &str = "00:16:3e:77:07:01";

/// A disk and an interface wait for room and say so. With a little of it the disk has one small ring, and the interface waits
/// on; with enough it comes too, and so does a disk that is attached then with all its rings.
pub(crate) fn is_waited_for(s: &Scene<'_>) -> Result<()> {
    let waits = waits(s);
    allow(s.dom0(), 1000)?;
    waits
}

fn waits(s: &Scene<'_>) -> Result<()> {
    let (dom0, guest, name) = (s.dom0(), &s.guest, s.name());
    let id = check::domid(dom0, name)?;
    let before = check::counters(guest)?;
    let disk = Disk::new("xvdg", 1);
    dom0.sh(&format!("truncate -s 1M {}", disk.image(name)))?;
    guest.sh("dmesg -c >/dev/null")?;
    let attach = format!("xl block-attach {name} '{}'", disk.spec(name));
    let detach = format!("xl block-detach {name} xvdg");

    allow(dom0, 1)?;
    dom0.sh(&attach)?;
    dom0.sh(&format!(
        "xl network-attach {name} type=vif script=/run/companion/vif mac={MAC} bridge=xenbr1"
    ))?;
    let interface = format!("grep -l {MAC} /sys/class/net/*/address");
    for kind in ["vbd", "vif"] {
        guest.until(
            &format!("dmesg | grep ' {kind}-.*no room for the keys of the device'"),
            BRIEF,
        )?;
    }
    guest.sh("[ ! -e /sys/block/xvdg ]")?;

    // The four keys of the smallest connection have room, and one more.
    allow(dom0, used(dom0, id)? + 5)?;
    guest.until("[ -b /dev/xvdg ]", BRIEF)?;
    guest.sh("dd if=/dev/xvdg of=/dev/null bs=64k iflag=direct 2>/dev/null")?;
    let folder = format!("/local/domain/{id}/device/vbd/51808");
    dom0.sh(&format!(
        "xenstore-exists {folder}/ring-ref && ! xenstore-exists {folder}/ring-page-order"
    ))?;
    let log = guest.sh("dmesg")?;
    for (words, times) in [
        ("vbd-51808: xenstored has no room for the keys", 1),
        ("vbd-51808: xenstored has no room for all keys", 1),
    ] {
        let said = log.matches(words).count();
        ensure!(said == times, "{said} times {words:?}: {log}");
    }

    allow(dom0, 1000)?;
    dom0.until(
        &format!(
            "! xenstore-ls -f /local/domain/{id}/device/vif | grep '/state = ' | grep -v '\"4\"'"
        ),
        BRIEF,
    )?;
    dom0.sh(&detach)?;
    guest.until("[ ! -e /sys/block/xvdg ]", BRIEF)?;
    dom0.sh(&attach)?;
    guest.until("[ -b /dev/xvdg ]", BRIEF)?;
    dom0.sh(&format!("xenstore-exists {folder}/ring-page-order"))?;
    dom0.sh(&format!("{detach}; xl network-detach {name} {MAC}"))?;
    guest.until(&format!("[ ! -e /sys/block/xvdg ] && ! {interface}"), BRIEF)?;
    check::counters_return(guest, &before)
}

/// Allows guests to own so many nodes.
fn allow(dom0: &Domain, nodes: u32) -> Result<()> {
    dom0.sh(&format!("xenstore-control quota set nodes {nodes}"))
        .map(drop)
}

/// How many nodes the guest owns.
fn used(dom0: &Domain, id: u32) -> Result<u32> {
    let text = dom0.sh(&format!("xenstore-control quota {id}"))?;
    text.lines()
        .find_map(|line| {
            line.strip_prefix("nodes ")?
                .split(' ')
                .find_map(|word| word.parse().ok())
        })
        .with_context(|| format!("no number of nodes: {text}"))
}
