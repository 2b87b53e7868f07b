// SPDX-License-Identifier: GPL-2.0

//! The results as tables, for a terminal or as Markdown.

use crate::counts::Counts;
use crate::layout;
use crate::packets;
use crate::report::{Outcome, Report};
use crate::stats::{short, Spread};
use comfy_table::Table;
use std::collections::BTreeMap;

/// Exit reasons that have a column of their own.
const REASONS: [&str; 7] = ["hlt", "vmmcall", "msr", "io", "intr", "vintr", "npf"];

/// The header and all tables.
pub(crate) fn text(report: &Report, markdown: bool) -> String {
    let lines = report.header.lines().join("\n");
    let mut parts = vec![if markdown {
        format!("```\n{lines}\n```")
    } else {
        lines
    }];
    parts.push(figures(&report.outcomes, markdown).to_string());
    if report.outcomes.iter().any(|outcome| outcome.fewer) {
        parts.push("Of exits/s and seconds fewer are better.".into());
    }
    parts
        .push("VM exits per unit of work, by reason; nested page faults (npf) by page too:".into());
    parts.push(exits(&report.outcomes, markdown).to_string());
    parts.push("Interrupts, hypercalls and events per unit of work:".into());
    parts.push(traffic(&report.outcomes, markdown).to_string());
    if let Some(table) = packets::table(&report.outcomes, markdown) {
        parts.push("Packets of the timed runs, and what became of each:".into());
        parts.push(table.to_string());
    }
    parts.extend(losses(&report.outcomes));
    parts.extend(report.ended.iter().cloned());
    parts.join("\n\n") + "\n"
}

fn figures(outcomes: &[Outcome], markdown: bool) -> Table {
    let heads = [
        "workload",
        "figure",
        "Oxen",
        "C frontends",
        "Oxen / C",
        "exits/unit: Oxen",
        "C",
    ];
    let mut table = layout::new(markdown, &heads, 2);
    for outcome in outcomes {
        let exits = |counts: &Option<Counts>| {
            counts
                .as_ref()
                .map_or_else(|| "-".into(), |counts| short(counts.exits))
        };
        table.add_row([
            outcome.workload.into(),
            outcome.rate.into(),
            spread(outcome.oxen.spread()),
            spread(outcome.c.spread()),
            outcome.ratio.map_or_else(|| "-".into(), spread),
            exits(&outcome.oxen.counts),
            exits(&outcome.c.counts),
        ]);
    }
    table
}

fn spread(spread: Spread) -> String {
    format!(
        "{} ({} – {})",
        short(spread.median),
        short(spread.min),
        short(spread.max)
    )
}

/// Every traced half: its workload, unit, driver and counts.
fn traced(outcomes: &[Outcome]) -> impl Iterator<Item = (&Outcome, &'static str, &Counts)> {
    outcomes.iter().flat_map(|outcome| {
        outcome
            .halves()
            .into_iter()
            .filter_map(move |(name, half)| Some((outcome, name, half.counts.as_ref()?)))
    })
}

fn exits(outcomes: &[Outcome], markdown: bool) -> Table {
    let mut heads = vec!["workload", "per", "driver", "all"];
    heads.extend(REASONS);
    heads.extend(["apic page", "hpet page", "other"]);
    let mut table = layout::new(markdown, &heads, 3);
    for (outcome, name, counts) in traced(outcomes) {
        let named: Vec<f64> = REASONS.iter().map(|name| counts.reason(name)).collect();
        let mut row = vec![
            outcome.workload.into(),
            outcome.unit.into(),
            name.into(),
            short(counts.exits),
        ];
        row.extend(named.iter().copied().map(short));
        row.push(short(counts.page("apic")));
        row.push(short(counts.page("hpet")));
        // What rounding leaves is nothing.
        let others = counts.exits - named.iter().sum::<f64>();
        row.push(short(if others < counts.exits * 1e-9 {
            0.0
        } else {
            others
        }));
        table.add_row(row);
    }
    table
}

fn traffic(outcomes: &[Outcome], markdown: bool) -> Table {
    let heads = [
        "workload",
        "per",
        "driver",
        "interrupts",
        "to backend",
        "dom0's event calls",
        "hypercalls",
        "MSR writes",
    ];
    let mut table = layout::new(markdown, &heads, 3);
    for (outcome, name, counts) in traced(outcomes) {
        table.add_row([
            outcome.workload.into(),
            outcome.unit.into(),
            name.into(),
            short(counts.injected),
            counts.to_backend.map_or_else(|| "-".into(), short),
            short(counts.from_dom0),
            most(&counts.hypercalls),
            most(&counts.msr_writes),
        ]);
    }
    table
}

/// The three most frequent.
fn most(rates: &BTreeMap<String, f64>) -> String {
    let mut sorted: Vec<_> = rates.iter().collect();
    sorted.sort_by(|one, other| other.1.total_cmp(one.1));
    let total: f64 = rates.values().sum();
    let shown: Vec<String> = sorted
        .into_iter()
        .take(3)
        .filter(|(_, rate)| **rate * 100.0 >= total)
        .map(|(name, rate)| format!("{name} {}", short(*rate)))
        .collect();
    if shown.is_empty() {
        "-".into()
    } else {
        shown.join(", ")
    }
}

/// A sentence for each trace that is not whole.
fn losses(outcomes: &[Outcome]) -> Vec<String> {
    traced(outcomes)
        .filter(|(_, _, counts)| counts.lost > 0)
        .map(|(outcome, name, counts)| {
            format!(
                "Of the trace of {} on {name} {} records were lost: its counts are too low.",
                outcome.workload, counts.lost
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Half;
    use crate::workload::ALL;

    fn report() -> Report {
        let counts = Counts {
            exits: 4.0,
            by_reason: BTreeMap::from([("hlt".into(), 1.0), ("cpuid".into(), 3.0)]),
            hypercalls: BTreeMap::from([("sched_op".into(), 2.0), ("hvm_op".into(), 0.001)]),
            lost: 3,
            ..Counts::default()
        };
        let half = |rate: f64, counts| Half {
            rates: vec![rate],
            counts,
            ..Half::default()
        };
        Report {
            outcomes: vec![Outcome::new(
                &ALL[1],
                half(500.0, Some(counts)),
                half(1000.0, None),
            )],
            ..Report::default()
        }
    }

    #[test]
    fn the_tables_say_what_was_counted() {
        let text = text(&report(), true);
        let row = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start));
            let line = line.unwrap_or_else(|| panic!("{start} in {text}"));
            line.split('|')
                .map(str::trim)
                .map(String::from)
                .collect::<Vec<_>>()
        };
        let figures = row("| pipe-1cpu | round trips/s");
        assert_eq!(figures[5], "0.50 (0.50 – 0.50)");
        assert_eq!(figures[6..8], ["4.00", "-"]);
        let exits = row("| pipe-1cpu | round trip | Oxen   | 4.00");
        assert_eq!(exits[5], "1.00");
        assert_eq!(exits[14], "3.00");
        assert!(text.contains("sched_op 2.00 ") && !text.contains("hvm_op"));
        assert!(text.contains("3 records were lost"));
    }
}
