// SPDX-License-Identifier: GPL-2.0

//! Folders of an interface that are removed from the store, as by a toolstack that waits for nobody.

use crate::scene::Scene;
use anyhow::{Context, Result};
use companion::BRIEF;
use e2e::check;

const MAC: &str = "00:16:3e:77:06:01";
const GUEST: &str = "10.78.0.9";
const DOM0: &str = "10.78.0.1";

/// The frontend's folder first, and then the backend's; and the other way round. Nothing of it is worth a warning, which the guest
/// would not survive.
pub(crate) fn removed(s: &Scene<'_>) -> Result<()> {
    const ON: &str = "sysctl -qw kernel.panic_on_warn=1";
    check::bring_up_network(&s.guest)?;
    let before = check::counters(&s.guest)?;
    let was = s.guest.sh("cat /proc/sys/kernel/panic_on_warn")?;
    s.guest.sh(ON)?;
    for backend_first in [false, true] {
        once(s, backend_first).with_context(|| format!("backend first: {backend_first}"))?;
    }
    check::counters_return(&s.guest, &before)?;
    check::bring_up_network(&s.guest)?;
    s.guest
        .sh(&format!("sysctl -qw kernel.panic_on_warn={}", was.trim()))?;
    check::log_is_clean(&s.guest.sh("dmesg")?)
}

fn once(s: &Scene<'_>, backend_first: bool) -> Result<()> {
    let (dom0, guest, name) = (s.dom0(), &s.guest, s.name());
    dom0.sh(&format!(
        "xl network-attach {name} type=vif script=/run/companion/vif mac={MAC} bridge=xenbr1"
    ))?;
    let find = format!("grep -l {MAC} /sys/class/net/*/address");
    guest.until(&find, BRIEF)?;
    let found = guest.sh(&format!(
        "if=$(basename $(dirname $({find}))); ip addr add {GUEST}/24 dev $if; ip link set $if up; echo $if; \
         basename $(readlink -f /sys/class/net/$if/device)"
    ))?;
    let mut words = found.split_whitespace();
    let (interface, device) = words
        .next()
        .zip(words.next())
        .with_context(|| format!("no interface and device: {found}"))?;
    let number = device.trim_start_matches("vif-");
    guest.until(
        &format!("ping -c 1 -W 5 -I {interface} {DOM0} >/dev/null"),
        BRIEF,
    )?;
    let load = guest.spawn_sh(&format!(
        "exec ping -q -i 0.05 -s 1400 -I {interface} {DOM0}"
    ))?;
    let id = check::domid(dom0, name)?;
    let folders = [
        format!("/local/domain/{id}/device/vif/{number}"),
        format!("/local/domain/0/backend/vif/{id}/{number}"),
    ];
    let (one, other) = match (folders, backend_first) {
        ([front, back], false) => (front, back),
        ([front, back], true) => (back, front),
    };
    dom0.sh(&format!("xenstore-rm {one}; sleep 2; xenstore-rm {other}"))?;
    guest.until(
        &format!("! {find} && ! ls /sys/bus/oxen/devices | grep -qx {device}"),
        BRIEF,
    )?;
    load.stop()?;
    // What the toolstack keeps for itself, and the interface in dom0 if it is left.
    dom0.sh(&format!(
        "xenstore-rm /libxl/{id}/device/vif/{number}; ip link del vif{id}.{number} 2>/dev/null || true"
    ))
    .map(drop)
}
