// SPDX-License-Identifier: GPL-2.0

//! The control ring of an interface, over which a backend is told how to hash: one of our own, honest and not.

use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::BRIEF;
use e2e::backend::{self, Backend};
use e2e::check;

/// The interface's number, its hardware address, and the name of its other end in dom0.
const HANDLE: u32 = 8;
const MAC: &str = "00:16:3e:77:08:08";
const TAP: &str = "oxenhash";

/// Addresses of dom0 and of the guest on it.
const DOM0: &str = "10.81.0.1";
const GUEST: &str = "10.81.0.2";

/// What the driver says of a connection that is replaced; none if it stays.
type Said = Option<&'static str>;

/// What the backend does wrong, and what becomes of it.
const ACTS: [(&str, Said); 5] = [
    ("ctrl-id-never-asked", Some("which was not asked for")),
    ("ctrl-type-never-asked", Some("which was not asked for")),
    (
        "ctrl-producer-beyond-ring",
        Some("moved the response index"),
    ),
    ("ctrl-producer-backwards", Some("moved the response index")),
    ("ctrl-refused", None),
];

/// Packets are hashed, and the connection is replaced as often as its control ring is broken; a refusal only ends the hashing.
pub(crate) fn hostile(s: &Scene<'_>) -> Result<()> {
    backend::install(s.machine, s.name())?;
    s.guest.sh("dmesg -c >/dev/null")?;
    let options = format!("--mac {MAC} --tap {TAP} --queues 2 --control-ring");
    let backend = Backend::start(s.dom0(), "vif", HANDLE, &options)?;
    s.dom0().sh(&format!(
        "ip addr add {DOM0}/24 dev {TAP}; ip link set {TAP} up"
    ))?;
    let find = format!("grep -l {MAC} /sys/class/net/*/address");
    s.guest.until(&find, BRIEF)?;
    let found = s.guest.sh(&format!("basename $(dirname $({find}))"))?;
    let interface = Interface {
        s,
        name: found.trim(),
    };
    interface.sh(&format!(
        "ip addr add {GUEST}/24 dev $if; ip link set $if up"
    ))?;
    interface.sh("ethtool -K $if rxhash on")?;
    interface.hashes()?;
    for (script, said) in ACTS {
        interface
            .act(&backend, script, said)
            .with_context(|| format!("script {script}"))?;
    }
    backend.detach()?;
    s.guest.until(&format!("! {find}"), BRIEF)?;
    check::log_is_clean(&s.guest.sh("dmesg")?)
}

struct Interface<'a> {
    s: &'a Scene<'a>,
    name: &'a str,
}

impl Interface<'_> {
    fn sh(&self, script: &str) -> Result<String> {
        self.s.guest.sh(&format!("if={}; {script}", self.name))
    }

    /// The backend does as it was told, and packets go through.
    fn hashes(&self) -> Result<()> {
        let name = self.name;
        for script in [
            format!("ethtool -x {name} | grep -q 'toeplitz: on'"),
            format!("ping -c 1 -W 2 -I {name} {DOM0} >/dev/null"),
        ] {
            self.s.guest.until(&script, BRIEF)?;
        }
        Ok(())
    }

    fn act(&self, backend: &Backend, script: &str, said: Said) -> Result<()> {
        self.sh("dmesg -c >/dev/null")?;
        let before = backend.tell(&format!("hostile {script}"))?;
        self.sh("ethtool -X $if equal 2")?;
        backend.until("acts", |acts| acts == 1)?;
        if said.is_none() {
            let refused = "dmesg | grep -q 'does not spread what is received by a hash'";
            self.s.guest.until(refused, BRIEF)?;
            let shown = self.sh("ethtool -x $if")?;
            ensure!(!shown.contains("toeplitz: on"), "{shown}");
            self.sh("ethtool -X $if equal 2")?;
        }
        self.hashes()?;
        let made = backend.counts()?.get("connections")? - before.get("connections")?;
        let log = self.sh("dmesg")?;
        check::log_is_clean(&log)?;
        let count = said.map_or(0, |words| {
            log.lines().filter(|line| line.contains(words)).count()
        });
        let wanted = usize::from(said.is_some());
        ensure!(
            made as usize == wanted && count == wanted,
            "{made} new connections and {count} sentences, not {wanted}:\n{log}"
        );
        Ok(())
    }
}
