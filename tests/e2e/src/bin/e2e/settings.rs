// SPDX-License-Identifier: GPL-2.0

//! What the suite runs and how much of it, by the command line and the environment.

use clap::{value_parser, Parser};
use companion::Patience;
use std::time::{Duration, SystemTime};

/// The end-to-end suite: every promise, on real Xen.
///
/// The companion of the name in OXEN_COMPANION is used when it runs already and is then left running.
#[derive(Parser)]
pub(crate) struct Settings {
    /// Run only the tests whose names contain one of these words.
    #[arg(value_name = "WORD")]
    pub(crate) words: Vec<String>,

    /// Name the tests, and run none.
    #[arg(long)]
    pub(crate) list: bool,

    /// Only say whether all this is understood.
    #[arg(long, hide = true)]
    pub(crate) check: bool,

    /// Name of the companion.
    #[arg(long, env = "OXEN_COMPANION", default_value = "e2e")]
    pub(crate) companion: String,

    /// Data to move, in MiB; some tests move an eighth of it, and the disks end at 256.
    #[arg(long, env = "OXEN_MIB", value_name = "OXEN_MIB", default_value_t = 8,
          value_parser = value_parser!(u64).range(8..=256))]
    pub(crate) mib: u64,

    /// How often what is repeated is done; one test does a quarter of it.
    #[arg(long, env = "OXEN_ROUNDS", value_name = "OXEN_ROUNDS", default_value_t = 2,
          value_parser = value_parser!(u64).range(2..=255))]
    pub(crate) rounds: u64,

    /// Seconds for which CPUs compare their clocks.
    #[arg(long, env = "OXEN_CLOCK_SECONDS", value_name = "OXEN_CLOCK_SECONDS", default_value_t = 5,
          value_parser = value_parser!(u64).range(1..=300))]
    pub(crate) clock_seconds: u64,

    /// Seconds for which the machine is tried without a module of ours.
    #[arg(long, env = "OXEN_CONTROL_SECONDS", value_name = "OXEN_CONTROL_SECONDS", default_value_t = 10,
          value_parser = value_parser!(u64).range(1..=300))]
    pub(crate) control_seconds: u64,

    /// Seconds for which a guest is paused.
    #[arg(long, env = "OXEN_PAUSE_SECONDS", value_name = "OXEN_PAUSE_SECONDS", default_value_t = 25,
          value_parser = value_parser!(u64).range(1..=3600))]
    pub(crate) pause_seconds: u64,

    /// Seconds since 1970 after which no test begins any more.
    #[arg(long, env = "OXEN_UNTIL", value_name = "OXEN_UNTIL")]
    pub(crate) until: Option<u64>,

    #[command(flatten)]
    pub(crate) patience: Patience,
}

impl Settings {
    /// When the time for tests is over.
    pub(crate) fn end(&self) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(self.until?))
    }

    /// Whether what takes minutes for itself runs too: in a soak, or when it is asked for.
    pub(crate) fn is_long(&self) -> bool {
        self.rounds >= 20 || !self.words.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_test_nothing_is_refused() {
        for (option, value) in [
            ("--mib", "7"),
            ("--mib", "257"),
            ("--mib", "8 MiB"),
            ("--rounds", "1"),
            ("--clock-seconds", "0"),
            ("--control-seconds", "0"),
            ("--pause-seconds", "0"),
            ("--until", "tomorrow"),
            ("--patience", "0"),
            ("--patience", "2 x"),
        ] {
            let refused = Settings::try_parse_from(["e2e", option, value]);
            assert!(refused.is_err(), "{option} {value} is taken");
        }
        let taken = Settings::try_parse_from(["e2e", "--mib", "8", "--rounds", "4", "debian/ping"]);
        let taken = taken.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!((taken.mib, taken.rounds), (8, 4));
        assert_eq!(taken.words, ["debian/ping"]);
    }
}
