// SPDX-License-Identifier: GPL-2.0

//! A run of a workload under xentrace. It is apart from the timed ones: tracing costs time.

use crate::counts::Counts;
use crate::guests::Guest;
use crate::load;
use crate::run;
use crate::trace::Trace;
use crate::workload::{Kind, Workload};
use anyhow::{bail, ensure, Context, Result};
use companion::{Companion, BRIEF, LONG};
use serde_json::Value;
use std::fs;

/// Where dom0 keeps the file while it grows: in memory.
const FILE: &str = "/run/companion/bench.trace";
/// Name of its copy in the shared folder.
const COPY: &str = "bench.trace";
/// How long an idle guest is watched at least.
pub(crate) const IDLE: u32 = 10;
/// Pages of Xen's buffer on each CPU.
const BUFFER: u32 = 2048;

/// A shell command for dom0 that prints how many events the guest's backends have got.
fn events(guest: &Guest) -> String {
    format!(
        "cat /sys/bus/xen-backend/devices/v*-{}-*/xenbus/events | awk '{{ sum += $1 }} END {{ print sum + 0 }}'",
        guest.id
    )
}

/// The tracer: what it needs to know of the machine.
pub(crate) struct Tracer<'a> {
    machine: &'a Companion,
    /// Frequency of the TSC by Xen, in which records are timed.
    hz: f64,
    program: String,
}

impl Tracer<'_> {
    /// A tracer for that machine.
    ///
    /// # Errors
    ///
    /// When dom0 has no xentrace.
    pub(crate) fn new(machine: &Companion) -> Result<Tracer<'_>> {
        let dom0 = machine.dom0();
        let program = dom0
            .sh("ls /usr/lib/xen-*/bin/xentrace /usr/sbin/xentrace 2>/dev/null | head -n 1")?
            .trim()
            .to_string();
        ensure!(!program.is_empty(), "dom0 has no xentrace");
        let info = dom0.sh("xl info")?;
        let mhz: f64 = info
            .lines()
            .find_map(|line| {
                line.strip_prefix("cpu_mhz")?
                    .split(':')
                    .nth(1)?
                    .trim()
                    .parse()
                    .ok()
            })
            .with_context(|| format!("xl info has no cpu_mhz:\n{info}"))?;
        Ok(Tracer {
            machine,
            hz: mhz * 1e6,
            program,
        })
    }

    /// Counts what the workload costs on that guest, of which the others must be paused.
    ///
    /// # Errors
    ///
    /// When it fails, or the trace tells nothing.
    pub(crate) fn run(&self, workload: &Workload, guest: &Guest, seconds: u32) -> Result<Counts> {
        match workload.kind {
            Kind::Agent(word, rest) => self.between_marks(guest, word, rest, seconds, None),
            Kind::Echo => {
                let events = events(guest);
                self.between_marks(guest, "echo", &[&guest.host()], seconds, Some(&events))
            }
            Kind::Idle => {
                let seconds = seconds.max(IDLE);
                self.machine.dom0().sh_for(&self.command(seconds), LONG)?;
                let trace = self.read(guest, false)?;
                let units = trace.ticks as f64 / self.hz;
                Ok(Counts::new(&trace, units, None, self.hz))
            }
            Kind::Disk(_) | Kind::Tcp { .. } | Kind::Datagrams | Kind::Guest | Kind::Packets => {
                self.under_load(workload, guest, seconds)
            }
            Kind::Resume => bail!("a guest that is restored is another one"),
        }
    }

    fn command(&self, seconds: u32) -> String {
        format!(
            "rm -f {FILE}; {} -D -e all -S {BUFFER} -T {seconds} {FILE}",
            self.program
        )
    }

    /// The measuring program knows its units, and has marked in the trace where it began and ended. `events` prints those
    /// of the backends, if it makes any.
    fn between_marks(
        &self,
        guest: &Guest,
        word: &str,
        rest: &[&str],
        seconds: u32,
        events: Option<&str>,
    ) -> Result<Counts> {
        let dom0 = self.machine.dom0();
        let counted = || -> Result<Option<f64>> {
            events
                .map(|events| Ok(dom0.sh(events)?.trim().parse()?))
                .transpose()
        };
        // It is ended when the program is; the limit is for when that fails.
        let tracing = dom0.spawn_sh(&format!(
            "rm -f {FILE}; echo $$ >{FILE}.pid; exec {} -D -e all -S {BUFFER} -T {} {FILE}",
            self.program,
            seconds * 3 + 60
        ))?;
        dom0.until(&format!("[ -s {FILE} ]"), BRIEF)?;
        let before = counted()?;
        let sample = run::agent(guest, word, rest, seconds);
        // It may have come to its limit, when the guest has ended.
        dom0.try_sh(&format!("kill -INT $(cat {FILE}.pid)"), BRIEF)?;
        let ended = tracing.wait(BRIEF)?;
        let sample = sample?;
        let after = counted()?;
        let trace = self.read(guest, true)?;
        ensure!(
            trace.marked,
            "the marks of agent measure {word} are not in the trace: {} records were lost\n{ended}",
            trace.lost
        );
        let of = |name| sample.detail.get(name).and_then(Value::as_f64);
        let (units, warm_up) = (of("units").unwrap_or(0.0), of("warm_up").unwrap_or(0.0));
        // The events are those of the whole program.
        let part = units / (units + warm_up).max(1.0);
        let rise = after
            .zip(before)
            .map(|(after, before)| (after - before) * part);
        Ok(Counts::new(&trace, units, rise, self.hz))
    }

    /// A load that runs on before and after; dom0's counters say how much it did meanwhile.
    fn under_load(&self, workload: &Workload, guest: &Guest, seconds: u32) -> Result<Counts> {
        let dom0 = self.machine.dom0();
        let counter = load::counter(workload, guest);
        let before = dom0.sh(&counter)?.trim().parse()?;
        let load = load::load(workload, dom0, guest, seconds * 3 + 120)?;
        load::await_work(workload, dom0, guest, before)?;
        let events = events(guest);
        let text = dom0.sh_for(
            &format!(
                "snap() {{ echo $(date +%s.%N) $({counter}) $({events}); }}; snap; {} 2>/dev/null; snap",
                self.command(seconds)
            ),
            LONG,
        )?;
        load.stop()?;
        let numbers: Vec<f64> = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| text.clone())?;
        let [begin, units, events, end, units_after, events_after] = numbers[..] else {
            bail!("two times, counts and events, not {text}");
        };
        let trace = self.read(guest, false)?;
        // xentrace takes a moment to start and to end, in which the load goes on.
        let part = trace.ticks as f64 / self.hz / (end - begin);
        Ok(Counts::new(
            &trace,
            (units_after - units) * part * workload.unit_of_count(),
            Some((events_after - events) * part),
            self.hz,
        ))
    }

    fn read(&self, guest: &Guest, marks: bool) -> Result<Trace> {
        self.machine
            .dom0()
            .sh_for(&format!("cp {FILE} /companion/{COPY} && rm {FILE}"), LONG)?;
        let path = self.machine.shared().join(COPY);
        let file = fs::read(&path).with_context(|| format!("{}", path.display()))?;
        fs::remove_file(&path).ok();
        let trace = Trace::read(&file, guest.id, marks);
        ensure!(
            trace.ticks > 0,
            "xentrace wrote {} bytes in which nothing is timed",
            file.len()
        );
        Ok(trace)
    }
}
