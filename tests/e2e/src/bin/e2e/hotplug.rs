// SPDX-License-Identifier: GPL-2.0

//! Disks and network interfaces that come and go while others work.

use crate::scene::Scene;
use anyhow::Result;
use companion::{Disk, Domain, BRIEF, LONG};
use e2e::check;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Rounds of [`blocks`] that are over. Those of a guest that the emulator lost count.
static BLOCKS: AtomicU64 = AtomicU64::new(0);

/// What another disk is busy with: it writes, and reads again what it wrote.
const LOAD: &str =
    "while fio --name=load --filename=/dev/xvdb --rw=randrw --bs=4k-64k --size=8M --direct=1 --ioengine=libaio --iodepth=16 \
     --verify=crc32c --verify_fatal=1 --output=/dev/null; do :; done; exit 1";

/// `xl block-attach` and `-detach`, `rounds` times, while another disk is busy, and the disk itself, which does not keep it
/// from going.
pub(crate) fn blocks(dom0: &Domain, guest: &Domain, name: &str, rounds: u64) -> Result<()> {
    let disk = Disk::new("xvdf", 64);
    let image = disk.image(name);
    // The other half is written to.
    let sum = dom0.sh(&format!(
        "head -c 32M /dev/urandom >{image}; sha256sum <{image}; truncate -s 64M {image}"
    ))?;
    let before = check::counters(guest)?;
    let load = guest.spawn_sh(LOAD)?;
    for round in BLOCKS.load(Relaxed) + 1..=rounds {
        e2e::round(round, || {
            dom0.sh(&format!("xl block-attach {name} '{}'", disk.spec(name)))?;
            guest.until("[ -b /dev/xvdf ]", BRIEF)?;
            // The whole content only now and then: it is what takes the time.
            if round % 5 == 1 {
                guest.until("[ $(blockdev --getsize64 /dev/xvdf) = 67108864 ]", BRIEF)?;
                let found = guest.sh_for(
                    "dd if=/dev/xvdf bs=256k count=128 iflag=direct 2>/dev/null | sha256sum",
                    LONG,
                )?;
                anyhow::ensure!(found == sum, "read {found}, should be {sum}");
            }
            let user = guest.spawn_sh(
                "exec fio --name=user --filename=/dev/xvdf --offset=32M --size=32M --rw=randwrite --bs=4k --direct=1 \
                 --ioengine=libaio --iodepth=32 --time_based --runtime=1h --output=/dev/null",
            )?;
            let writes = "awk '{ print $5 }' /sys/block/xvdf/stat";
            guest.until(&format!("[ $({writes}) -ge 500 ]"), BRIEF)?;
            dom0.sh(&format!("xl block-detach {name} xvdf"))?;
            guest.until("[ ! -e /sys/block/xvdf ]", BRIEF)?;
            let user = user.wait(BRIEF)?;
            anyhow::ensure!(!user.success(), "no write failed: {user}");
            BLOCKS.store(round, Relaxed);
            Ok(())
        })?;
    }
    let load = load.stop()?;
    anyhow::ensure!(load.code != 1, "the other disk had an error: {load}");
    check::counters_return(guest, &before)
}

/// `xl network-attach` and `-detach`, `rounds` times, while the other interfaces are busy.
pub(crate) fn networks(dom0: &Domain, guest: &Domain, name: &str, rounds: u64) -> Result<()> {
    let before = check::counters(guest)?;
    let load = guest.spawn_sh("exec ping -q -i 0.05 -s 1400 10.77.0.1")?;
    for round in 1..=rounds {
        e2e::round(round, || {
            let mac = format!("00:16:3e:77:01:{round:02x}");
            dom0.sh(&format!(
                "xl network-attach {name} type=vif script=/run/companion/vif mac={mac} bridge=xenbr1"
            ))?;
            guest.until(&format!("grep -l {mac} /sys/class/net/*/address"), BRIEF)?;
            let found = guest.sh(&format!(
                "basename $(dirname $(grep -l {mac} /sys/class/net/*/address))"
            ))?;
            let interface = found.trim();
            guest.sh(&format!(
                "ip addr add 10.78.0.9/24 dev {interface}; ip link set {interface} up"
            ))?;
            if round % 5 == 1 {
                guest.until(&format!("ping -c 1 -W 5 -I {interface} 10.78.0.1"), BRIEF)?;
            }
            dom0.sh(&format!("xl network-detach {name} {mac}"))?;
            guest.until(&format!("[ ! -e /sys/class/net/{interface} ]"), BRIEF)?;
            Ok(())
        })?;
    }
    load.stop()?;
    check::counters_return(guest, &before)
}

/// The guest's disks and interfaces in the store, at both ends.
struct Nodes<'a> {
    dom0: &'a Domain,
    list: String,
    before: String,
}

impl<'a> Nodes<'a> {
    fn of(dom0: &'a Domain, name: &str) -> Result<Self> {
        let id = check::domid(dom0, name)?;
        let list = format!(
            "for kind in vbd vif; do xenstore-list /local/domain/{id}/device/$kind; \
             xenstore-list /local/domain/0/backend/$kind/{id}; done"
        );
        let before = dom0.sh(&list)?;
        Ok(Self { dom0, list, before })
    }

    /// Waits until there are those of before and no other.
    fn are_left(&self) -> Result<()> {
        let Self { list, before, .. } = self;
        self.dom0
            .until(
                &format!(
                    "now=$({list}); echo \"$now\"; [ \"$now\" = '{}' ]",
                    before.trim_end()
                ),
                BRIEF,
            )
            .map(drop)
    }
}

/// One disk attached and detached `times` times, and nobody waits for the guest meanwhile; another disk is busy.
pub(crate) fn same_disk(dom0: &Domain, guest: &Domain, name: &str, times: u64) -> Result<()> {
    let disk = Disk::new("xvdf", 32);
    let (image, spec) = (disk.image(name), disk.spec(name));
    dom0.sh(&format!("truncate -s 32M {image}"))?;
    let (before, nodes) = (check::counters(guest)?, Nodes::of(dom0, name)?);
    let load = guest.spawn_sh(LOAD)?;
    for round in 1..=times {
        e2e::round(round, || {
            dom0.sh(&format!(
                "xl block-attach {name} '{spec}' && xl block-detach {name} xvdf"
            ))
            .map(drop)
        })?;
    }
    let load = load.stop()?;
    anyhow::ensure!(load.code != 1, "the other disk had an error: {load}");
    guest.until("[ ! -e /sys/block/xvdf ]", BRIEF)?;
    nodes.are_left()?;
    check::counters_return(guest, &before)
}

/// One interface, with one address, attached and detached `times` times, with a packet socket open on it.
pub(crate) fn same_network(dom0: &Domain, guest: &Domain, name: &str, times: u64) -> Result<()> {
    const MAC: &str = "00:16:3e:77:04:01";
    let (before, nodes) = (check::counters(guest)?, Nodes::of(dom0, name)?);
    let sniff = guest.spawn_sh(&format!(
        "while :; do i=$(grep -l {MAC} /sys/class/net/*/address 2>/dev/null | cut -d/ -f5); \
         if [ -n \"$i\" ]; then socat -u INTERFACE:$i - >/dev/null 2>&1; else sleep 0.1; fi; done"
    ))?;
    for round in 1..=times {
        e2e::round(round, || {
            dom0.sh(&format!(
                "xl network-attach {name} type=vif script=/run/companion/vif mac={MAC} bridge=xenbr1 && \
                 xl network-detach {name} {MAC}"
            ))
            .map(drop)
        })?;
    }
    sniff.stop()?;
    guest.until(&format!("! grep -l {MAC} /sys/class/net/*/address"), BRIEF)?;
    nodes.are_left()?;
    check::counters_return(guest, &before)
}

/// TCP streams both ways go on when their interface is taken away and comes back with its addresses, `rounds` times; each time
/// `kib` KiB go each way. A packet socket is open on it.
pub(crate) fn streams_go_on(s: &Scene<'_>, rounds: u64, kib: u64) -> Result<()> {
    const MAC: &str = "00:16:3e:77:07:01";
    const DOM0: &str = "10.82.0.1";
    const GUEST: &str = "10.82.0.9";
    const OVER: &str = "/tmp/over-streams";
    let (dom0, guest, name) = (s.dom0(), &s.guest, s.name());
    let (before, nodes) = (check::counters(guest)?, Nodes::of(dom0, name)?);
    dom0.sh(&format!(
        "ip addr add {DOM0}/24 dev xenbr1; head -c 1M /dev/urandom >/tmp/streamed"
    ))?;
    guest.sh(
        "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore; head -c 1M /dev/urandom >/tmp/streamed",
    )?;
    let find = format!("grep -l {MAC} /sys/class/net/*/address");
    let comes = || -> Result<()> {
        dom0.sh(&format!(
            "xl network-attach {name} type=vif script=/run/companion/vif mac={MAC} bridge=xenbr1"
        ))?;
        guest.until(&find, BRIEF)?;
        guest
            .sh(&format!(
                "if=$(basename $(dirname $({find}))); ip addr add {GUEST}/24 dev $if; ip link set $if up"
            ))
            .map(drop)
    };
    let goes = || -> Result<()> {
        dom0.sh(&format!("xl network-detach {name} {MAC}"))?;
        guest.until(&format!("! {find}"), BRIEF).map(drop)
    };
    let sniff = guest.spawn_sh(&format!(
        "while :; do i=$({find} 2>/dev/null | cut -d/ -f5); \
         if [ -n \"$i\" ]; then socat -u INTERFACE:$i - >/dev/null 2>&1; else sleep 0.1; fi; done"
    ))?;
    comes()?;
    let sink = dom0.spawn_sh("socat -u TCP-LISTEN:5013,reuseaddr - | sha256sum")?;
    let source = dom0.spawn_sh(&format!(
        "{} | socat -u - TCP-LISTEN:5014,reuseaddr; wait; cat {OVER}.sum",
        check::stream(OVER, "/tmp/streamed")
    ))?;
    dom0.until("ss -ltn | grep -q :5013 && ss -ltn | grep -q :5014", BRIEF)?;
    let there = guest.spawn_sh(&format!(
        "{} | socat -u - TCP:{DOM0}:5013; wait; cat {OVER}.sum",
        check::stream(OVER, "/tmp/streamed")
    ))?;
    let back = guest.spawn_sh(&format!("socat -u TCP:{DOM0}:5014 - | sha256sum"))?;
    let go_on = || {
        let count = |way| format!("$(cat $(dirname $({find}))/statistics/{way}_bytes)");
        let enough = |way| format!("[ {} -ge {} ]", count(way), kib * 1024);
        guest
            .until(&format!("{} && {}", enough("tx"), enough("rx")), LONG)
            .map(drop)
    };
    go_on()?;
    for round in 1..=rounds {
        e2e::round(round, || {
            goes()?;
            comes()?;
            go_on()
        })?;
    }
    for domain in [dom0, guest] {
        domain.sh(&format!("touch {OVER}"))?;
    }
    let (sent, received) = (there.wait(LONG)?.stdout, sink.wait(LONG)?.stdout);
    check::same_sum("from the guest", &sent, &received)?;
    let (sent, received) = (source.wait(LONG)?.stdout, back.wait(LONG)?.stdout);
    check::same_sum("to the guest", &sent, &received)?;
    sniff.stop()?;
    goes()?;
    guest.sh("echo 0 >/proc/sys/net/ipv4/conf/all/arp_ignore")?;
    dom0.sh(&format!("ip addr del {DOM0}/24 dev xenbr1"))?;
    nodes.are_left()?;
    check::counters_return(guest, &before)
}

/// A disk and an interface that come, and go, while the guest is paused.
pub(crate) fn paused(dom0: &Domain, guest: &Domain, name: &str) -> Result<()> {
    const MAC: &str = "00:16:3e:77:06:01";
    let disk = Disk::new("xvdf", 32);
    dom0.sh(&format!("truncate -s 32M {}", disk.image(name)))?;
    let (before, nodes) = (check::counters(guest)?, Nodes::of(dom0, name)?);
    let comes = |what: &str| {
        dom0.sh(&format!(
            "xl pause {name} && {{ xl {what}; code=$?; sleep 1; xl unpause {name}; exit $code; }}"
        ))
    };
    // The toolstack waits for the guest then, for ten seconds.
    let goes = |what: &str| {
        dom0.sh(&format!(
            "xl pause {name} && {{ (sleep 2; xl unpause {name}) & xl {what}; code=$?; wait; exit $code; }}"
        ))
    };
    comes(&format!("block-attach {name} '{}'", disk.spec(name)))?;
    guest.until("[ -b /dev/xvdf ]", BRIEF)?;
    goes(&format!("block-detach {name} xvdf"))?;
    guest.until("[ ! -e /sys/block/xvdf ]", BRIEF)?;
    comes(&format!(
        "network-attach {name} type=vif script=/run/companion/vif mac={MAC} bridge=xenbr1"
    ))?;
    guest.until(&format!("grep -l {MAC} /sys/class/net/*/address"), BRIEF)?;
    goes(&format!("network-detach {name} {MAC}"))?;
    guest.until(&format!("! grep -l {MAC} /sys/class/net/*/address"), BRIEF)?;
    nodes.are_left()?;
    check::counters_return(guest, &before)
}

/// Disks and interfaces all at once: each comes up, and goes.
pub(crate) fn crowd(
    dom0: &Domain,
    guest: &Domain,
    name: &str,
    disks: u64,
    vifs: u64,
) -> Result<()> {
    let (before, nodes) = (check::counters(guest)?, Nodes::of(dom0, name)?);
    let numbered = |n: u64| Disk::new(&format!("xvd{}", letters(n)), 1);
    let mut attach = String::new();
    let (mut detach, mut leave) = (String::new(), String::new());
    for n in 0..disks {
        let disk = numbered(n);
        attach += &format!(
            "truncate -s 1M {}; xl block-attach {name} '{}' & ",
            disk.image(name),
            disk.spec(name)
        );
        detach += &format!("block-detach {name} xvd{}\n", letters(n));
    }
    // Of two interfaces attached in the same moment, xl gives both the same number, and it finds none while another one goes:
    // one after the other, beside the disks.
    for n in 0..vifs {
        let mac = format!("00:16:3e:77:05:{n:02x}");
        attach += &format!(
            "xl network-attach {name} type=vif script=/run/companion/vif mac={mac} bridge=xenbr1; "
        );
        leave += &format!("xl network-detach {name} {mac} && ");
    }
    dom0.sh_for(&format!("{attach} wait"), LONG)?;
    for n in 0..disks {
        guest.until(&format!("[ -b /dev/xvd{} ]", letters(n)), LONG)?;
    }
    guest.until(
        &format!("[ $(grep -l 00:16:3e:77:05 /sys/class/net/*/address | wc -l) = {vifs} ]"),
        LONG,
    )?;
    // Not all at once: xl gives each ten seconds, which a slow machine does not keep, and then leaves it in the store.
    dom0.sh_for(
        &format!("({leave} true) & echo '{detach}' | xargs -r -P 3 -L 1 xl && wait $!"),
        LONG,
    )?;
    guest.until("! ls /sys/block | grep '^xvd[a-z][a-z]'", LONG)?;
    nodes.are_left()?;
    check::counters_return(guest, &before)
}

/// Names that no disk of the guest has: `aa`, `ab`, …
fn letters(n: u64) -> String {
    let letter = |n: u64| char::from(b'a' + (n % 26) as u8);
    [letter(n / 26), letter(n)].iter().collect()
}

/// `writes` states of the backend that no backend writes, in any order; afterwards the interface comes back by itself. The last one
/// is a number: Linux's backend writes its state over nothing else.
pub(crate) fn state_storm(dom0: &Domain, guest: &Domain, writes: u64) -> Result<()> {
    let id = check::domid(dom0, guest.name())?;
    let backend = format!("/local/domain/0/backend/vif/{id}/0");
    dom0.sh_for(
        &format!(
            "n=0; while [ $n -lt {writes} ]; do for s in 6 5 9 '' 4 2 1; do \
             [ $n -lt {writes} ] && xenstore-write {backend}/state \"$s\"; n=$((n + 1)); done; done; \
             xenstore-write {backend}/state 4"
        ),
        LONG,
    )?;
    let said = guest.sh("dmesg | grep -c 'vif-0.*gives up for a minute' || true")?;
    anyhow::ensure!(
        said.trim().parse::<u32>().is_ok_and(|said| said <= 3),
        "{said} times the same sentence"
    );
    guest.until("ping -c 1 -W 2 10.77.0.1", LONG)?;
    Ok(())
}
