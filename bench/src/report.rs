// SPDX-License-Identifier: GPL-2.0

//! The results.

use crate::counts::Counts;
use crate::header::Header;
use crate::interface::{Interface, Packets};
use crate::sample::Sample;
use crate::stats::Spread;
use crate::workload::Workload;
use serde::Serialize;
use serde_json::Value;

/// One guest's part in a workload.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Half {
    /// Each run's figure.
    pub(crate) rates: Vec<f64>,
    /// What else each run said.
    pub(crate) details: Vec<Value>,
    /// Of the traced run.
    pub(crate) counts: Option<Counts>,
    /// What became of packets in the timed runs, for a workload of the network.
    pub(crate) packets: Option<Packets>,
}

impl Half {
    pub(crate) fn add(&mut self, sample: Sample) {
        self.rates.push(sample.rate);
        self.details.push(sample.detail);
    }

    /// By how much the interface's counters rose in a timed run.
    pub(crate) fn add_packets(&mut self, rise: &Interface) {
        self.packets.get_or_insert_default().add(rise);
    }

    pub(crate) fn spread(&self) -> Spread {
        Spread::of(&self.rates)
    }
}

/// One workload on both guests.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) workload: &'static str,
    pub(crate) rate: &'static str,
    pub(crate) unit: &'static str,
    /// Whether less is better.
    pub(crate) fewer: bool,
    pub(crate) oxen: Half,
    pub(crate) c: Half,
    /// Oxen's figure by C's, in each pair.
    pub(crate) ratio: Option<Spread>,
}

impl Outcome {
    /// Of pairs of runs.
    pub(crate) fn new(workload: &Workload, oxen: Half, c: Half) -> Outcome {
        let ratios: Vec<f64> = oxen
            .rates
            .iter()
            .zip(&c.rates)
            .filter(|(_, c)| **c > 0.0)
            .map(|(oxen, c)| oxen / c)
            .collect();
        Outcome {
            workload: workload.name,
            rate: workload.rate,
            unit: workload.unit,
            fewer: workload.fewer,
            oxen,
            c,
            ratio: (!ratios.is_empty()).then(|| Spread::of(&ratios)),
        }
    }

    /// Both halves, with their names.
    pub(crate) fn halves(&self) -> [(&'static str, &Half); 2] {
        [("Oxen", &self.oxen), ("C", &self.c)]
    }
}

/// All of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) header: Header,
    pub(crate) outcomes: Vec<Outcome>,
    /// Guests that ended and were booted again.
    pub(crate) ended: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::ALL;

    fn half(rates: &[f64]) -> Half {
        Half {
            rates: rates.into(),
            ..Half::default()
        }
    }

    #[test]
    fn the_ratio_is_that_of_pairs() {
        let outcome = Outcome::new(&ALL[0], half(&[1.0, 4.0, 9.0]), half(&[2.0, 4.0, 3.0]));
        let ratio = outcome.ratio.expect("three pairs");
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.5, 1.0, 3.0));
        assert!(Outcome::new(&ALL[0], half(&[1.0]), half(&[0.0]))
            .ratio
            .is_none());
    }
}
