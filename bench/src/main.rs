// SPDX-License-Identifier: GPL-2.0

//! `make bench`: Oxen side by side with the kernel's own Xen frontends. `docs/performance.md` is the method.

mod counts;
mod files;
mod guests;
mod header;
mod interface;
mod layout;
mod load;
mod names;
mod network;
mod packets;
mod peer;
mod plot;
mod report;
mod resume;
mod run;
mod sample;
mod settings;
mod stats;
mod table;
mod trace;
mod traced;
mod workload;

use anyhow::{Context, Result};
use clap::Parser;
use companion::{progress, Companion, Options};
use guests::{Arena, Side};
use header::Header;
use interface::Interface;
use report::{Half, Outcome, Report};
use serde_json::Value;
use settings::Settings;
use stats::short;
use std::process::ExitCode;
use traced::Tracer;
use workload::{Kind, Workload};

fn main() -> ExitCode {
    let settings = Settings::parse();
    settings.patience.set();
    match settings.workloads() {
        Ok(_) if settings.check => ExitCode::SUCCESS,
        Ok(workloads) => match bench(&settings, &workloads) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("bench: {why:#}");
                ExitCode::FAILURE
            }
        },
        Err(why) => {
            eprintln!("bench: {why:#}");
            ExitCode::from(2)
        }
    }
}

fn bench(settings: &Settings, workloads: &[&'static Workload]) -> Result<()> {
    progress(&format!(
        "bench: {} workloads, {} pairs of runs each; about {} minutes under emulation",
        workloads.len(),
        settings.pairs,
        minutes(settings, workloads)
    ));
    let options = Options {
        name: settings.companion.clone(),
        ..Options::default()
    };
    let found = Companion::is_running(&options.name);
    if !found {
        Companion::ends_with_us(&options.name)?;
    }
    let machine = Companion::ensure(&options)?;
    let done = on(&machine, settings, workloads);
    if !found {
        machine.stop();
    }
    done
}

/// A boot, then for each run its time and as much again to start, to end and to change guests.
fn minutes(settings: &Settings, workloads: &[&Workload]) -> u32 {
    let seconds: u32 = workloads
        .iter()
        .map(|workload| {
            if matches!(workload.kind, Kind::Resume) {
                return resume::SECONDS * 2 * settings.pairs;
            }
            let idle = matches!(workload.kind, Kind::Idle);
            let run = settings.seconds.max(if idle { traced::IDLE } else { 0 }) + 6;
            let boots = match workload.kind {
                Kind::Guest => 1,
                _ if workload.is_short() => 2 * (settings.pairs - 1),
                _ => 0,
            };
            run * 2 * settings.pairs + if idle { 0 } else { run * 4 } + boots * guests::SECONDS
        })
        .sum();
    4 + seconds / 60
}

fn on(machine: &Companion, settings: &Settings, workloads: &[&'static Workload]) -> Result<()> {
    let tracer = Tracer::new(machine)?;
    let mut arena = Arena::new(machine, settings.vcpus, &settings.oxen)?;
    let done = compare(&mut arena, &tracer, settings, workloads);
    arena.close();
    done
}

fn compare(
    arena: &mut Arena<'_>,
    tracer: &Tracer<'_>,
    settings: &Settings,
    workloads: &[&'static Workload],
) -> Result<()> {
    let mut report = Report {
        header: Header {
            vcpus: settings.vcpus,
            pairs: settings.pairs,
            seconds: settings.seconds,
            ..Header::new(arena)?
        },
        ..Report::default()
    };
    for line in report.header.lines() {
        progress(&line);
    }
    let folder = files::folder();
    for workload in workloads {
        let mut outcome = pairs(arena, tracer, settings, workload);
        if let Err(why) = outcome {
            let why = arena.explain(why);
            // What a guest gave that has ended is thrown away.
            outcome = if arena.revive()? {
                eprintln!("bench: {}: {why:#}", workload.name);
                pairs(arena, tracer, settings, workload).map_err(|why| arena.explain(why))
            } else {
                Err(why)
            };
        }
        let outcome = outcome.with_context(|| workload.name.to_owned())?;
        report.outcomes.push(outcome);
        report.ended.clone_from(&arena.ended);
        // What is done is kept should a later one fail.
        files::write(&report, &folder)?;
    }
    print!("\n{}", table::text(&report, settings.markdown));
    let folder = folder.canonicalize().unwrap_or(folder);
    progress(&format!(
        "bench: bench.json, bench.svg and bench.md are in {}",
        folder.display()
    ));
    Ok(())
}

/// One workload: pairs of timed runs, then one traced run on each guest.
fn pairs(
    arena: &mut Arena<'_>,
    tracer: &Tracer<'_>,
    settings: &Settings,
    workload: &Workload,
) -> Result<Outcome> {
    let (mut oxen, mut c) = (Half::default(), Half::default());
    let dom0 = arena.machine.dom0().clone();
    let idle = matches!(workload.kind, Kind::Idle);
    let resumes = matches!(workload.kind, Kind::Resume);
    arena.accompany(matches!(workload.kind, Kind::Guest))?;
    for pair in 0..settings.pairs {
        if workload.is_short() && pair != 0 {
            arena.anew()?;
        }
        let mut order = Side::BOTH;
        // What drifts on the host then helps neither, and guests change places half as often.
        if pair % 2 == 1 {
            order.reverse();
        }
        for side in order {
            let half = match side {
                Side::Oxen => &mut oxen,
                Side::C => &mut c,
            };
            if resumes {
                half.add(resume::measure(arena, side)?);
            } else if idle {
                let guest = arena.only(side)?;
                let counts = tracer.run(workload, guest, settings.seconds)?;
                half.rates.push(counts.exits);
                half.details.push(Value::Null);
                half.counts = Some(counts);
            } else {
                let guest = arena.only(side)?;
                let counters = || {
                    let network = workload.is_network();
                    network.then(|| Interface::read(&dom0, guest)).transpose()
                };
                let before = counters()?;
                half.add(run::timed(workload, &dom0, guest, settings.seconds)?);
                if let (Some(before), Some(after)) = (before, counters()?) {
                    half.add_packets(&after.since(&before));
                }
            }
            progress(&format!(
                "{} {}/{} {}: {} {}",
                workload.name,
                pair + 1,
                settings.pairs,
                side.label(),
                short(half.rates.last().copied().unwrap_or_default()),
                workload.rate
            ));
        }
    }
    for side in Side::BOTH {
        let half = match side {
            Side::Oxen => &mut oxen,
            Side::C => &mut c,
        };
        if !idle && !resumes {
            half.counts = Some(tracer.run(workload, arena.only(side)?, settings.seconds)?);
        }
        if let Some(counts) = &half.counts {
            progress(&format!(
                "{} traced {}: {} exits per {}{}",
                workload.name,
                side.label(),
                short(counts.exits),
                workload.unit,
                if counts.lost > 0 {
                    "; records were lost"
                } else {
                    ""
                }
            ));
        }
    }
    Ok(Outcome::new(workload, oxen, c))
}
