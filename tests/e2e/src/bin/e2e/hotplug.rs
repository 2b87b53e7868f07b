// SPDX-License-Identifier: GPL-2.0

//! Disks and network interfaces that come and go while others work.

use anyhow::Result;
use companion::{Disk, Domain, BRIEF, LONG};
use e2e::check;

/// `xl block-attach` and `-detach`, `rounds` times, while another disk and the network are busy.
pub(crate) fn blocks(dom0: &Domain, guest: &Domain, name: &str, rounds: u64) -> Result<()> {
    let disk = Disk::new("xvdf", 32);
    let image = disk.image(name);
    dom0.sh(&format!("head -c 32M /dev/urandom >{image}"))?;
    let sum = dom0.sh(&format!("sha256sum <{image}"))?;
    let before = check::counters(guest)?;
    let load = guest.spawn_sh(
        "while :; do dd if=/dev/xvdb of=/dev/null bs=64k count=256 iflag=direct 2>/dev/null || exit 1; done",
    )?;
    for round in 1..=rounds {
        e2e::round(round, || {
            dom0.sh(&format!("xl block-attach {name} '{}'", disk.spec(name)))?;
            guest.until("[ -b /dev/xvdf ]", BRIEF)?;
            // The whole content only now and then: it is what takes the time.
            if round % 5 == 1 {
                guest.until("[ $(blockdev --getsize64 /dev/xvdf) = 33554432 ]", BRIEF)?;
                let found = guest.sh_for(
                    "dd if=/dev/xvdf bs=256k iflag=direct 2>/dev/null | sha256sum",
                    LONG,
                )?;
                anyhow::ensure!(found == sum, "read {found}, should be {sum}");
            }
            dom0.sh(&format!("xl block-detach {name} xvdf"))?;
            guest.until("[ ! -e /sys/block/xvdf ]", BRIEF)?;
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
