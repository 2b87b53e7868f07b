// SPDX-License-Identifier: GPL-2.0

//! What the interface leaves to the other side: segments and checksums.

use crate::scene::Scene;
use anyhow::{ensure, Result};
use companion::{Domain, BRIEF, LONG};
use e2e::check;

/// Bytes of the largest Ethernet frame that the MTU allows.
const FRAME: u64 = 1514;

/// A receiver on the guest's bridge that is no guest: what comes to it has been cut into segments by dom0, with the
/// checksums written out, and its TCP looks at them.
const FAR: &str = "set -e; modprobe veth; ip netns add far; ip link add near type veth peer name far0; \
    ip link set far0 netns far; ethtool -K near tx off >/dev/null 2>&1; ip link set near master xenbr0 up; \
    far() { ip netns exec far \"$@\"; }; far ip addr add 10.77.0.7/24 dev far0; \
    far ip -6 addr add fd77::7/64 dev far0 nodad; far ip link set far0 up";

/// TCP goes through in packets larger than a frame, v4 and v6, both ways; and in frames when the user says so.
pub(crate) fn large_packets(s: &Scene<'_>) -> Result<()> {
    check::bring_up_network(&s.guest)?;
    s.dom0().sh(FAR)?;
    let result = beyond(s);
    s.dom0().sh("ip link del near; ip netns del far")?;
    result
}

fn beyond(s: &Scene<'_>) -> Result<()> {
    s.guest
        .sh("ip -6 addr add fd77::2/64 dev eth0 nodad; head -c 4194304 /dev/urandom >/tmp/large")?;
    let vif = format!("vif{}.0", check::domid(s.dom0(), s.name())?);
    for far in ["TCP4:10.77.0.7", "TCP6:[fd77::7]"] {
        let sent = mean(s.dom0(), &vif, "rx", || upload(s, far))?;
        ensure!(
            sent > FRAME,
            "{far}: packets of {sent} bytes come from the guest"
        );
        let got = mean(&s.guest, "eth0", "rx", || download(s, far))?;
        ensure!(got > FRAME, "{far}: packets of {got} bytes reach the guest");
    }
    s.guest.sh("ethtool -K eth0 tso off")?;
    let cut = mean(s.dom0(), &vif, "rx", || upload(s, "TCP4:10.77.0.7"))?;
    s.guest.sh("ethtool -K eth0 tso on")?;
    ensure!(
        cut <= FRAME,
        "without TSO packets of {cut} bytes come from the guest"
    );
    let bad = s
        .dom0()
        .sh("ip netns exec far nstat -asz TcpInCsumErrors")?;
    let count = bad
        .lines()
        .last()
        .and_then(|line| line.split_whitespace().nth(1));
    ensure!(count == Some("0"), "wrong checksums: {bad}");
    Ok(())
}

/// Bytes of a packet of those that `interface` counts in `direction` while `work` runs, on average.
fn mean(
    domain: &Domain,
    interface: &str,
    direction: &str,
    work: impl FnOnce() -> Result<()>,
) -> Result<u64> {
    let read = || -> Result<(u64, u64)> {
        let base = format!("/sys/class/net/{interface}/statistics/{direction}");
        let text = domain.sh(&format!("cat {base}_bytes {base}_packets"))?;
        let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>());
        match (numbers.next(), numbers.next()) {
            (Some(bytes), Some(packets)) => Ok((bytes?, packets?)),
            _ => anyhow::bail!("statistics of {interface}: {text}"),
        }
    };
    let before = read()?;
    work()?;
    let after = read()?;
    Ok((after.0 - before.0) / (after.1 - before.1).max(1))
}

/// The guest's file to the far end.
fn upload(s: &Scene<'_>, far: &str) -> Result<()> {
    let listen = format!("{}-LISTEN:5003,reuseaddr", &far[..4]);
    let server = s.dom0().spawn_sh(&format!(
        "exec ip netns exec far socat -b 65536 -u {listen} CREATE:/tmp/large"
    ))?;
    s.guest.sh_for(
        &format!("socat -b 65536 -u OPEN:/tmp/large {far}:5003,retry=100,interval=0.2"),
        LONG,
    )?;
    server.wait(LONG)?;
    let want = s.guest.sh("sha256sum </tmp/large")?;
    check::same_sum(
        "from the guest",
        &want,
        &s.dom0().sh("sha256sum </tmp/large")?,
    )
}

/// The file back.
fn download(s: &Scene<'_>, far: &str) -> Result<()> {
    let listen = format!("{}-LISTEN:5004,reuseaddr", &far[..4]);
    let server = s.dom0().spawn_sh(&format!(
        "exec ip netns exec far socat -b 65536 -u OPEN:/tmp/large {listen}"
    ))?;
    let got = s.guest.sh_for(
        &format!("socat -b 65536 -u {far}:5004,retry=100,interval=0.2 - | sha256sum"),
        LONG,
    )?;
    server.wait(BRIEF)?;
    let want = s.guest.sh("sha256sum </tmp/large")?;
    check::same_sum("to the guest", &want, &got)
}
