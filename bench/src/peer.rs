// SPDX-License-Identifier: GPL-2.0

//! The third guest: the other end of a stream between guests. It is small, has the kernel's own frontends and is the same
//! one for both, on the bridges of both.

use anyhow::{Context, Result};
use companion::{progress, Companion, Domain, GuestConfig, Vif, BRIEF};

/// Name of the domain.
pub(crate) const NAME: &str = "bench-peer";
/// Its place in each bridge's network.
pub(crate) const HOST: u8 = 3;
/// Number of its first interface among all of the bench's.
const FIRST: u8 = 2;

/// Boots it and leaves it running.
///
/// # Errors
///
/// When it does not come up, or lacks its network.
pub(crate) fn boot(machine: &Companion) -> Result<Domain> {
    progress("the third guest: booting Debian, about a minute");
    machine.destroy(NAME)?;
    let vifs = [0, 1].map(|bridge| Vif::new(FIRST + bridge, &format!("xenbr{bridge}")));
    let mut config = GuestConfig::new(NAME);
    config.vcpus = 1;
    config.root = true;
    config.nopv = false;
    config.early = vec!["xen-blkfront".into(), "xen-netfront".into()];
    config.vifs = vifs.to_vec();
    let domain = machine
        .create(&config)?
        .context("the guest was created but not waited for")?;
    for (bridge, vif) in vifs.iter().enumerate() {
        let find = format!("grep -l {} /sys/class/net/*/address", vif.mac);
        domain.until(&find, BRIEF)?;
        domain.sh(&format!(
            "if=$(basename $(dirname $({find}))); ip addr flush dev $if; \
             ip addr add 10.{}.0.{HOST}/24 dev $if; ip link set $if up",
            77 + bridge
        ))?;
        domain.until(&format!("ping -c 1 -W 5 10.{}.0.1", 77 + bridge), BRIEF)?;
    }
    Ok(domain)
}
