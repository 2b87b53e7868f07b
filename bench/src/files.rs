// SPDX-License-Identifier: GPL-2.0

//! The files that the results are kept in.

use crate::report::Report;
use crate::{plot, table};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the files go.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../build/bench"))
}

/// Writes `bench.json`, `bench.svg` and `bench.md`.
///
/// # Errors
///
/// When they cannot be written.
pub(crate) fn write(report: &Report, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let json = serde_json::to_string_pretty(report)? + "\n";
    let svg = plot::draw(&report.outcomes)?;
    for (name, text) in [
        ("bench.json", json),
        ("bench.svg", svg),
        ("bench.md", table::text(report, true)),
    ] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Half, Outcome};
    use crate::workload::ALL;

    #[test]
    fn all_three_files_are_written() {
        let half = |rate| Half {
            rates: vec![rate],
            ..Half::default()
        };
        let folder = std::env::temp_dir().join(format!("oxen-bench-{}", std::process::id()));
        let report = Report {
            outcomes: vec![Outcome::new(&ALL[0], half(1.0), half(2.0))],
            ..Report::default()
        };
        write(&report, &folder).expect("written");
        let text = |name| fs::read_to_string(folder.join(name)).expect("there");
        assert!(text("bench.json").contains("\"workload\": \"clock\""));
        assert!(text("bench.svg").contains("clock"));
        assert!(text("bench.md").contains("| clock "));
        fs::remove_dir_all(folder).expect("removed");
    }
}
