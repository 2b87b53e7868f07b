// SPDX-License-Identifier: GPL-2.0

//! Loads: fio, iperf3 and the kernel's packet generator, and how much the backend has seen of each.

use crate::guests::Guest;
use crate::workload::{Fio, Kind, Workload};
use anyhow::{bail, Context, Result};
use companion::{Background, Domain, BRIEF};
use std::time::Duration;

/// Seconds that fio and iperf3 work before they count.
const WARM_UP: u32 = 2;
/// How long a load may take to do its first work.
const START: Duration = Duration::from_secs(60);

/// Starts a load that works for `seconds` once it has begun.
///
/// # Errors
///
/// When the workload is none that runs by itself.
pub(crate) fn load(
    workload: &Workload,
    dom0: &Domain,
    guest: &Guest,
    seconds: u32,
) -> Result<Background> {
    match workload.kind {
        Kind::Disk(Fio {
            disk,
            rw,
            bytes,
            depth,
        }) => guest.domain.spawn_sh(&format!(
            "exec fio --name={disk} --filename=/dev/{disk} --rw={rw} --bs={bytes} --iodepth={depth} \
             --ioengine=libaio --direct=1 --time_based --runtime={seconds} --ramp_time={WARM_UP} --output-format=json"
        )),
        // Dom0 asks and measures, by its own clock.
        Kind::Tcp {
            from_guest,
            streams,
        } => {
            let reverse = if from_guest { "-R" } else { "" };
            iperf3(dom0, guest, &format!("-P {streams} {reverse}"), seconds)
        }
        Kind::Datagrams => iperf3(dom0, guest, "-R -u -b 0 -l 64", seconds),
        Kind::Guest => {
            let peer = guest.peer.as_ref().context("there is no third guest")?;
            iperf3(peer, guest, "-R", seconds)
        }
        Kind::Packets => pktgen(dom0, guest, seconds),
        Kind::Agent(..) | Kind::Echo | Kind::Idle | Kind::Resume => {
            bail!("{} is no load of that kind", workload.name)
        }
    }
}

/// The server in the guest, and a client that asks it from another domain, for `seconds`. The client measures, by its clock.
///
/// # Errors
///
/// When one of them cannot be started.
fn iperf3(client: &Domain, guest: &Guest, how: &str, seconds: u32) -> Result<Background> {
    guest.domain.sh(
        "pkill -x iperf3; while pgrep -x iperf3 >/dev/null; do sleep 0.1; done; iperf3 -s -1 -D",
    )?;
    guest.domain.until("ss -ltn | grep -q :5201", BRIEF)?;
    client.spawn_sh(&format!(
        "exec iperf3 -c {} -O {WARM_UP} -t {seconds} -J {how}",
        guest.address()
    ))
}

/// The guest's packet generator, for `seconds`.
///
/// # Errors
///
/// When it cannot be started.
fn pktgen(dom0: &Domain, guest: &Guest, seconds: u32) -> Result<Background> {
    let mac = dom0.sh(&format!("cat /sys/class/net/{}/address", guest.bridge()))?;
    // To an address of nobody's behind dom0, which forwards nothing and drops them.
    guest.domain.spawn_sh(&format!(
        "cd /proc/net/pktgen; echo rem_device_all >kpktgend_0; echo add_device eth0 >kpktgend_0; \
         for line in 'count 0' 'delay 0' 'pkt_size 60' 'dst 10.99.0.1' 'dst_mac {}'; do echo \"$line\" >eth0; done; \
         exec timeout -s INT {seconds} sh -c 'echo start >pgctrl'",
        mac.trim()
    ))
}

/// A shell command for dom0 that prints how much of the workload the guest's backend has seen.
pub(crate) fn counter(workload: &Workload, guest: &Guest) -> String {
    let statistics = format!("/sys/class/net/{}/statistics", guest.vif());
    match workload.kind {
        // Block major 202, sixteen numbers to a disk.
        Kind::Disk(Fio { disk, bytes, .. }) => {
            let minor = disk.bytes().last().map_or(0, |letter| letter - b'a');
            let device = 202 * 256 + u32::from(minor) * 16;
            // A request of fio's may be many of the ring's.
            format!(
                "cd /sys/bus/xen-backend/devices/vbd-{}-{device}/statistics; \
                 echo $((($(cat rd_sect) + $(cat wr_sect)) / {}))",
                guest.id,
                bytes / 512
            )
        }
        // What the guest sends, its interface's other end receives.
        Kind::Tcp {
            from_guest: false, ..
        } => format!("cat {statistics}/tx_bytes"),
        Kind::Tcp { .. } | Kind::Guest => format!("cat {statistics}/rx_bytes"),
        Kind::Datagrams | Kind::Packets => format!("cat {statistics}/rx_packets"),
        Kind::Agent(..) | Kind::Echo | Kind::Idle | Kind::Resume => "echo 0".into(),
    }
}

/// Waits until the load does its work and has done so for a second.
///
/// # Errors
///
/// When it does none.
pub(crate) fn await_work(
    workload: &Workload,
    dom0: &Domain,
    guest: &Guest,
    before: u64,
) -> Result<()> {
    let enough = before + 100;
    let counter = counter(workload, guest);
    dom0.until(&format!("[ $({counter}) -gt {enough} ] && sleep 1"), START)
        .with_context(|| format!("{} does not begin", workload.name))?;
    Ok(())
}
