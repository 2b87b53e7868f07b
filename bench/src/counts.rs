// SPDX-License-Identifier: GPL-2.0

//! What a unit of work costs in exits, hypercalls, interrupts and events: numbers that noise does not change.

use crate::names;
use crate::trace::{Tally, Trace};
use serde::Serialize;
use std::collections::BTreeMap;

/// By name, how often per unit.
type Rates = BTreeMap<String, f64>;

/// All of it per unit of work, but for `units`, `seconds` and `lost`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Counts {
    /// Units of work in the part of the trace that was counted.
    pub(crate) units: f64,
    /// How long that part is.
    pub(crate) seconds: f64,
    /// Records that Xen had no room for: with any, the rest is too low.
    pub(crate) lost: u64,
    /// All exits.
    pub(crate) exits: f64,
    /// Exits by the processor's reason.
    pub(crate) by_reason: Rates,
    /// Nested page faults by page.
    pub(crate) pages: Rates,
    /// Hypercalls by name.
    pub(crate) hypercalls: Rates,
    /// Writes to model-specific registers.
    pub(crate) msr_writes: Rates,
    /// Reads of them.
    pub(crate) msr_reads: Rates,
    /// Interrupts that Xen put into the guest.
    pub(crate) injected: f64,
    /// Injected interrupts by vector.
    pub(crate) vectors: Rates,
    /// Events that the guest's backends got.
    pub(crate) to_backend: Option<f64>,
    /// Hypercalls about events of dom0's. Xen does not record which; nearly all send one.
    pub(crate) from_dom0: f64,
    /// Hypercalls of dom0.
    pub(crate) dom0: Rates,
}

impl Counts {
    /// From a trace in which `units` of work were done; the TSC ticks `hz` times a second.
    pub(crate) fn new(trace: &Trace, units: f64, events: Option<f64>, hz: f64) -> Counts {
        let per = |count: f64| if units > 0.0 { count / units } else { 0.0 };
        let sum = |tally: &Tally<u32>| per(float(tally.values().sum()));
        let dom0 = rates(&trace.dom0, per, |&(op, sub)| names::dom0_call(op, sub));
        Counts {
            units,
            seconds: float(trace.ticks) / hz,
            lost: trace.lost,
            exits: sum(&trace.exits),
            by_reason: rates(&trace.exits, per, |&reason| names::exit(reason, trace.vmx)),
            pages: rates(&trace.pages, per, |&page| names::page(page)),
            hypercalls: rates(&trace.hypercalls, per, |&op| names::hypercall(op)),
            msr_writes: rates(&trace.msr_writes, per, |&msr| names::msr(msr)),
            msr_reads: rates(&trace.msr_reads, per, |&msr| names::msr(msr)),
            injected: sum(&trace.injected),
            vectors: rates(&trace.injected, per, |&vector| format!("{vector:#04x}")),
            to_backend: events.map(per),
            from_dom0: dom0.get("event_channel_op").copied().unwrap_or(0.0),
            dom0,
        }
    }

    /// Exits for this reason.
    pub(crate) fn reason(&self, name: &str) -> f64 {
        self.by_reason.get(name).copied().unwrap_or(0.0)
    }

    /// Nested page faults on this page.
    pub(crate) fn page(&self, name: &str) -> f64 {
        self.pages.get(name).copied().unwrap_or(0.0)
    }
}

fn rates<K>(tally: &Tally<K>, per: impl Fn(f64) -> f64, name: impl Fn(&K) -> String) -> Rates {
    let mut rates = Rates::new();
    for (key, count) in tally {
        *rates.entry(name(key)).or_default() += per(float(*count));
    }
    rates
}

fn float(count: u64) -> f64 {
    // CAST: Exact up to 2^53, more than a trace has records or ticks.
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_per_unit() {
        let trace = Trace {
            exits: Tally::from([(0x78, 10), (0x400, 30)]),
            pages: Tally::from([(0xfee00, 20), (1, 4), (2, 6)]),
            dom0: Tally::from([((32, u32::MAX), 5), ((20, 0), 1)]),
            ticks: 500,
            ..Trace::default()
        };
        let counts = Counts::new(&trace, 10.0, Some(20.0), 1000.0);
        assert_eq!((counts.exits, counts.seconds), (4.0, 0.5));
        assert_eq!((counts.reason("hlt"), counts.reason("npf")), (1.0, 3.0));
        assert_eq!((counts.page("apic"), counts.page("other")), (2.0, 1.0));
        assert_eq!((counts.from_dom0, counts.to_backend), (0.5, Some(2.0)));
        assert_eq!(Counts::new(&trace, 0.0, None, 1000.0).exits, 0.0);
    }
}
