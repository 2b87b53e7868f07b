// SPDX-License-Identifier: GPL-2.0

//! What became of packets, by the counters of a guest's interface and of its other end in dom0.

use crate::guests::Guest;
use anyhow::Result;
use companion::Domain;
use serde::Serialize;
use std::collections::BTreeMap;

/// Numbers by name. Those of the driver's own, by `ethtool -S`, begin with `ethtool:` and are sums over all queues.
type Counters = BTreeMap<String, u64>;

/// Both ends' counters at one time, or by how much they rose.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Interface {
    guest: Counters,
    dom0: Counters,
}

impl Interface {
    /// As they are.
    ///
    /// # Errors
    ///
    /// When a domain does not answer.
    pub(crate) fn read(dom0: &Domain, guest: &Guest) -> Result<Interface> {
        let counters = |domain: &Domain, name: &str| -> Result<Counters> {
            // A driver need not have numbers of its own.
            Ok(parse(&domain.sh(&format!(
                "cd /sys/class/net/{name}/statistics && grep . * && {{ ethtool -S {name} 2>/dev/null || true; }}"
            ))?))
        };
        Ok(Interface {
            guest: counters(&guest.domain, "eth0")?,
            dom0: counters(dom0, &guest.vif())?,
        })
    }

    /// By how much they rose since.
    pub(crate) fn since(&self, before: &Interface) -> Interface {
        Interface {
            guest: rise(&self.guest, &before.guest),
            dom0: rise(&self.dom0, &before.dom0),
        }
    }
}

/// What is printed: `name:1` of the kernel's, an indented `name: 1` or `queue_0_name: 1` of the driver's.
fn parse(text: &str) -> Counters {
    let mut counters = Counters::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let Ok(value) = value.trim().parse::<u64>() else {
            continue;
        };
        let name = match name.strip_prefix(' ') {
            Some(own) => format!("ethtool:{}", without_queue(own.trim())),
            None => name.into(),
        };
        *counters.entry(name).or_default() += value;
    }
    counters
}

fn without_queue(name: &str) -> &str {
    name.strip_prefix("queue_")
        .and_then(|rest| rest.split_once('_'))
        .filter(|(number, _)| number.bytes().all(|digit| digit.is_ascii_digit()))
        .map_or(name, |(_, name)| name)
}

fn rise(now: &Counters, before: &Counters) -> Counters {
    now.iter()
        .map(|(name, value)| {
            let before = before.get(name).copied().unwrap_or(0);
            (name.clone(), value.saturating_sub(before))
        })
        .collect()
}

/// Of all timed runs of a workload on one guest.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Packets {
    /// By how much the counters rose, the time before and after the measured part too.
    #[serde(flatten)]
    pub(crate) rises: Interface,
    /// Packets that the guest sent and received; one with segments is one.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// For each of these: lost in the guest's driver, and in dom0's.
    pub(crate) dropped: f64,
    pub(crate) dropped_by_dom0: f64,
    /// Copied by the guest, all or their front, where the driver says so.
    pub(crate) copied: Option<f64>,
    /// For each that the guest sent: mapped by dom0, not copied whole.
    pub(crate) mapped_by_dom0: Option<f64>,
}

impl Packets {
    /// With one run more.
    pub(crate) fn add(&mut self, run: &Interface) {
        for (all, one) in [
            (&mut self.rises.guest, &run.guest),
            (&mut self.rises.dom0, &run.dom0),
        ] {
            for (name, value) in one {
                *all.entry(name.clone()).or_default() += value;
            }
        }
        let Interface { guest, dom0 } = &self.rises;
        let of = |name| guest.get(name).copied().unwrap_or(0);
        (self.sent, self.received) = (of("tx_packets"), of("rx_packets"));
        let packets = self.sent + self.received;
        let per = |count| ratio(count, packets);
        let lost = ["tx_dropped", "rx_dropped", "tx_errors", "rx_errors"];
        self.dropped = per(sum(guest, &lost).unwrap_or(0));
        self.dropped_by_dom0 = per(sum(dom0, &lost).unwrap_or(0));
        let mapped = sum(dom0, &["ethtool:tx_zerocopy_sent"]);
        self.copied = sum(guest, &["ethtool:tx_copied", "ethtool:rx_copied"]).map(per);
        self.mapped_by_dom0 = mapped.map(|mapped| ratio(mapped, self.sent));
    }
}

fn ratio(count: u64, whole: u64) -> f64 {
    // CAST: Exact up to 2^53.
    if whole > 0 {
        count as f64 / whole as f64
    } else {
        0.0
    }
}

/// The sum of those that are there.
fn sum(counters: &Counters, names: &[&str]) -> Option<u64> {
    names
        .iter()
        .filter_map(|name| counters.get(*name).copied())
        .reduce(|one, other| one + other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_sums_over_queues() {
        let text = "rx_packets:7\ntx_packets:30\nNIC statistics:\n     queue_0_tx_copied: 4\n     queue_12_tx_copied: 5\n     \
                    queue_x_y: 1\n     tx_zerocopy_sent: 2\n";
        let counters = parse(text);
        assert_eq!(counters.get("tx_packets"), Some(&30));
        assert_eq!(counters.get("ethtool:tx_copied"), Some(&9));
        assert_eq!(counters.get("ethtool:queue_x_y"), Some(&1));
        assert_eq!(counters.get("ethtool:tx_zerocopy_sent"), Some(&2));
        assert_eq!(counters.len(), 5);
    }

    fn interface(guest: &str, dom0: &str) -> Interface {
        Interface {
            guest: parse(guest),
            dom0: parse(dom0),
        }
    }

    #[test]
    fn all_is_per_packet_of_all_runs() {
        let before = interface("tx_packets:100\ntx_dropped:9", "rx_dropped:1");
        let after = interface(
            "tx_packets:130\nrx_packets:10\ntx_dropped:13\nrx_errors:1",
            "rx_dropped:3",
        );
        let mut packets = Packets::default();
        packets.add(&after.since(&before));
        assert_eq!((packets.sent, packets.received), (30, 10));
        assert_eq!((packets.dropped, packets.dropped_by_dom0), (0.125, 0.05));
        assert_eq!((packets.copied, packets.mapped_by_dom0), (None, None));
        packets.add(&interface(
            "tx_packets:60\n ethtool:1\n tx_copied: 25\n rx_copied: 0",
            " tx_zerocopy_sent: 45",
        ));
        assert_eq!(
            (packets.copied, packets.mapped_by_dom0),
            (Some(0.25), Some(0.5))
        );
        assert_eq!(packets.dropped, 0.05);
    }

    #[test]
    fn no_packet_is_no_division() {
        let mut packets = Packets::default();
        packets.add(&interface("tx_dropped:3", ""));
        assert_eq!(packets.dropped, 0.0);
    }
}
