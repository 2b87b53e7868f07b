// SPDX-License-Identifier: GPL-2.0

//! An interface on a backend of our own: everything an honest one can offer, and what a hostile one may do.

use super::bystanders::{self, stand_by};
use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{BRIEF, LONG};
use e2e::backend::Backend;
use e2e::check;
use e2e::suite::Test;

/// The interface's number, its hardware address, and the name of its other end in dom0.
const HANDLE: u32 = 9;
pub(super) const MAC: &str = "00:16:3e:77:09:09";
pub(super) const TAP: &str = "oxentap";

/// Addresses of dom0 and of the guest on it.
pub(super) const DOM0: &str = "10.79.0.1";
const GUEST: &str = "10.79.0.2";

pub(super) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    vec![
        ("hostile/net-offers", offers),
        ("hostile/net-transmit-ids", |s| {
            acts(
                s,
                &[
                    (
                        "tx-id-out-of-range",
                        Ends::Recovers("id is beyond the table"),
                    ),
                    ("tx-id-never-sent", Ends::Recovers("id was not sent")),
                    ("tx-id-twice", Ends::Recovers("id was not sent")),
                ],
            )
        }),
        ("hostile/net-transmit-answers", |s| {
            acts(
                s,
                &[
                    ("tx-null-status", Ends::Recovers("null response")),
                    ("tx-unknown-status", Ends::Unharmed),
                    ("tx-overwritten", Ends::Unharmed),
                ],
            )
        }),
        ("hostile/net-indices", |s| {
            acts(
                s,
                &[
                    (
                        "tx-producer-beyond-ring",
                        Ends::Recovers("moved the response index"),
                    ),
                    (
                        "tx-producer-backwards",
                        Ends::Recovers("moved the response index"),
                    ),
                    ("rx-no-buffer", Ends::Recovers("moved the response index")),
                    (
                        "rx-producer-backwards",
                        Ends::Recovers("moved the response index"),
                    ),
                ],
            )
        }),
        ("hostile/net-packets", packets),
        ("hostile/net-states", states),
        ("hostile/net-keeps-grants", keeps_grants),
        ("hostile/net-driver-gone-before-its-grants", driver_gone),
        ("hostile/net-dies", dies),
        ("hostile/net-takes-nothing", takes_nothing),
    ]
}

/// What becomes of the connection in an act. Packets go through after it in any case.
enum Ends {
    /// The ring is broken, one sentence says how, and there is a new connection.
    Recovers(&'static str),
    /// Nothing.
    Unharmed,
}

pub(super) const ADDRESS: &str = "grep -l 00:16:3e:77:09:09 /sys/class/net/*/address";

/// Attaches the interface, with `options`, and brings both ends up.
pub(super) fn attach(s: &Scene<'_>, options: &str) -> Result<Backend> {
    s.guest.sh("dmesg -c >/dev/null")?;
    let options = format!("--mac {MAC} --tap {TAP} {options}");
    let backend = Backend::start(s.dom0(), "vif", HANDLE, &options)?;
    up(s)?;
    has_address(s, MAC, GUEST)?;
    goes_through(s)?;
    Ok(backend)
}

/// The guest's interface `mac` is there, and gets its address.
fn has_address(s: &Scene<'_>, mac: &str, address: &str) -> Result<()> {
    let found = format!("grep -l {mac} /sys/class/net/*/address");
    s.guest.until(&found, BRIEF)?;
    s.guest
        .sh(&format!(
            "if=$(basename $(dirname $({found}))); ip addr add {address}/24 dev $if; ip link set $if up"
        ))
        .map(drop)
}

/// The end in dom0 is there and has its address.
pub(super) fn up(s: &Scene<'_>) -> Result<()> {
    s.dom0()
        .sh(&format!(
            "ip addr add {DOM0}/24 dev {TAP}; ip link set {TAP} up"
        ))
        .map(drop)
}

/// Packets go through, there and back.
fn goes_through(s: &Scene<'_>) -> Result<()> {
    s.guest
        .until(&format!("ping -c 1 -W 2 {DOM0} >/dev/null"), BRIEF)
        .map(drop)
}

pub(super) fn detach(s: &Scene<'_>, backend: Backend) -> Result<()> {
    backend.detach()?;
    is_gone(s)
}

fn is_gone(s: &Scene<'_>) -> Result<()> {
    s.guest.until(
        &format!("! {ADDRESS} && ! ls /sys/bus/oxen/devices | grep -q vif-9"),
        BRIEF,
    )?;
    stand_by(&s.guest)
}

/// Whatever a backend offers, data arrives whole in both directions.
fn offers(s: &Scene<'_>) -> Result<()> {
    for options in [
        "--queues 4",
        "--no-sg --no-gso --no-csum --no-split",
        "--multicast --xdp",
    ] {
        streams(s, options).context(options)?;
    }
    Ok(())
}

fn streams(s: &Scene<'_>, options: &str) -> Result<()> {
    let backend = attach(s, options)?;
    let want = s.guest.sh("cat /tmp/sum")?;
    let server = s
        .dom0()
        .spawn_sh("exec socat -u TCP-LISTEN:5009,reuseaddr CREATE:/tmp/hostile-received")?;
    // Until the server listens the connection is refused.
    s.guest.until(&format!("nc {DOM0} 5009 </tmp/data"), LONG)?;
    server.wait(LONG)?;
    let got = s.dom0().sh("sha256sum </tmp/hostile-received")?;
    check::same_sum("from the guest", &want, &got)?;
    let server = s
        .dom0()
        .spawn_sh("exec socat -u OPEN:/tmp/hostile-received TCP-LISTEN:5010,reuseaddr")?;
    s.guest.until(
        &format!("nc {DOM0} 5010 </dev/null >/tmp/back && [ -s /tmp/back ]"),
        LONG,
    )?;
    server.wait(LONG)?;
    let got = s.guest.sh("sha256sum </tmp/back; rm /tmp/back")?;
    check::same_sum("to the guest", &want, &got)?;
    detach(s, backend)
}

/// Acts against an interface that is in use, one after the other.
fn acts(s: &Scene<'_>, acts: &[(&str, Ends)]) -> Result<()> {
    let backend = attach(s, "")?;
    for (script, ends) in acts {
        act(s, &backend, script, ends).with_context(|| format!("script {script}"))?;
    }
    detach(s, backend)
}

/// Packets of the guest's that are on their way at once.
fn ping(s: &Scene<'_>) -> Result<()> {
    let pings = format!("for n in 1 2 3 4; do ping -c 1 -W 1 {DOM0} & done; wait");
    s.guest.try_sh(&pings, BRIEF).map(drop)
}

fn act(s: &Scene<'_>, backend: &Backend, script: &str, ends: &Ends) -> Result<()> {
    s.guest.sh("dmesg -c >/dev/null")?;
    let before = backend.tell(&format!("hostile {script}"))?;
    // The act is met by one of these, or by a packet of the kernel's own.
    ping(s)?;
    backend.until("acts", |acts| acts == 1)?;
    goes_through(s).context("after the act")?;
    let made = backend.counts()?.get("connections")? - before.get("connections")?;
    let log = s.guest.sh("dmesg")?;
    check::log_is_clean(&log)?;
    match ends {
        Ends::Recovers(words) => {
            ensure!(made == 1, "{made} new connections, not one:\n{log}");
            let count = log.lines().filter(|line| line.contains(words)).count();
            ensure!(
                count == 1,
                "{count} sentences with {words:?}, not one:\n{log}"
            );
        }
        Ends::Unharmed => ensure!(made == 0, "{made} new connections:\n{log}"),
    }
    Ok(())
}

/// Packets that are none, each with an honest one after it: they are dropped and counted, and the connection stays.
fn packets(s: &Scene<'_>) -> Result<()> {
    let scripts = [
        "rx-past-page",
        "rx-too-long",
        "rx-negative-status",
        "rx-more-without-next",
        "rx-too-many-slots",
        "rx-extra-missing",
        "rx-extra-unknown",
        "rx-extra-endless",
        "rx-gso-size-zero",
        "rx-gso-unknown-type",
        "rx-gso-prefix",
        "rx-short",
    ];
    let backend = attach(s, "")?;
    let errors = || -> Result<u64> {
        let file = format!("cat $(dirname $({ADDRESS}))/statistics/rx_errors");
        Ok(s.guest.sh(&file)?.trim().parse()?)
    };
    let before = errors()?;
    backend.tell(&format!("hostile {}", scripts.join(" ")))?;
    let all = scripts.len() as u64;
    while backend.counts()?.get("acts")? < all {
        let acts = backend.counts()?.get("acts")?;
        ping(s)?;
        backend
            .until("acts", |now| now > acts)
            .with_context(|| format!("script {}", scripts[acts as usize]))?;
    }
    goes_through(s)?;
    let found = errors()? - before;
    // One that announces more may find it in the honest packet behind it.
    ensure!(found + 1 >= all, "{all} bad packets, but {found} errors");
    let counts = backend.counts()?;
    ensure!(counts.get("connections")? == 1, "{counts:?}");
    detach(s, backend)
}

/// States in any order, and some that are none; then the backend begins anew.
fn states(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, "")?;
    for seed in [3, 40] {
        backend.tell(&format!("states {seed} 60"))?;
        stand_by(&s.guest)?;
        goes_through(s).with_context(|| format!("after the states of seed {seed}"))?;
    }
    detach(s, backend)
}

/// What was sent stays mapped, also when the device is taken away meanwhile.
fn keeps_grants(s: &Scene<'_>) -> Result<()> {
    let backend = attach(s, "")?;
    backend.tell("keep")?;
    s.guest
        .try_sh(&format!("ping -c 3 -s 1400 -W 2 {DOM0}"), BRIEF)?;
    backend.until("kept", |pages| pages > 0)?;
    stand_by(&s.guest)?;
    backend.tell("release")?;
    goes_through(s)?;
    backend.tell("keep")?;
    s.guest
        .try_sh(&format!("ping -c 3 -s 1400 -W 2 {DOM0}"), BRIEF)?;
    backend.until("kept", |pages| pages > 0)?;
    backend.tell("deaf")?;
    backend.remove()?;
    is_gone(s)?;
    drop(backend);
    stand_by(&s.guest)
}

/// The driver is unloaded while its pages stay mapped: they wait for the backend, and nothing of the driver is needed when it
/// lets go.
fn driver_gone(s: &Scene<'_>) -> Result<()> {
    const NONE_LEFT: &str = "grep -qx 'deferred: 0' /sys/kernel/debug/oxen/grants/counters";
    let backend = attach(s, "")?;
    s.guest.sh(NONE_LEFT)?;
    backend.tell("keep")?;
    s.guest
        .try_sh(&format!("ping -c 3 -s 1400 -W 2 {DOM0}"), BRIEF)?;
    backend.until("kept", |pages| pages > 0)?;
    s.guest.sh_for("/sbin/modprobe -r oxen_netfront", LONG)?;
    // Nobody else has them, and the retries find them mapped.
    backend.tell("scrawl")?;
    s.guest.sh(&format!("sleep 3; ! {NONE_LEFT}"))?;
    backend.tell("release")?;
    s.guest.until(NONE_LEFT, BRIEF)?;
    s.guest.sh_for("/sbin/modprobe oxen_netfront", LONG)?;
    for (mac, address) in [(MAC, GUEST), (bystanders::MAC, bystanders::GUEST)] {
        has_address(s, mac, address)?;
    }
    goes_through(s)?;
    detach(s, backend)
}

/// A backend that dies comes back with other features.
fn dies(s: &Scene<'_>) -> Result<()> {
    let mut backend = attach(s, "--queues 2")?;
    for other in ["--no-sg --no-gso --no-split", "--queues 4"] {
        backend.ask("die")?;
        backend.died()?;
        stand_by(&s.guest)?;
        backend.adopt(&format!("--mac {MAC} --tap {TAP} {other}"))?;
        up(s)?;
        goes_through(s).context(other)?;
    }
    detach(s, backend)
}

/// A backend that has connected and takes no packet, as Linux's does when the end of its first event is lost, is connected to
/// again, and told of once.
fn takes_nothing(s: &Scene<'_>) -> Result<()> {
    const SAID: &str = "the backend took no packet; the connection is replaced";
    let backend = attach(s, "--ignore 2")?;
    let counts = backend.counts()?;
    ensure!(counts.get("connections")? == 3, "{counts:?}");
    let log = s.guest.sh("dmesg")?;
    let said = log.lines().filter(|line| line.contains(SAID)).count();
    ensure!(said == 1, "{said} times {SAID:?}:\n{log}");
    detach(s, backend)
}
