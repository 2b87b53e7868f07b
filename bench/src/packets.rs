// SPDX-License-Identifier: GPL-2.0

//! What became of packets, as a table.

use crate::interface::Packets;
use crate::layout;
use crate::report::Outcome;
use crate::stats::short;
use comfy_table::Table;

/// The table, if there are packets.
pub(crate) fn table(outcomes: &[Outcome], markdown: bool) -> Option<Table> {
    let heads = [
        "workload",
        "driver",
        "sent",
        "received",
        "dropped by guest",
        "by dom0",
        "copied by guest",
        "of sent: mapped by dom0",
    ];
    let mut table = layout::new(markdown, &heads, 2);
    for outcome in outcomes {
        for (name, half) in outcome.halves() {
            if let Some(packets) = &half.packets {
                table.add_row(row(outcome.workload, name, packets));
            }
        }
    }
    (!table.is_empty()).then_some(table)
}

fn row(workload: &str, driver: &str, packets: &Packets) -> [String; 8] {
    let or_nothing = |number: Option<f64>| number.map_or_else(|| "-".into(), short);
    [
        workload.into(),
        driver.into(),
        packets.sent.to_string(),
        packets.received.to_string(),
        short(packets.dropped),
        short(packets.dropped_by_dom0),
        or_nothing(packets.copied),
        or_nothing(packets.mapped_by_dom0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Half;
    use crate::workload::ALL;

    #[test]
    fn only_workloads_with_packets_have_a_row() {
        let outcome = |packets| {
            let half = Half {
                rates: vec![1.0],
                packets,
                ..Half::default()
            };
            Outcome::new(&ALL[0], half, Half::default())
        };
        assert!(table(&[outcome(None)], true).is_none());
        let packets = Packets {
            sent: 30,
            copied: Some(0.25),
            ..Packets::default()
        };
        let text = table(&[outcome(None), outcome(Some(packets))], true);
        let text = text.expect("a row").to_string();
        let row = text.lines().last().expect("a row");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2..9], ["Oxen", "30", "0", "0", "0", "0.25", "-"]);
    }
}
