// SPDX-License-Identifier: GPL-2.0

//! An interface with a queue for each CPU, and what changes with a new connection: how many there are, the address and the
//! MTU.

use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::BRIEF;
use e2e::check;

/// How many queues Linux's backend serves.
const OFFER: &str = "/sys/module/xen_netback/parameters/max_queues";

/// Whether a guest answers for an address on every interface.
const ANSWERS: &str = "/proc/sys/net/ipv4/conf/all/arp_ignore";

/// The address that the interface is made with, and another one.
const MAC: &str = "00:16:3e:77:02:01";
const OTHER_MAC: &str = "00:16:3e:77:02:02";

const DOM0: &str = "10.80.0.1";
const GUEST: &str = "10.80.0.9";

/// One interface, from its first connection to its end.
pub(crate) fn queues(s: &Scene<'_>) -> Result<()> {
    let before = check::counters(&s.guest)?;
    let offered = s.dom0().sh(&format!("cat {OFFER}; echo 4 >{OFFER}"))?;
    s.guest.sh(&format!("echo 1 >{ANSWERS}"))?;
    let result = attached(s);
    s.guest.sh(&format!("echo 0 >{ANSWERS}"))?;
    s.dom0().sh(&format!("echo {} >{OFFER}", offered.trim()))?;
    result?;
    check::counters_return(&s.guest, &before)
}

fn attached(s: &Scene<'_>) -> Result<()> {
    let (dom0, name) = (s.dom0(), s.name());
    dom0.sh(&format!(
        "ip addr add {DOM0}/24 dev xenbr1; \
         xl network-attach {name} type=vif script=/run/companion/vif mac={MAC} bridge=xenbr1"
    ))?;
    let result = Interface::find(s).and_then(|interface| {
        interface.uses_both().context("a queue for each CPU")?;
        interface.changes_count().context("more and fewer queues")?;
        interface.hashes().context("hashes")?;
        interface
            .follows_the_store()
            .context("what the toolstack changes")?;
        interface.trusts_nobody().context("trusted=0")
    });
    dom0.sh(&format!(
        "xl network-detach {name} {MAC}; ip addr del {DOM0}/24 dev xenbr1"
    ))?;
    s.guest.until(
        &format!("! grep -l -e {MAC} -e {OTHER_MAC} /sys/class/net/*/address"),
        BRIEF,
    )?;
    result
}

/// A counter in what `ethtool -S` says.
fn value(text: &str, name: &str) -> Result<u64> {
    let found = text.lines().find_map(|line| {
        let (key, value) = line.trim().split_once(": ")?;
        (key == name).then_some(value)
    });
    Ok(found
        .with_context(|| format!("no {name}: {text}"))?
        .parse()?)
}

struct Interface<'a> {
    s: &'a Scene<'a>,
    name: String,
    /// Its folder in the store.
    node: String,
}

impl<'a> Interface<'a> {
    fn find(s: &'a Scene<'a>) -> Result<Self> {
        s.guest
            .until(&format!("grep -l {MAC} /sys/class/net/*/address"), BRIEF)?;
        let found = s.guest.sh(&format!(
            "if=$(basename $(dirname $(grep -l {MAC} /sys/class/net/*/address))); echo $if; \
             basename $(readlink -f /sys/class/net/$if/device); \
             ip addr add {GUEST}/24 dev $if; ip link set $if up"
        ))?;
        let mut words = found.split_whitespace();
        let (Some(name), Some(device)) = (words.next(), words.next()) else {
            anyhow::bail!("no interface and device: {found}");
        };
        let number = device
            .strip_prefix("vif-")
            .with_context(|| format!("{device} is no vif"))?;
        let id = check::domid(s.dom0(), s.name())?;
        let it = Interface {
            s,
            name: name.into(),
            node: format!("/local/domain/{id}/device/vif/{number}"),
        };
        it.goes_through()?;
        Ok(it)
    }

    fn sh(&self, script: &str) -> Result<String> {
        self.s.guest.sh(&format!("if={}; {script}", self.name))
    }

    fn goes_through(&self) -> Result<()> {
        let ping = format!("ping -c 1 -W 2 -I {} {DOM0} >/dev/null", self.name);
        self.s.guest.until(&ping, BRIEF).map(drop)
    }

    /// The keys of a connection with so many queues, and no others.
    fn has_keys(&self, count: u32) -> Result<()> {
        let found = self
            .s
            .dom0()
            .sh(&format!("xenstore-ls -f {} | cut -d' ' -f1", self.node))?;
        let found: Vec<&str> = found
            .lines()
            .filter_map(|line| line.strip_prefix(&self.node))
            .collect();
        for (key, there) in [
            ("/tx-ring-ref", count == 1),
            ("/event-channel", count == 1),
            ("/multi-queue-num-queues", count > 1),
            ("/queue-0/rx-ring-ref", count > 1),
            ("/queue-1/event-channel", count > 1),
            ("/queue-2", false),
        ] {
            ensure!(
                found.contains(&key) == there,
                "{count} queues, and these keys: {found:?}"
            );
        }
        Ok(())
    }

    /// The backend has four, the guest has two CPUs: each sends on a queue of its own and is interrupted for it.
    fn uses_both(&self) -> Result<()> {
        self.has_keys(2)?;
        let said = self.sh("ethtool -l $if; ethtool -g $if")?;
        let count = |line: &str| {
            said.lines()
                .filter(|it| it.replace('\t', "") == line)
                .count()
        };
        ensure!(
            count("Combined:2") == 2 && count("RX:256") == 2 && count("TX:256") == 2,
            "{said}"
        );
        let cpus = self.sh("cat /sys/class/net/$if/queues/tx-[01]/xps_cpus")?;
        ensure!(cpus.split_whitespace().eq(["1", "2"]), "XPS: {cpus}");
        // Large enough to be lent, so that an answer is waited for.
        self.sh(&format!(
            "for cpu in 0 1; do taskset -c $cpu ping -c 3 -i 0.2 -s 1400 -W 5 -I $if {DOM0}; done"
        ))?;
        for counter in ["queue_0_tx_packets", "queue_1_tx_packets", "queue_1_events"] {
            ensure!(self.counter(counter)? != 0, "{counter} is 0");
        }
        Ok(())
    }

    /// A counter of `ethtool -S`.
    fn counter(&self, name: &str) -> Result<u64> {
        value(&self.sh("ethtool -S $if")?, name)
    }

    /// Asks for so many queues, and waits until they are there.
    fn set(&self, count: u32) -> Result<()> {
        self.sh(&format!("ethtool -L $if combined {count}"))?;
        let queues = format!("/sys/class/net/{}/queues", self.name);
        self.s.guest.until(
            &format!("[ $(ls -d {queues}/tx-* | wc -l) = {count} ] && [ $(cat /sys/class/net/{}/carrier) = 1 ]", self.name),
            BRIEF,
        )?;
        self.has_keys(count)
    }

    /// More often within a minute than a backend that breaks the rules is forgiven.
    fn changes_count(&self) -> Result<()> {
        ensure!(
            self.sh("ethtool -L $if combined 3").is_err(),
            "more queues than CPUs were taken"
        );
        let load = self.s.guest.spawn_sh(&format!(
            "exec ping -q -i 0.05 -s 1400 -I {} {DOM0}",
            self.name
        ))?;
        for _ in 0..3 {
            self.set(1)?;
            self.goes_through()?;
            self.set(2)?;
            self.goes_through()?;
        }
        load.stop().map(drop)
    }

    /// Linux's backend hashes what it sends as it is told, with one queue and with two, and stops when it is told.
    fn hashes(&self) -> Result<()> {
        const KEY: &str = "01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10:11:12:13:14:15:16:17:18:19:1a:1b:1c:1d:1e:1f:20:21:22:23:24:25:26:27:28";
        let dom0 = self.s.dom0();
        let number = self.node.rsplit('/').next().unwrap_or_default();
        let id = check::domid(dom0, self.s.name())?;
        let told = |words: &str| -> Result<()> {
            dom0.until(
                &format!(
                    "mount -t debugfs none /sys/kernel/debug 2>/dev/null; \
                     grep -qi '{words}' /sys/kernel/debug/xen-netback/vif{id}.{number}/ctrl"
                ),
                BRIEF,
            )
            .with_context(|| format!("the backend was not told {words}"))?;
            Ok(())
        };
        let on = format!("ethtool -x {} | grep -q 'toeplitz: on'", self.name);
        ensure!(!self.sh("ethtool -x $if")?.contains("toeplitz: on"));
        self.sh("ethtool -K $if rxhash on")?;
        self.s.guest.until(&on, BRIEF)?;
        told("algorithm: toeplitz")?;
        self.goes_through()?;
        // All to one queue, and then to the other.
        for (queue, weights) in [(0, "1 0"), (1, "0 1")] {
            self.sh(&format!("ethtool -X $if hkey {KEY} weight {weights}"))?;
            self.s.guest.until(&on, BRIEF)?;
            let received = || self.counter(&format!("queue_{queue}_rx_packets"));
            let before = received()?;
            self.sh(&format!("ping -c 10 -i 0.1 -W 5 -I $if {DOM0} >/dev/null"))?;
            let found = received()? - before;
            ensure!(found >= 10, "queue {queue} received {found} of 10 packets");
        }
        let table = self.sh("ethtool -x $if")?;
        ensure!(table.contains(KEY), "{table}");
        told("01 02 03 04 05 06 07 08")?;
        self.sh("ethtool -X $if default")?;
        for count in [1, 2] {
            self.set(count)?;
            self.s.guest.until(&on, BRIEF)?;
            self.goes_through()?;
        }
        self.sh("ethtool -K $if rxhash off")?;
        told("algorithm: none")?;
        ensure!(!self.sh("ethtool -x $if")?.contains("toeplitz: on"));
        self.goes_through()
    }

    /// What the toolstack changes holds from the next connection on, and the neighbours hear of it without asking. What the
    /// user sets stays.
    fn follows_the_store(&self) -> Result<()> {
        let (dom0, node) = (self.s.dom0(), &self.node);
        dom0.sh(&format!(
            "xenstore-write {node}/mac {OTHER_MAC}; xenstore-write {node}/mtu 1400"
        ))?;
        self.set(1)?;
        let now = self.sh("cd /sys/class/net/$if; cat address mtu")?;
        ensure!(now.split_whitespace().eq([OTHER_MAC, "1400"]), "{now}");
        dom0.until(
            &format!("ip neigh show {GUEST} | grep -q {OTHER_MAC}"),
            BRIEF,
        )?;
        self.sh("ip link set $if mtu 9000")?;
        self.set(2)?;
        let now = self.sh("cat /sys/class/net/$if/mtu")?;
        ensure!(now.trim() == "9000", "the user's MTU became {now}");
        self.goes_through()
    }

    /// A backend that is not trusted gets copies only. Others are lent what does not fit a cell.
    fn trusts_nobody(&self) -> Result<()> {
        let large = format!("ping -c 3 -i 0.2 -s 1400 -W 5 -I $if {DOM0} >/dev/null");
        let packets = |trusted: u32| -> Result<(u64, u64)> {
            self.s
                .dom0()
                .sh(&format!("xenstore-write {}/trusted {trusted}", self.node))?;
            self.set(1)?;
            self.goes_through()?;
            let count = || -> Result<_> {
                // In one look: others send as well.
                let text = self.sh("ethtool -S $if")?;
                let read = |name| value(&text, name);
                Ok((read("queue_0_tx_packets")?, read("queue_0_tx_copied")?))
            };
            let before = count()?;
            self.sh(&large)?;
            let after = count()?;
            self.set(2)?;
            Ok((after.0 - before.0, after.1 - before.1))
        };
        let (sent, copied) = packets(1)?;
        ensure!(sent >= copied + 3, "of {sent} packets {copied} were copied");
        let (sent, copied) = packets(0)?;
        ensure!(
            sent >= 3 && sent == copied,
            "of {sent} packets only {copied} were copied"
        );
        Ok(())
    }
}
