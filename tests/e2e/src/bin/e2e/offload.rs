// SPDX-License-Identifier: GPL-2.0

//! What the interface leaves to the other side: segments and checksums.

use crate::far::{self, Far};
use crate::scene::Scene;
use anyhow::{ensure, Result};
use companion::Domain;
use e2e::check;

/// Bytes of the largest Ethernet frame that the MTU allows.
const FRAME: u64 = 1514;

/// How much is sent each time, in MiB.
const MIB: u32 = 2;

/// TCP goes through in packets larger than a frame, v4 and v6, both ways; and in frames when the user says so.
pub(crate) fn large_packets(s: &Scene<'_>) -> Result<()> {
    check::bring_up_network(&s.guest)?;
    let far = Far::new(s.dom0(), "far", "xenbr0", &["10.77.0.7/24", "fd77::7/64"])?;
    s.guest.sh("ip -6 addr add fd77::2/64 dev eth0 nodad")?;
    let vif = format!("vif{}.0", check::domid(s.dom0(), s.name())?);
    for (there, here) in [
        ("TCP4:10.77.0.7", "TCP4:10.77.0.2"),
        ("TCP6:[fd77::7]", "TCP6:[fd77::2]"),
    ] {
        let sent = mean(s.dom0(), &vif, || far::send(&s.guest, &far, there, MIB))?;
        ensure!(
            sent > FRAME,
            "{there}: packets of {sent} bytes come from the guest"
        );
        let got = mean(&s.guest, "eth0", || far::send(&far, &s.guest, here, MIB))?;
        ensure!(
            got > FRAME,
            "{here}: packets of {got} bytes reach the guest"
        );
    }
    s.guest.sh("ethtool -K eth0 tso off")?;
    let cut = mean(s.dom0(), &vif, || {
        far::send(&s.guest, &far, "TCP4:10.77.0.7", MIB)
    });
    s.guest.sh("ethtool -K eth0 tso on")?;
    let cut = cut?;
    ensure!(
        cut <= FRAME,
        "without TSO packets of {cut} bytes come from the guest"
    );
    far.checksums_were_right()
}

/// Bytes of a packet of those that `interface` receives while `work` runs, on average.
fn mean(domain: &Domain, interface: &str, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let read = || -> Result<(u64, u64)> {
        let base = format!("/sys/class/net/{interface}/statistics/rx");
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
