// SPDX-License-Identifier: GPL-2.0

//! A timed run of a workload on one guest.

use crate::guests::Guest;
use crate::load::load;
use crate::network;
use crate::sample::{number, Sample};
use crate::workload::{Kind, Workload};
use anyhow::{bail, ensure, Context, Result};
use companion::{Background, Domain, LONG};
use serde_json::{json, Value};
use std::time::Instant;

/// The agent's program in a guest.
const AGENT: &str = "/run/companion/agent";

/// Runs it for `seconds`.
///
/// # Errors
///
/// When it fails, or says nothing that can be understood.
pub(crate) fn timed(
    workload: &Workload,
    dom0: &Domain,
    guest: &Guest,
    seconds: u32,
) -> Result<Sample> {
    match workload.kind {
        Kind::Agent(word, rest) => agent(guest, word, rest, seconds),
        Kind::Echo => agent(guest, "echo", &[&guest.host()], seconds),
        Kind::Idle => bail!("what an idle guest does is only in the trace"),
        Kind::Resume => bail!("a guest that is restored is another one"),
        Kind::Disk(_) => fio(finish(load(workload, dom0, guest, seconds)?)?),
        Kind::Tcp { from_guest, .. } => {
            network::streams(&finish(load(workload, dom0, guest, seconds)?)?, from_guest)
        }
        Kind::Datagrams | Kind::Guest | Kind::Packets => {
            network::counted(workload, dom0, guest, seconds)
        }
    }
}

/// A measurement by the agent, whose clock is the guest's: this side's is looked at too.
pub(crate) fn agent(guest: &Guest, word: &str, rest: &[&str], seconds: u32) -> Result<Sample> {
    let seconds = seconds.to_string();
    let argv: Vec<String> = [&[AGENT, "measure", word, &seconds], rest]
        .concat()
        .into_iter()
        .map(String::from)
        .collect();
    let begin = Instant::now();
    let output = guest.domain.run(&argv, b"", LONG)?;
    let host = begin.elapsed().as_secs_f64();
    ensure!(output.success(), "agent measure {word}: {output}");
    let mut detail: Value = serde_json::from_str(output.stdout.trim())
        .with_context(|| format!("agent measure {word}: {output}"))?;
    let (units, guest) = (number(&detail, "/units")?, number(&detail, "/seconds")?);
    ensure!(guest > 0.0, "agent measure {word} took no time: {output}");
    ensure!(
        guest < host * 1.05 + 0.1 && guest > host * 0.7 - 5.0,
        "agent measure {word}: {host:.1} s passed, and {guest:.1} s by the guest's clock"
    );
    if let Some(detail) = detail.as_object_mut() {
        detail.insert("host_seconds".into(), host.into());
    }
    Ok(Sample {
        rate: units / guest,
        detail,
    })
}

fn finish(job: Background) -> Result<String> {
    let output = job.wait(LONG)?;
    ensure!(output.success(), "{output}");
    Ok(output.stdout)
}

fn fio(text: String) -> Result<Sample> {
    // It may say a word before.
    let json = text
        .find('{')
        .and_then(|at| text.get(at..))
        .unwrap_or_default();
    let value: Value = serde_json::from_str(json).with_context(|| format!("fio: {text}"))?;
    let both = ["read", "write"].map(|way| value.pointer(&format!("/jobs/0/{way}")));
    let mut rate = 0.0;
    let mut busier = None;
    for way in both.into_iter().flatten() {
        let iops = number(way, "/iops")?;
        if iops > rate {
            busier = Some(way);
        }
        rate += iops;
    }
    let busier = busier.with_context(|| format!("fio did nothing: {value}"))?;
    Ok(Sample {
        rate,
        detail: json!({
            "latency_us_median": number(busier, "/clat_ns/percentile/50.000000")? / 1000.0,
            "latency_us_p99": number(busier, "/clat_ns/percentile/99.000000")? / 1000.0,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tools_print_is_understood() {
        let fio_text = "note\n{\"jobs\":[{\"read\":{\"iops\":650.5,\"clat_ns\":{\"percentile\":\
                        {\"50.000000\":2000,\"99.000000\":9000}}}}]}";
        let sample = fio(fio_text.into()).expect("fio");
        assert_eq!(sample.rate, 650.5);
        assert_eq!(sample.detail["latency_us_median"], 2.0);
        assert!(fio("{\"jobs\":[{\"read\":{\"iops\":0}}]}".into()).is_err());
    }
}
