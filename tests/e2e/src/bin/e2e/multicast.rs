// SPDX-License-Identifier: GPL-2.0

//! The backend passes on the groups that the guest is in, and no others, and nothing is lost for it.

use crate::far::{Far, Place};
use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{BRIEF, LONG};
use e2e::backend::{self, Backend};
use e2e::check;
use e2e::suite::Test;

/// Packets that are sent to a group, which are more than come by themselves meanwhile.
const PACKETS: u64 = 100;

/// A group, and one that nobody is in, each as its senders have it and as it is on the line.
const GROUP: (&str, &str) = ("239.7.7.7", "01:00:5e:07:07:07");
const OTHER: (&str, &str) = ("239.7.7.8", "01:00:5e:07:07:08");

/// More than xen-netback takes (64), and more than are told to any backend (128).
const MANY: [u32; 2] = [100, 200];

pub(crate) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    vec![
        ("debian/multicast-filtered", filtered),
        ("debian/multicast-all", all),
        ("debian/multicast-many", many),
        ("debian/multicast-reconnect", reconnects),
        ("debian/multicast-under-load", under_load),
        ("debian/multicast-unload", unload),
        ("debian/multicast-answers", answers),
    ]
}

/// The guest's first interface, and a machine on its bridge.
struct Line<'a> {
    s: &'a Scene<'a>,
    left: Far<'a>,
    harm: String,
}

impl<'a> Line<'a> {
    fn new(s: &'a Scene<'a>) -> Result<Self> {
        check::bring_up_network(&s.guest)?;
        // The bridge has thoughts of its own about groups.
        s.dom0()
            .sh("echo 0 >/sys/class/net/xenbr0/bridge/multicast_snooping 2>/dev/null || true")?;
        let left = Far::new(s.dom0(), "left", "xenbr0", &["10.77.0.7/24"])?;
        let harm = harm(s)?;
        let line = Self { s, left, harm };
        line.asks(true)?;
        Ok(line)
    }

    /// The backend is asked to keep to its list, or is not.
    fn asks(&self, filters: bool) -> Result<()> {
        let asked = asked(self.s, "eth0", filters)?;
        self.s.dom0().until(&asked, BRIEF)?;
        // It reads the key when it is told that it has changed.
        self.s.dom0().sh("sleep 1").map(drop)
    }

    fn received(&self) -> Result<u64> {
        let count = self
            .s
            .guest
            .sh("cat /sys/class/net/eth0/statistics/rx_packets")?;
        Ok(count.trim().parse()?)
    }

    /// How many packets come when some are sent to `group`.
    fn heard(&self, group: &str) -> Result<u64> {
        let before = self.received()?;
        self.left.does(&format!(
            "ping -q -c {PACKETS} -i 0.01 -W 1 -t 1 -I left0 {group} >/dev/null; \
             ping -q -c 1 -W 20 10.77.0.2 >/dev/null; sleep 1"
        ))?;
        Ok(self.received()? - before)
    }

    fn comes(&self, group: &str) -> Result<()> {
        let heard = self.heard(group)?;
        ensure!(
            heard >= PACKETS,
            "of {PACKETS} packets to {group} {heard} came"
        );
        Ok(())
    }

    fn comes_not(&self, group: &str) -> Result<()> {
        let heard = self.heard(group)?;
        ensure!(
            heard < PACKETS / 2,
            "of {PACKETS} packets to {group} {heard} came, and nobody wants any"
        );
        Ok(())
    }

    /// The guest is in the group, and not in the other one.
    fn is_right(&self) -> Result<()> {
        self.comes(GROUP.0)?;
        self.comes_not(OTHER.0)
    }

    /// Runs `body` while the guest is in the group.
    fn within(&self, body: impl FnOnce() -> Result<()>) -> Result<()> {
        let (_, address) = GROUP;
        self.s
            .guest
            .sh(&format!("ip maddr add {address} dev eth0"))?;
        let done = body();
        let left = self
            .s
            .guest
            .try_sh(&format!("ip maddr del {address} dev eth0"), BRIEF);
        done?;
        left.map(drop)
    }

    /// The backend has broken no rule, and neither have we.
    fn is_unharmed(&self) -> Result<()> {
        let now = harm(self.s)?;
        ensure!(now == self.harm, "before:\n{}and now:\n{now}", self.harm);
        Ok(())
    }
}

/// What the interface has counted of what must not be.
fn harm(s: &Scene<'_>) -> Result<String> {
    s.guest
        .sh("ethtool -S eth0 | grep -e broken -e tx_errors -e tx_timeouts")
}

/// A command for dom0: is the backend of a guest's interface asked to keep to its list?
fn asked(s: &Scene<'_>, interface: &str, filters: bool) -> Result<String> {
    let device = s.guest.sh(&format!(
        "basename $(readlink -f /sys/class/net/{interface}/device)"
    ))?;
    let number = device.trim().trim_start_matches("vif-");
    let id = check::domid(s.dom0(), s.name())?;
    let key = format!("/local/domain/{id}/device/vif/{number}/request-multicast-control");
    // One that is not there says no.
    Ok(format!(
        "[ \"$(xenstore-read {key} 2>/dev/null || echo 0)\" = {} ]",
        u8::from(filters)
    ))
}

fn filtered(s: &Scene<'_>) -> Result<()> {
    let line = Line::new(s)?;
    line.comes_not(GROUP.0)?;
    line.within(|| line.is_right())?;
    line.comes_not(GROUP.0)?;
    // As a program has it: each datagram comes.
    let file = "/tmp/heard";
    let sink = s.guest.spawn_sh(&format!(
        "exec socat -u UDP4-RECV:5020,ip-add-membership={}:eth0 CREATE:{file}",
        GROUP.0
    ))?;
    let (_, address) = GROUP;
    s.guest.until(
        &format!("ip maddr show dev eth0 | grep -q {address}"),
        BRIEF,
    )?;
    s.guest.sh("sleep 1")?;
    line.left.does(&format!(
        "for n in 1 2 3 4 5; do echo $n | socat -u - UDP4-DATAGRAM:{}:5020,ip-multicast-if=10.77.0.7; done",
        GROUP.0
    ))?;
    s.guest
        .until(&format!("[ $(cat {file} | tr -d '\\n') = 12345 ]"), BRIEF)?;
    sink.stop()?;
    // Neighbours are found by groups, too.
    s.guest.sh("ip -6 addr replace fd77::2/64 dev eth0 nodad")?;
    line.left.does(
        "ip addr add fd77::7/64 dev left0 nodad; ping -q -c 3 -W 20 fd77::2; ip neigh flush dev left0; ping -q -c 1 -W 20 fd77::2",
    )?;
    line.is_unharmed()
}

/// Who wants to see all sees all.
fn all(s: &Scene<'_>) -> Result<()> {
    let line = Line::new(s)?;
    for word in ["promisc", "allmulticast"] {
        (|| {
            s.guest.sh(&format!("ip link set eth0 {word} on"))?;
            line.asks(false)?;
            line.comes(OTHER.0)?;
            s.guest.sh(&format!("ip link set eth0 {word} off"))?;
            line.asks(true)?;
            line.comes_not(OTHER.0)
        })()
        .with_context(|| word)?;
    }
    // A second address is not a reason.
    s.guest
        .sh("bridge fdb add 00:16:3e:77:05:05 dev eth0 self && sleep 1")?;
    let kept = line.asks(true).and_then(|()| line.comes_not(OTHER.0));
    s.guest
        .sh("bridge fdb del 00:16:3e:77:05:05 dev eth0 self")?;
    kept?;
    line.is_unharmed()
}

/// More groups than the backend takes: all comes, until there are fewer.
fn many(s: &Scene<'_>) -> Result<()> {
    let line = Line::new(s)?;
    let change = |what, from, to| s.guest.sh_for(&each(what, 8, from, to), LONG);
    for count in MANY {
        (|| {
            change("add", 1, count)?;
            line.asks(false)?;
            for n in [1, count / 2, count] {
                line.comes(&format!("239.8.0.{n}"))?;
            }
            // Those in the middle: some that the backend had, and some that it had no room for.
            change("del", 21, count)?;
            line.asks(true)?;
            line.comes("239.8.0.20")?;
            line.comes_not(&format!("239.8.0.{count}"))?;
            change("del", 1, 20)?;
            line.asks(true)?;
            line.comes_not("239.8.0.20")
        })()
        .with_context(|| format!("{count} groups"))?;
    }
    line.is_unharmed()
}

/// A new connection knows of the groups.
fn reconnects(s: &Scene<'_>) -> Result<()> {
    let line = Line::new(s)?;
    line.within(|| {
        let count = |line: &Line<'_>| -> Result<u64> {
            let changes = line.s.guest.sh("cat /sys/class/net/eth0/carrier_changes")?;
            Ok(changes.trim().parse()?)
        };
        let before = count(&line)?;
        let id = check::domid(s.dom0(), s.name())?;
        s.dom0().sh(&format!(
            "xenstore-write /local/domain/0/backend/vif/{id}/0/state 6"
        ))?;
        s.guest.until(
            &format!(
                "[ $(cat /sys/class/net/eth0/carrier_changes) -ge {} ]",
                before + 2
            ),
            BRIEF,
        )?;
        line.asks(true)?;
        line.is_right()?;
        // The interface is down meanwhile, and in its groups all the same.
        s.guest.sh("ip link set eth0 down; ip link set eth0 up")?;
        s.guest.until("ping -c 1 -W 5 10.77.0.1", BRIEF)?;
        line.asks(true)?;
        line.is_right()?;
        // Longer than the stack lets a queue be stopped, which those that are not used must not be either.
        s.guest.sh("sleep 40")?;
        line.is_unharmed()
    })
}

/// A command for the guest that has its interface come into, or go out of, the groups 239.`net`.0.`from` to `to`.
fn each(what: &str, net: u8, from: u32, to: u32) -> String {
    format!(
        "for n in $(seq {from} {to}); do ip maddr {what} 01:00:5e:{net:02x}:00:$(printf %02x $n) dev eth0; done"
    )
}

/// Groups come and go as fast as a shell can have it.
fn changes() -> String {
    format!(
        "exec 2>/dev/null; while :; do {}; {}; done",
        each("add", 9, 1, 20),
        each("del", 9, 1, 20)
    )
}

/// Those that are left go.
fn none_left() -> String {
    format!("({}) 2>/dev/null || true", each("del", 9, 1, 20))
}

fn under_load(s: &Scene<'_>) -> Result<()> {
    let line = Line::new(s)?;
    line.within(|| {
        let changes = s.guest.spawn_sh(&changes())?;
        let moved = check::tcp_both_ways(s.dom0(), &s.guest, s.settings.mib).map(drop);
        // What was added last may be there.
        changes.stop()?;
        moved?;
        s.guest.sh(&none_left())?;
        line.asks(true)?;
        line.is_right()?;
        line.comes_not("239.9.0.20")
    })?;
    line.is_unharmed()
}

/// The driver goes while groups come and go.
fn unload(s: &Scene<'_>) -> Result<()> {
    check::bring_up_network(&s.guest)?;
    let changes = s.guest.spawn_sh(&changes())?;
    let done = (0..s.settings.rounds.min(5)).try_for_each(|round| {
        e2e::round(round, || {
            s.guest
                .sh_for(
                    "set -e; /sbin/modprobe -r oxen_netfront; /sbin/modprobe oxen_netfront",
                    LONG,
                )
                .map(drop)?;
            check::bring_up_network(&s.guest)
        })
    });
    changes.stop()?;
    done?;
    s.guest.sh(&none_left())?;
    let line = Line::new(s)?;
    line.within(|| line.is_right())?;
    check::dmesg_is_clean(&s.guest)
}

/// The number of an interface on a backend of our own, its hardware address, and the name of its other end in dom0.
const HANDLE: u32 = 7;
const MAC: &str = "00:16:3e:77:07:07";
const TAP: &str = "oxengroups";

/// A backend that answers what it is told of groups with what is no answer, or takes few, or has to be asked at once.
fn answers(s: &Scene<'_>) -> Result<()> {
    backend::install(s.machine, s.name())?;
    let find = format!("grep -l {MAC} /sys/class/net/*/address");
    let attach = |options: &str| -> Result<(Backend, String)> {
        let options = format!("--mac {MAC} --tap {TAP} {options}");
        let backend = Backend::start(s.dom0(), "vif", HANDLE, &options)?;
        s.dom0().sh(&format!("ip link set {TAP} up"))?;
        s.guest.until(&find, BRIEF)?;
        let found = s.guest.sh(&format!("basename $(dirname $({find}))"))?;
        let name = found.trim().to_owned();
        // Nothing is sent but what is told of groups.
        s.guest.sh(&format!(
            "echo 1 >/proc/sys/net/ipv6/conf/{name}/disable_ipv6; ip link set {name} up"
        ))?;
        Ok((backend, name))
    };
    let detach = |backend: Backend| -> Result<()> {
        backend.detach()?;
        s.guest.until(&format!("! {find}"), BRIEF).map(drop)
    };
    let (backend, name) = attach("--groups 8")?;
    let change = |what: &str, n: u32| {
        s.guest.sh(&format!(
            "ip maddr {what} 01:00:5e:0a:00:{n:02x} dev {name}"
        ))
    };
    let groups = || -> Result<u64> {
        let count = s
            .guest
            .sh(&format!("ip maddr show dev {name} | grep -c link"))?;
        Ok(count.trim().parse()?)
    };
    let asks = |filters| -> Result<()> {
        let asked = asked(s, &name, filters)?;
        s.dom0().until(&asked, BRIEF).map(drop)
    };
    let is_whole = || -> Result<()> {
        let count = groups()?;
        backend.until("filters", |filters| filters == count)?;
        asks(true)
    };
    is_whole()?;
    for (script, said) in [
        ("tx-id-out-of-range", "id is beyond the table"),
        ("tx-id-never-sent", "id was not sent"),
        ("tx-null-status", "null response"),
    ] {
        s.guest.sh("dmesg -c >/dev/null")?;
        let before = backend.tell(&format!("hostile {script}"))?;
        change("add", 1)?;
        backend.until("acts", |acts| acts == 1)?;
        let before = before.get("connections")?;
        backend.until("connections", |now| now == before + 1)?;
        is_whole().with_context(|| format!("script {script}"))?;
        let log = s.guest.sh("dmesg")?;
        check::log_is_clean(&log)?;
        ensure!(log.contains(said), "script {script}: {log}");
        change("del", 1)?;
        is_whole()?;
    }
    // A status that is none refuses.
    backend.tell("hostile tx-unknown-status")?;
    change("add", 1)?;
    backend.until("acts", |acts| acts == 1)?;
    asks(false)?;
    change("del", 1)?;
    asks(true)?;
    // More than there is room for.
    for n in 1..=8 {
        change("add", n)?;
    }
    asks(false)?;
    backend.until("filters", |filters| filters == 8)?;
    for n in 1..=8 {
        change("del", n)?;
    }
    is_whole()?;
    detach(backend)?;
    // One that has to be asked before it connects is not asked.
    let (backend, name) = attach("--multicast")?;
    s.guest.sh(&format!(
        "ip maddr add 01:00:5e:0a:00:01 dev {name}; sleep 2"
    ))?;
    let asked = asked(s, &name, false)?;
    s.dom0().sh(&asked)?;
    let counts = backend.counts()?;
    ensure!(counts.get("filters")? == 0, "{counts:?}");
    detach(backend)?;
    check::log_is_clean(&s.guest.sh("dmesg")?)
}
