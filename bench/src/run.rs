// SPDX-License-Identifier: GPL-2.0

//! A timed run of a workload on one guest.

use crate::guests::Guest;
use crate::workload::{Fio, Kind, Workload};
use anyhow::{bail, ensure, Context, Result};
use companion::{Background, Domain, BRIEF, LONG};
use serde_json::{json, Value};
use std::time::{Duration, Instant};

/// The agent's program in a guest.
const AGENT: &str = "/run/companion/agent";
/// Seconds that fio and iperf3 work before they count.
const WARM_UP: u32 = 2;
/// How long a load may take to do its first work.
const START: Duration = Duration::from_secs(60);

/// What one run gave.
pub(crate) struct Sample {
    /// Units of work per second, as the workload's `rate` says.
    pub(crate) rate: f64,
    /// Whatever else it said.
    pub(crate) detail: Value,
}

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
        Kind::Idle => bail!("what an idle guest does is only in the trace"),
        Kind::Resume => bail!("a guest that is restored is another one"),
        Kind::Disk(_) => fio(finish(load(workload, dom0, guest, seconds)?)?),
        Kind::Tcp { from_guest } => {
            iperf(&finish(load(workload, dom0, guest, seconds)?)?, from_guest)
        }
        Kind::Packets => packets(workload, dom0, guest, seconds),
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

/// Starts a load that works for `seconds` once it has begun.
///
/// # Errors
///
/// When the workload is none that runs by itself.
pub(crate) fn load(
    workload: &Workload,
    dom0: &Domain,
    guest: &Guest,
    seconds: u32,
) -> Result<Background> {
    match workload.kind {
        Kind::Disk(Fio {
            disk,
            rw,
            bytes,
            depth,
        }) => guest.domain.spawn_sh(&format!(
            "exec fio --name={disk} --filename=/dev/{disk} --rw={rw} --bs={bytes} --iodepth={depth} \
             --ioengine=libaio --direct=1 --time_based --runtime={seconds} --ramp_time={WARM_UP} --output-format=json"
        )),
        Kind::Tcp { from_guest } => {
            guest.domain.sh("pkill -x iperf3; iperf3 -s -1 -D")?;
            guest.domain.until("ss -ltn | grep -q :5201", BRIEF)?;
            // Dom0 asks and measures, by its own clock.
            let reverse = if from_guest { "-R" } else { "" };
            dom0.spawn_sh(&format!(
                "exec iperf3 -c {} -O {WARM_UP} -t {seconds} -J {reverse}",
                guest.address()
            ))
        }
        Kind::Packets => {
            let mac = dom0.sh(&format!("cat /sys/class/net/{}/address", guest.bridge()))?;
            // To an address of nobody's behind dom0, which forwards nothing and drops them.
            guest.domain.spawn_sh(&format!(
                "cd /proc/net/pktgen; echo rem_device_all >kpktgend_0; echo add_device eth0 >kpktgend_0; \
                 for line in 'count 0' 'delay 0' 'pkt_size 60' 'dst 10.99.0.1' 'dst_mac {}'; do echo \"$line\" >eth0; done; \
                 exec timeout -s INT {seconds} sh -c 'echo start >pgctrl'",
                mac.trim()
            ))
        }
        Kind::Agent(..) | Kind::Idle | Kind::Resume => {
            bail!("{} is no load of that kind", workload.name)
        }
    }
}

/// A shell command for dom0 that prints how much of the workload the guest's backend has seen.
pub(crate) fn counter(workload: &Workload, guest: &Guest) -> String {
    let statistics = format!("/sys/class/net/{}/statistics", guest.vif());
    match workload.kind {
        // Block major 202, sixteen numbers to a disk.
        Kind::Disk(Fio { disk, bytes, .. }) => {
            let minor = disk.bytes().last().map_or(0, |letter| letter - b'a');
            let device = 202 * 256 + u32::from(minor) * 16;
            // A request of fio's may be many of the ring's.
            format!(
                "cd /sys/bus/xen-backend/devices/vbd-{}-{device}/statistics; \
                 echo $((($(cat rd_sect) + $(cat wr_sect)) / {}))",
                guest.id,
                bytes / 512
            )
        }
        // What the guest sends, its interface's other end receives.
        Kind::Tcp { from_guest: true } => format!("cat {statistics}/rx_bytes"),
        Kind::Tcp { from_guest: false } => format!("cat {statistics}/tx_bytes"),
        Kind::Packets => format!("cat {statistics}/rx_packets"),
        Kind::Agent(..) | Kind::Idle | Kind::Resume => "echo 0".into(),
    }
}

/// Waits until the load does its work and has done so for a second.
///
/// # Errors
///
/// When it does none.
pub(crate) fn await_work(
    workload: &Workload,
    dom0: &Domain,
    guest: &Guest,
    before: u64,
) -> Result<()> {
    let enough = before + 100;
    let counter = counter(workload, guest);
    dom0.until(&format!("[ $({counter}) -gt {enough} ] && sleep 1"), START)
        .with_context(|| format!("{} does not begin", workload.name))?;
    Ok(())
}

/// Packets that arrived at the backend, by dom0's clock.
fn packets(workload: &Workload, dom0: &Domain, guest: &Guest, seconds: u32) -> Result<Sample> {
    let counter = counter(workload, guest);
    let before = dom0.sh(&counter)?.trim().parse()?;
    let job = load(workload, dom0, guest, seconds + 60)?;
    await_work(workload, dom0, guest, before)?;
    let text = dom0.sh_for(
        &format!("snap() {{ echo $(date +%s.%N) $({counter}); }}; snap; sleep {seconds}; snap"),
        LONG,
    )?;
    job.stop()?;
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [begin, first, end, last] = numbers[..] else {
        bail!("two times and two counts, not {text}");
    };
    Ok(Sample {
        rate: (last - first) / (end - begin),
        detail: json!({ "packets": last - first }),
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

fn iperf(text: &str, from_guest: bool) -> Result<Sample> {
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

fn number(value: &Value, path: &str) -> Result<f64> {
    value
        .pointer(path)
        .and_then(Value::as_f64)
        .with_context(|| format!("there is no number at {path} in {value}"))
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
        let text = "{\"end\":{\"sum_received\":{\"bytes\":1000000,\"seconds\":2.0},\"sum_sent\":{\"seconds\":4.0}}}";
        assert_eq!(iperf(text, true).expect("iperf3").rate, 4.0);
        assert_eq!(iperf(text, false).expect("iperf3").rate, 2.0);
        assert!(iperf("{\"error\":\"refused\"}", true).is_err());
    }
}
