// SPDX-License-Identifier: GPL-2.0

//! Packets as routers, bridges and tunnels make them, and lines that lose them or are slow.

use crate::far::{self, Far, Place};
use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use e2e::suite::Test;
use e2e::{check, checking_kernel};

/// How much is sent each time, in MiB.
const MIB: u32 = 1;

pub(crate) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    let mut tests: Vec<Test<Scene<'a>>> = vec![
        ("debian/path-routed", routed),
        ("debian/path-multicast", multicast),
        ("debian/path-lossy", lossy),
        ("debian/path-slow", slow),
        ("debian/path-dhcp", dhcp),
    ];
    // The checking kernel has nothing for these.
    if !checking_kernel() {
        tests.extend::<[Test<Scene<'a>>; 6]>([
            ("debian/path-bridge", bridge),
            ("debian/path-translated", translated),
            ("debian/path-vlan-in-vlan", vlan_in_vlan),
            ("debian/path-macvlan", macvlan),
            ("debian/path-tunnel", tunnel),
            ("debian/path-wireguard", wireguard),
        ]);
    }
    tests
}

/// The machine on the first bridge, where the guest has 10.77.0.2 and fd77::2.
fn left<'a>(s: &'a Scene<'_>) -> Result<Far<'a>> {
    check::bring_up_network(&s.guest)?;
    s.guest.sh("ip -6 addr replace fd77::2/64 dev eth0 nodad")?;
    Far::new(s.dom0(), "left", "xenbr0", &["10.77.0.7/24", "fd77::7/64"])
}

/// The machine on the second bridge, where it has 10.78.0.2 and fd78::2.
fn right<'a>(s: &'a Scene<'_>) -> Result<Far<'a>> {
    s.guest.sh("ip -6 addr replace fd78::2/64 dev eth1 nodad")?;
    Far::new(s.dom0(), "right", "xenbr1", &["10.78.0.7/24", "fd78::7/64"])
}

/// Runs `body` after one script in the guest, and another one however it went.
fn between(
    s: &Scene<'_>,
    first: &str,
    last: &str,
    body: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let done = s.guest.sh(first).and_then(|_| body());
    let undone = s.guest.sh(last);
    done?;
    undone.map(drop)
}

/// Both ways between the guest and a far machine that has `there` where the guest has `here`.
fn both_ways(s: &Scene<'_>, far: &Far<'_>, here: &str, there: &str) -> Result<()> {
    far::send(&s.guest, far, &format!("TCP4:{there}"), MIB)?;
    far::send(far, &s.guest, &format!("TCP4:{here}"), MIB)
}

const FORWARD: &str = "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
const FORWARD_NOT: &str = "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0";

/// The guest is a router, v4 and v6, with and without offloads.
fn routed(s: &Scene<'_>) -> Result<()> {
    let (left, right) = (left(s)?, right(s)?);
    left.does("ip route add 10.78.0.0/24 via 10.77.0.2; ip -6 route add fd78::/64 via fd77::2")?;
    right.does("ip route add 10.77.0.0/24 via 10.78.0.2; ip -6 route add fd77::/64 via fd78::2")?;
    let last = format!("{FORWARD_NOT}; ethtool -K eth0 tx on; ethtool -K eth1 tx on");
    between(s, FORWARD, &last, || {
        for tx in ["off", "on"] {
            s.guest
                .sh(&format!("ethtool -K eth0 tx {tx}; ethtool -K eth1 tx {tx}"))?;
            for (there, here) in [
                ("TCP4:10.78.0.7", "TCP4:10.77.0.7"),
                ("TCP6:[fd78::7]", "TCP6:[fd77::7]"),
            ] {
                far::send(&left, &right, there, MIB)
                    .and_then(|()| far::send(&right, &left, here, MIB))
                    .with_context(|| format!("with tx {tx}"))?;
            }
        }
        left.checksums_were_right()?;
        right.checksums_were_right()
    })
}

/// The guest hides the one side from the other.
fn translated(s: &Scene<'_>) -> Result<()> {
    let (left, right) = (left(s)?, right(s)?);
    left.does("ip route add 10.78.0.0/24 via 10.77.0.2; ip -6 route add fd78::/64 via fd77::2")?;
    let first = format!(
        "{FORWARD}; nft 'table inet far {{ chain out {{ type nat hook postrouting priority 100; oifname eth1 masquerade; }}; }}'"
    );
    let last = format!(
        "{FORWARD_NOT}; nft delete table inet far; ethtool -K eth0 tx on; ethtool -K eth1 tx on"
    );
    between(s, &first, &last, || {
        for tx in ["off", "on"] {
            s.guest
                .sh(&format!("ethtool -K eth0 tx {tx}; ethtool -K eth1 tx {tx}"))?;
            for there in ["TCP4:10.78.0.7", "TCP6:[fd78::7]"] {
                far::send(&left, &right, there, MIB).with_context(|| format!("with tx {tx}"))?;
            }
        }
        // The other one has no way back to where this came from.
        for address in ["10.77.0.7", "fd77::7"] {
            ensure!(right.does(&format!("ping -c 1 -W 2 {address}")).is_err());
        }
        left.checksums_were_right()?;
        right.checksums_were_right()
    })
}

/// Two tags before each packet.
fn vlan_in_vlan(s: &Scene<'_>) -> Result<()> {
    let left = left(s)?;
    let tags = |interface: &str, address: &str| {
        format!(
            "set -e; ip link add link {interface} name outer type vlan proto 802.1ad id 7; \
             ip link add link outer name inner mtu 1496 type vlan id 8; \
             ip addr add {address}/24 dev inner; ip link set outer up; ip link set inner up"
        )
    };
    left.does(&tags("left0", "10.90.0.7"))?;
    between(s, &tags("eth0", "10.90.0.2"), "ip link del outer", || {
        both_ways(s, &left, "10.90.0.2", "10.90.0.7")?;
        left.checksums_were_right()
    })
}

/// A second address on the guest's interface, asked for and found by ARP.
fn macvlan(s: &Scene<'_>) -> Result<()> {
    let left = left(s)?;
    left.does("ip addr add 10.91.0.7/24 dev left0")?;
    let first =
        "ip link add link eth0 name second address 00:16:3e:77:05:01 type macvlan mode bridge && \
                 ip addr add 10.91.0.2/24 dev second && ip link set second up";
    between(s, first, "ip link del second", || {
        both_ways(s, &left, "10.91.0.2", "10.91.0.7")?;
        s.guest.sh("busybox arping -c 1 -I second 10.91.0.7")?;
        let found = left.does("ip neigh show 10.91.0.2")?;
        ensure!(found.contains("00:16:3e:77:05:01"), "{found}");
        Ok(())
    })
}

/// The guest's interface is a port of a bridge, whose address is another one and whose groups are not the interface's.
fn bridge(s: &Scene<'_>) -> Result<()> {
    let left = left(s)?;
    left.does("ip addr add 10.95.0.7/24 dev left0")?;
    let first = "set -e; ip link add bridge0 address 00:16:3e:77:05:03 type bridge mcast_snooping 0; \
                 ip link set eth0 master bridge0; ip addr add 10.95.0.2/24 dev bridge0; ip link set bridge0 up";
    between(s, first, "ip link del bridge0", || {
        s.guest
            .until("ping -c 1 -W 2 10.95.0.7", companion::BRIEF)?;
        both_ways(s, &left, "10.95.0.2", "10.95.0.7")?;
        s.guest.sh("busybox arping -c 1 -I bridge0 10.95.0.7")?;
        let found = left.does("ip neigh show 10.95.0.2")?;
        ensure!(found.contains("00:16:3e:77:05:03"), "{found}");
        // It is asked for by a group that only the bridge is in.
        left.does(&format!(
            "ping -6 -n -c 5 -I left0 ff02::1%left0 | tee /dev/stderr | grep -q 'from {}'",
            link_local(&s.guest, "bridge0")?
        ))?;
        left.checksums_were_right()
    })
}

/// The address of an interface that is only good on its line.
fn link_local(who: &dyn Place, interface: &str) -> Result<String> {
    let said = who.does(&format!(
        "ip -6 -o addr show dev {interface} scope link | awk '{{ sub(\"/.*\", \"\", $4); print $4 }}'"
    ))?;
    Ok(said.trim().into())
}

/// What is sent to all is heard by each.
fn multicast(s: &Scene<'_>) -> Result<()> {
    let left = left(s)?;
    // Both answer to all nodes; the sender's own answer is not from where the other one is.
    let heard = |who: &dyn Place, interface: &str, address: &str| {
        who.does(&format!(
            "ping -6 -n -c 5 -I {interface} ff02::1%{interface} | tee /dev/stderr | grep -q 'from {address}'"
        ))
    };
    heard(&s.guest, "eth0", &link_local(&left, "left0")?)?;
    heard(&left, "left0", &link_local(&s.guest, "eth0")?)?;
    Ok(())
}

/// Ethernet in GRE in Ethernet, with packets of many sizes.
fn tunnel(s: &Scene<'_>) -> Result<()> {
    let left = left(s)?;
    let end = |here: &str, there: &str| {
        format!(
            "set -e; ip link add tunnel type gretap local 10.77.0.{here} remote 10.77.0.{there}; \
             ip addr add 10.92.0.{here}/24 dev tunnel; ip link set tunnel up"
        )
    };
    left.does(&end("7", "2"))?;
    between(s, &end("2", "7"), "ip link del tunnel", || {
        s.guest.sh(
            "for n in $(seq 1 61 3000); do ping -q -c 1 -W 10 -s $n 10.92.0.7 >/dev/null || { echo $n >&2; exit 1; }; done",
        )?;
        both_ways(s, &left, "10.92.0.2", "10.92.0.7")?;
        left.checksums_were_right()
    })
}

/// Encrypted, which leaves nothing to the other side.
fn wireguard(s: &Scene<'_>) -> Result<()> {
    const KEY: &str = "umask 77; wg genkey >/run/wg.key && wg pubkey </run/wg.key";
    let left = left(s)?;
    let (ours, theirs) = (s.guest.sh(KEY)?, left.does(KEY)?);
    let end = |here: &str, there: &str, key: &str| {
        format!(
            "set -e; ip link add wg0 type wireguard; \
             wg set wg0 listen-port 51820 private-key /run/wg.key peer {} allowed-ips 10.93.0.0/24 endpoint 10.77.0.{there}:51820; \
             ip addr add 10.93.0.{here}/24 dev wg0; ip link set wg0 up; [ $(cat /sys/class/net/wg0/mtu) = 1420 ]",
            key.trim()
        )
    };
    left.does(&end("7", "2", &ours))?;
    between(s, &end("2", "7", &theirs), "ip link del wg0", || {
        both_ways(s, &left, "10.93.0.2", "10.93.0.7")?;
        left.checksums_were_right()
    })
}

/// One of twenty packets is lost, each way.
fn lossy(s: &Scene<'_>) -> Result<()> {
    let left = left(s)?;
    s.dom0().sh(&format!(
        "tc qdisc add dev {} root netem loss 5%",
        left.near()
    ))?;
    left.does("tc qdisc add dev left0 root netem loss 5%")?;
    both_ways(s, &left, "10.77.0.2", "10.77.0.7")
}

/// The toolstack allows so little that what waits in the ring waits for seconds: nobody takes that for a stuck queue.
fn slow(s: &Scene<'_>) -> Result<()> {
    const MAC: &str = "00:16:3e:77:05:02";
    const FIND: &str = "basename $(dirname $(grep -l 00:16:3e:77:05:02 /sys/class/net/*/address))";
    let left = left(s)?;
    left.does("ip addr add 10.94.0.7/24 dev left0")?;
    s.dom0().sh(&format!(
        "xl network-attach {} type=vif script=/run/companion/vif mac={MAC} bridge=xenbr0 rate=100KB/s",
        s.name()
    ))?;
    let done = (|| {
        s.guest.until(FIND, companion::BRIEF)?;
        let interface = s.guest.sh(FIND)?;
        let interface = interface.trim();
        s.guest.sh(&format!(
            "ip addr add 10.94.0.2/24 dev {interface}; ip link set {interface} up"
        ))?;
        far::send(&s.guest, &left, "TCP4:10.94.0.7", 4)?;
        let stuck = s
            .guest
            .sh(&format!("ethtool -S {interface} | grep tx_timeouts"))?;
        ensure!(
            stuck.lines().all(|line| line.ends_with(" 0")),
            "the queue was taken for stuck: {stuck}"
        );
        Ok(())
    })();
    s.dom0()
        .sh(&format!("xl network-detach {} {MAC}", s.name()))?;
    done
}

/// Each side gets an address from the other. Such packets go past the stack that looks at checksums.
fn dhcp(s: &Scene<'_>) -> Result<()> {
    let left = left(s)?;
    // What it is given is written down and not set.
    const CLIENT: &str = "printf '%s\\n' '#!/bin/sh' 'echo \"$1 $ip\" >>/run/leases' >/run/lease; chmod +x /run/lease; \
                          rm -f /run/leases";
    for (server, interface, client, other) in [
        (&s.guest as &dyn Place, "eth0", &left as &dyn Place, "left0"),
        (&left, "left0", &s.guest, "eth0"),
    ] {
        let serve = server.starts(&format!(
            "printf '%s\\n' 'interface {interface}' 'start 10.77.0.100' 'end 10.77.0.110' 'lease_file /run/udhcpd.leases' \
             'pidfile /run/udhcpd.pid' >/run/udhcpd.conf; : >/run/udhcpd.leases; exec busybox udhcpd -f /run/udhcpd.conf"
        ))?;
        client.does(&format!(
            "{CLIENT}; busybox udhcpc -i {other} -f -q -n -t 20 -T 2 -s /run/lease && grep -q '^bound 10.77.0.1' /run/leases"
        ))?;
        serve.stop()?;
    }
    Ok(())
}
