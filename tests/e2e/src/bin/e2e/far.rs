// SPDX-License-Identifier: GPL-2.0

//! Machines on the guest's bridges that are no guests: network namespaces of dom0's.
//!
//! What comes to one has been cut into frames by dom0, with the checksums written out, and it looks at them.

use anyhow::{ensure, Result};
use companion::{Background, Domain, BRIEF, LONG};
use e2e::check;

/// Where a script can run.
pub(crate) trait Place {
    /// Runs it to its end, which must be good, and gives what it printed.
    fn does(&self, script: &str) -> Result<String>;

    /// Starts it.
    fn starts(&self, script: &str) -> Result<Background>;
}

impl Place for Domain {
    fn does(&self, script: &str) -> Result<String> {
        self.sh_for(script, LONG)
    }

    fn starts(&self, script: &str) -> Result<Background> {
        self.spawn_sh(script)
    }
}

/// Such a machine, until this is dropped.
pub(crate) struct Far<'a> {
    dom0: &'a Domain,
    name: &'a str,
}

impl Place for Far<'_> {
    fn does(&self, script: &str) -> Result<String> {
        self.dom0.does(&self.on(script))
    }

    fn starts(&self, script: &str) -> Result<Background> {
        self.dom0.starts(&format!("exec {}", self.on(script)))
    }
}

impl<'a> Far<'a> {
    /// A machine on `bridge`; its interface is called by its name and 0, and has these addresses.
    pub(crate) fn new(
        dom0: &'a Domain,
        name: &'a str,
        bridge: &str,
        addresses: &[&str],
    ) -> Result<Self> {
        // Should it not be whole, what there is of it is taken away again.
        let far = Self { dom0, name };
        let near = far.near();
        dom0.sh(&format!(
            "set -e; ip netns add {name}; ip link add {near} type veth peer name {name}0 netns {name}; \
             ethtool -K {near} tx off >/dev/null 2>&1; ip link set {near} master {bridge} up"
        ))?;
        for address in addresses {
            let at_once = if address.contains(':') { "nodad" } else { "" };
            far.does(&format!("ip addr add {address} dev {name}0 {at_once}"))?;
        }
        far.does(&format!("ip link set lo up; ip link set {name}0 up"))?;
        Ok(far)
    }

    /// The end of its cable that is on the bridge.
    pub(crate) fn near(&self) -> String {
        format!("{}-near", self.name)
    }

    /// A command for dom0 that runs the script here.
    fn on(&self, script: &str) -> String {
        let script = script.replace('\'', "'\\''");
        format!("ip netns exec {} sh -c '{script}'", self.name)
    }

    /// No checksum that came here was wrong.
    pub(crate) fn checksums_were_right(&self) -> Result<()> {
        let said = self.does("nstat -asz TcpInCsumErrors UdpInCsumErrors Icmp6InCsumErrors")?;
        let mut counts = said.lines().filter(|line| !line.starts_with('#'));
        ensure!(
            counts.all(|line| line.split_whitespace().nth(1) == Some("0")),
            "{}: wrong checksums:\n{said}",
            self.name
        );
        Ok(())
    }
}

impl Drop for Far<'_> {
    fn drop(&mut self) {
        let undo = format!("ip link del {}; ip netns del {}", self.near(), self.name);
        let _ = self.dom0.try_sh(&undo, BRIEF);
    }
}

/// Sends a file of `mib` MiB to `address`, which is `to`'s, as socat has it: `TCP4:10.77.0.7` or `TCP6:[fd77::7]`.
pub(crate) fn send(from: &dyn Place, to: &dyn Place, address: &str, mib: u32) -> Result<()> {
    let (kind, _) = address.split_once(':').unwrap_or_default();
    let server = to.starts(&format!(
        "exec socat -b 65536 -u {kind}-LISTEN:5003,reuseaddr CREATE:/tmp/got"
    ))?;
    let sent = from.does(&format!(
        "dd if=/dev/urandom of=/tmp/sent bs=64k count={} 2>/dev/null; sha256sum </tmp/sent",
        mib * 16
    ))?;
    // It tries again until the other side listens.
    from.does(&format!(
        "socat -b 65536 -u OPEN:/tmp/sent {address}:5003,retry=100,interval=0.2"
    ))?;
    server.wait(LONG)?;
    check::same_sum(
        &format!("to {address}"),
        &sent,
        &to.does("sha256sum </tmp/got; rm /tmp/got")?,
    )
}
