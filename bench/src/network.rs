// SPDX-License-Identifier: GPL-2.0

//! What the network gave: by what iperf3 says, or by what arrived.

use crate::guests::Guest;
use crate::load::{self, load};
use crate::sample::{number, Sample};
use crate::workload::{Kind, Workload};
use anyhow::{bail, Context, Result};
use companion::{Domain, LONG};
use serde_json::{json, Value};

/// A byte in Mbit.
const MBIT: f64 = 8e-6;

/// What arrived at the backend meanwhile, by dom0's clock.
///
/// # Errors
///
/// When nothing does.
pub(crate) fn counted(
    workload: &Workload,
    dom0: &Domain,
    guest: &Guest,
    seconds: u32,
) -> Result<Sample> {
    let counter = load::counter(workload, guest);
    let before = dom0.sh(&counter)?.trim().parse()?;
    let job = load(workload, dom0, guest, seconds + 60)?;
    load::await_work(workload, dom0, guest, before)?;
    let text = dom0.sh_for(
        &format!("snap() {{ echo $(date +%s.%N) $({counter}); }}; snap; sleep {seconds}; snap"),
        LONG,
    )?;
    job.stop()?;
    let (what, size) = match workload.kind {
        Kind::Guest => ("bytes", MBIT),
        _ => ("packets", 1.0),
    };
    rose(&text, what, size)
}

/// From the time and the count before, and those after: in units of that size.
fn rose(text: &str, what: &str, size: f64) -> Result<Sample> {
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| text.to_owned())?;
    let [begin, first, end, last] = numbers[..] else {
        bail!("two times and two counts, not {text}");
    };
    Ok(Sample {
        rate: (last - first) * size / (end - begin),
        detail: json!({ what: last - first }),
    })
}

/// What iperf3 in dom0 prints of TCP.
///
/// # Errors
///
/// When it failed, or is not understood.
pub(crate) fn streams(text: &str, from_guest: bool) -> Result<Sample> {
    let value: Value = serde_json::from_str(text).with_context(|| format!("iperf3: {text}"))?;
    // What arrived, in the time of the side that runs in dom0.
    let bytes = number(&value, "/end/sum_received/bytes")?;
    let seconds = number(
        &value,
        if from_guest {
            "/end/sum_received/seconds"
        } else {
            "/end/sum_sent/seconds"
        },
    )?;
    Ok(Sample {
        rate: bytes * 8.0 / 1e6 / seconds,
        detail: json!({
            "bytes": bytes,
            "retransmits": value.pointer("/end/sum_sent/retransmits").cloned(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_iperf3_prints_is_understood() {
        let text = "{\"end\":{\"sum_received\":{\"bytes\":1000000,\"seconds\":2.0},\"sum_sent\":{\"seconds\":4.0}}}";
        assert_eq!(streams(text, true).expect("iperf3").rate, 4.0);
        assert_eq!(streams(text, false).expect("iperf3").rate, 2.0);
        assert!(streams("{\"error\":\"refused\"}", true).is_err());
    }

    #[test]
    fn what_arrives_is_counted_by_the_clock() {
        let sample = rose("10.5 100\n12.5 1000100\n", "bytes", MBIT).expect("four numbers");
        assert_eq!((sample.rate, &sample.detail["bytes"]), (4.0, &1e6.into()));
        assert!(rose("10.5 100\n", "packets", 1.0).is_err());
    }
}
