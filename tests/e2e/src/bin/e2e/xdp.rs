// SPDX-License-Identifier: GPL-2.0

//! Programs that look at received packets before the stack does, with Linux's backend and one of our own.

mod programs;

use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{Domain, BRIEF, LONG};
use e2e::backend::{self, Backend};
use e2e::check;
use programs::FOLDER;

/// What a refusal says.
const NOT_OFFERED: &str = "the backend does not offer feature-xdp-headroom";
const TOO_LARGE: &str = "with an XDP program the MTU can be 3502 at most";

/// Requests of ping in a round.
const REQUESTS: u64 = 5;

/// The interface of our own backend: number, address, its other end in dom0, and the addresses on it.
const HANDLE: u32 = 9;
const MAC: &str = "00:16:3e:77:09:09";
const TAP: &str = "oxenxdp";
const FAR: &str = "10.82.0.1";
const NEAR: &str = "10.82.0.2";

/// An interface of the guest, the addresses on it, and its folder in the store.
struct Interface<'a> {
    s: &'a Scene<'a>,
    name: &'a str,
    far: &'a str,
    near: &'a str,
    node: String,
}

/// Each verdict, with Linux's backend.
pub(crate) fn verdicts(s: &Scene<'_>) -> Result<()> {
    check::bring_up_network(&s.guest)?;
    let it = Interface {
        s,
        name: "eth0",
        far: "10.77.0.1",
        near: "10.77.0.2",
        node: Interface::node(s, 0)?,
    };
    programs::load_all(&s.guest, "eth1")?;
    it.answers(true).context("before")?;
    let result = it.all_verdicts();
    it.detach()?;
    s.dom0().sh("ip link del xenbr0.9 2>/dev/null; true")?;
    result?;
    it.answers(true).context("afterwards")?;
    it.has_headroom(0)?;
    check::tcp_both_ways(s.dom0(), &s.guest, s.settings.mib / 4).map(drop)
}

/// Streams go on while programs come, change and go.
pub(crate) fn under_load(s: &Scene<'_>) -> Result<()> {
    check::bring_up_network(&s.guest)?;
    programs::load_all(&s.guest, "eth1")?;
    let over = "/tmp/xdp-over";
    s.guest.sh(&format!("rm -f {over}"))?;
    let rounds = s.settings.rounds;
    let changes = s.guest.spawn_sh(&format!(
        "trap 'touch {over}' EXIT; for i in $(seq {rounds}); do for p in pass stretch drop; do \
         ip -force link set eth0 xdpdrv pinned {FOLDER}/$p || exit 1; sleep 2; done; \
         ip link set eth0 xdpdrv off || exit 1; sleep 3; done"
    ))?;
    let is_over = || s.guest.try_sh(&format!("[ -e {over} ]"), BRIEF);
    while !is_over()?.success() {
        check::tcp_both_ways(s.dom0(), &s.guest, s.settings.mib)?;
    }
    let output = changes.wait(LONG)?;
    ensure!(output.success(), "{output}");
    check::bring_up_network(&s.guest)?;
    let text = s.guest.sh("ethtool -S eth0")?;
    ensure!(sum(&text, "broken") == 0, "{text}");
    check::dmesg_is_clean(&s.guest)
}

/// A backend without room before the data has its reason told, and one with it works as Linux's.
pub(crate) fn other_backends(s: &Scene<'_>) -> Result<()> {
    backend::install(s.machine, s.name())?;
    with_backend(s, "", |it, _| {
        let refused = it.attach_fails("pass")?;
        ensure!(refused.contains(NOT_OFFERED), "{refused}");
        it.answers(true)
    })
    .context("without the feature")?;
    with_backend(s, "--xdp --queues 2", |it, backend| {
        it.attach("stretch")?;
        it.has_headroom(256)?;
        it.answers(true).context("stretch")?;
        it.attach("answer")?;
        it.answered_by_program().context("answer")?;
        it.drops_what_is_large()?;
        it.survives_other_queues().context("other queues")?;
        it.survives_other_backends(backend)
            .context("other backends")
    })
    .context("with the feature")?;
    check::dmesg_is_clean(&s.guest)
}

fn with_backend(
    s: &Scene<'_>,
    options: &str,
    work: impl Fn(&Interface<'_>, &mut Backend) -> Result<()>,
) -> Result<()> {
    let options = format!("--mac {MAC} --tap {TAP} {options}");
    let mut backend = Backend::start(s.dom0(), "vif", HANDLE, &options)?;
    far_end(s)?;
    let find = format!("grep -l {MAC} /sys/class/net/*/address");
    s.guest.until(&find, BRIEF)?;
    let found = s.guest.sh(&format!("basename $(dirname $({find}))"))?;
    let it = Interface {
        s,
        name: found.trim(),
        far: FAR,
        near: NEAR,
        node: Interface::node(s, HANDLE)?,
    };
    s.guest.sh(&format!(
        "ip addr add {NEAR}/24 dev {0}; ip link set {0} up",
        it.name
    ))?;
    it.answers(true)?;
    programs::load_all(&s.guest, it.name)?;
    work(&it, &mut backend)?;
    backend.detach()?;
    s.guest.until(&format!("! {find}"), BRIEF).map(drop)
}

/// The address in dom0 of our own backend's interface.
fn far_end(s: &Scene<'_>) -> Result<()> {
    let script = format!("ip addr add {FAR}/24 dev {TAP}; ip link set {TAP} up");
    s.dom0().sh(&script).map(drop)
}

/// The sum of a counter over all queues, in what `ethtool -S` says.
fn sum(text: &str, name: &str) -> u64 {
    let of = |line: &str| -> Option<u64> {
        let (key, value) = line.trim().split_once(": ")?;
        let (_, key) = key.strip_prefix("queue_")?.split_once('_')?;
        (key == name).then(|| value.parse().ok())?
    };
    text.lines().filter_map(of).sum()
}

impl Interface<'_> {
    fn node(s: &Scene<'_>, number: u32) -> Result<String> {
        let id = check::domid(s.dom0(), s.name())?;
        Ok(format!("/local/domain/{id}/device/vif/{number}"))
    }

    fn guest(&self) -> &Domain {
        &self.s.guest
    }

    fn attach(&self, program: &str) -> Result<()> {
        let script = format!(
            "ip -force link set {} xdpdrv pinned {FOLDER}/{program}",
            self.name
        );
        self.guest().sh(&script).map(drop)
    }

    /// What is said when a program is refused.
    fn attach_fails(&self, program: &str) -> Result<String> {
        let script = format!("ip link set {} xdpdrv pinned {FOLDER}/{program}", self.name);
        let output = self.guest().try_sh(&script, BRIEF)?;
        ensure!(!output.success(), "{program} was attached");
        Ok(output.to_string())
    }

    fn detach(&self) -> Result<()> {
        let script = format!("ip link set {} xdpdrv off", self.name);
        self.guest().sh(&script).map(drop)
    }

    /// The backend was asked for so much room.
    fn has_headroom(&self, bytes: u32) -> Result<()> {
        let script = format!(
            "[ \"$(xenstore-read {0}/xdp-headroom)\" = {bytes} ] && [ \"$(xenstore-read {0}/state)\" = 4 ]",
            self.node
        );
        self.s.dom0().until(&script, BRIEF).map(drop)
    }

    /// The guest reaches the far end, which a program does not keep it from; and is answered there, or not.
    fn answers(&self, answered: bool) -> Result<()> {
        let there = format!("ping -c 1 -W 2 {} >/dev/null", self.far);
        self.guest().until(&there, BRIEF)?;
        let here = format!("ping -c {REQUESTS} -i 0.3 -W 5 {}", self.near);
        let output = self.s.dom0().try_sh(&here, BRIEF)?;
        ensure!(output.success() == answered, "{output}");
        Ok(())
    }

    fn counters(&self, interface: &str) -> Result<String> {
        self.guest().sh(&format!("ethtool -S {interface}"))
    }

    /// A counter grows by each request.
    fn counts(&self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = sum(&self.counters(self.name)?, name);
        work()?;
        let text = self.counters(self.name)?;
        ensure!(sum(&text, name) >= before + REQUESTS, "{name}: {text}");
        Ok(())
    }

    fn all_verdicts(&self) -> Result<()> {
        self.attach("pass")?;
        self.has_headroom(256)?;
        self.counts("xdp_packets", || self.answers(true))
            .context("pass")?;
        self.attach("drop")?;
        self.counts("xdp_drop", || self.answers(false))
            .context("drop")?;
        self.attach("answer")?;
        self.answered_by_program().context("answer")?;
        self.attach("redirect")?;
        self.goes_elsewhere().context("redirect")?;
        self.attach("stretch")?;
        self.answers(true).context("stretch")?;
        self.attach("untag")?;
        self.untags().context("untag")?;
        self.limits_the_mtu().context("MTU")
    }

    /// The guest's own stack hears nothing of it.
    fn answered_by_program(&self) -> Result<()> {
        let heard = || {
            self.guest()
                .sh("awk '/^Icmp:/ && $2 ~ /[0-9]/ { print $10 }' /proc/net/snmp")
        };
        let before = heard()?;
        self.counts("xdp_tx", || self.answers(true))?;
        let after = heard()?;
        ensure!(before == after, "requests heard: {before} and {after}");
        Ok(())
    }

    /// What is redirected leaves by the other interface.
    fn goes_elsewhere(&self) -> Result<()> {
        let id = check::domid(self.s.dom0(), self.s.name())?;
        let came = format!("cat /sys/class/net/vif{id}.1/statistics/rx_packets");
        let before: u64 = self.s.dom0().sh(&came)?.trim().parse()?;
        let sent = sum(&self.counters("eth1")?, "xdp_xmit");
        self.counts("xdp_redirect", || self.answers(false))?;
        let text = self.counters("eth1")?;
        ensure!(sum(&text, "xdp_xmit") >= sent + REQUESTS, "{text}");
        let after: u64 = self.s.dom0().sh(&came)?.trim().parse()?;
        ensure!(after >= before + REQUESTS, "{before} and {after} came");
        Ok(())
    }

    /// The stack gets the packet as the program has left it: without the tag, it is one for the guest.
    fn untags(&self) -> Result<()> {
        self.guest().sh("ip addr add 10.79.0.2/24 dev eth0")?;
        self.s.dom0().sh(
            "set -e; ip link add link xenbr0 name xenbr0.9 type vlan id 9; \
             ip addr add 10.79.0.1/24 dev xenbr0.9; ip link set xenbr0.9 up; \
             ip neigh replace 10.79.0.2 lladdr 00:16:3e:77:00:00 dev xenbr0.9",
        )?;
        let ping = "ping -c 3 -i 0.3 -W 5 10.79.0.2";
        let tagged = self.s.dom0().sh(ping);
        let size = self.s.dom0().sh("ping -c 1 -W 5 -s 1400 10.79.0.2");
        self.guest().sh("ip addr del 10.79.0.2/24 dev eth0")?;
        self.s.dom0().sh("ip link del xenbr0.9")?;
        tagged.and(size).map(drop)
    }

    /// A new connection, with another number of queues, has the program.
    fn survives_other_queues(&self) -> Result<()> {
        let name = self.name;
        for count in [1, 2] {
            self.guest()
                .sh(&format!("ethtool -L {name} combined {count}"))?;
            let there = format!("ethtool -l {name} | tail -n 3 | grep -q 'Combined:.*{count}'");
            self.guest().until(&there, BRIEF)?;
            self.has_headroom(256)?;
            self.answered_by_program()?;
        }
        Ok(())
    }

    /// So has one to a backend that was not asked whether it can, and cannot.
    fn survives_other_backends(&self, backend: &mut Backend) -> Result<()> {
        for options in ["--queues 2", "--xdp"] {
            backend.ask("die")?;
            backend.died()?;
            backend.adopt(&format!("--mac {MAC} --tap {TAP} {options}"))?;
            far_end(self.s)?;
            self.answered_by_program().context(options)?;
        }
        let moved = self.guest().sh("dmesg | grep -c 'packets are moved'")?;
        ensure!(moved.trim() == "1", "it was said {moved} times");
        Ok(())
    }

    /// The MTU stays within what a page has room for as long as there is a program, and there is none when it does not.
    fn limits_the_mtu(&self) -> Result<()> {
        let set = |mtu: u32| format!("ip link set eth0 mtu {mtu}");
        let output = self.guest().try_sh(&set(3503), BRIEF)?;
        ensure!(!output.success(), "an MTU beyond the limit was set");
        self.guest().sh(&set(3502))?;
        self.detach()?;
        self.has_headroom(0)?;
        self.guest().sh(&set(3503))?;
        let refused = self.attach_fails("pass");
        self.guest().sh(&set(1500))?;
        let refused = refused?;
        ensure!(refused.contains(TOO_LARGE), "{refused}");
        self.attach("pass")
    }

    /// A packet of several slots is not for a program, which would see a part of it only.
    fn drops_what_is_large(&self) -> Result<()> {
        self.s.dom0().sh(&format!("ip link set {TAP} mtu 9000"))?;
        self.counts("xdp_errors", || {
            let ping = format!("ping -c {REQUESTS} -i 0.3 -W 1 -s 5000 {}", self.near);
            let output = self.s.dom0().try_sh(&ping, BRIEF)?;
            ensure!(!output.success(), "{output}");
            Ok(())
        })?;
        self.answers(true)
    }
}
