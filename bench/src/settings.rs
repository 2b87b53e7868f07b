// SPDX-License-Identifier: GPL-2.0

//! What the bench runs and how often, by the command line and the environment.

use crate::workload::{self, Workload};
use anyhow::{bail, Result};
use clap::{value_parser, Parser};
use companion::Patience;

/// Oxen side by side with the kernel's own Xen frontends: two guests in one boot of the companion.
///
/// The companion of the name in OXEN_COMPANION is used when it runs already and is then left running.
#[derive(Parser)]
#[command(name = "bench")]
pub(crate) struct Settings {
    /// Run only these workloads.
    #[arg(value_name = "WORKLOAD")]
    pub(crate) names: Vec<String>,

    /// Pairs of runs, one on each guest, per workload.
    #[arg(long, env = "OXEN_PAIRS", value_name = "OXEN_PAIRS", default_value_t = 5,
          value_parser = value_parser!(u32).range(1..=99))]
    pub(crate) pairs: u32,

    /// Seconds that one run takes; the idle one takes ten at least.
    #[arg(long, env = "OXEN_SECONDS", value_name = "OXEN_SECONDS", default_value_t = 4,
          value_parser = value_parser!(u32).range(1..=120))]
    pub(crate) seconds: u32,

    /// CPUs of each guest; with one, what needs two is left out.
    #[arg(long, env = "OXEN_VCPUS", value_name = "OXEN_VCPUS", default_value_t = 2,
          value_parser = value_parser!(u32).range(1..=16))]
    pub(crate) vcpus: u32,

    /// A kernel parameter for the guest on Oxen, like oxen_blkfront.persistent=off; several if it is given again.
    #[arg(long, value_name = "PARAMETER")]
    pub(crate) oxen: Vec<String>,

    /// Name of the companion.
    #[arg(long, env = "OXEN_COMPANION", default_value = "bench")]
    pub(crate) companion: String,

    #[command(flatten)]
    pub(crate) patience: Patience,

    /// Print the tables as Markdown.
    #[arg(long)]
    pub(crate) markdown: bool,

    /// Only say whether all this is understood.
    #[arg(long, hide = true)]
    pub(crate) check: bool,
}

impl Settings {
    /// The workloads that were asked for, in the order in which they run.
    ///
    /// # Errors
    ///
    /// When one is unknown, with those that there are, or needs more CPUs.
    pub(crate) fn workloads(&self) -> Result<Vec<&'static Workload>> {
        for name in &self.names {
            if !workload::ALL.iter().any(|known| known.name == name) {
                let known: Vec<&str> = workload::ALL.iter().map(|known| known.name).collect();
                bail!(
                    "there is no workload called {name}: there are {}.",
                    known.join(", ")
                );
            }
        }
        let named = |known: &&Workload| self.names.iter().any(|name| name == known.name);
        let fits = |known: &&Workload| known.vcpus() <= self.vcpus;
        let all = workload::ALL.iter();
        if self.names.is_empty() {
            return Ok(all.filter(fits).collect());
        }
        let workloads: Vec<_> = all.filter(named).collect();
        if let Some(large) = workloads.iter().find(|known| !fits(known)) {
            bail!("{} needs {} CPUs.", large.name, large.vcpus());
        }
        Ok(workloads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Result<Vec<&'static str>> {
        let settings = Settings::try_parse_from([&["bench"], words].concat())?;
        let workloads = settings.workloads()?;
        Ok(workloads.iter().map(|workload| workload.name).collect())
    }

    #[test]
    fn workloads_are_picked_by_name() {
        assert_eq!(
            names(&["pipe-2cpu", "clock"]).expect("known"),
            ["clock", "pipe-2cpu"]
        );
        assert_eq!(names(&[]).expect("all").len(), workload::ALL.len());
    }

    #[test]
    fn an_unknown_one_is_refused_with_those_there_are() {
        let why = names(&["clock", "pipes"]).expect_err("unknown").to_string();
        assert!(why.contains("pipes") && why.contains("pipe-1cpu, pipe-2cpu"));
    }

    #[test]
    fn no_pair_is_refused() {
        assert!(Settings::try_parse_from(["bench", "--pairs", "0"]).is_err());
        assert!(Settings::try_parse_from(["bench", "--vcpus", "0"]).is_err());
    }

    #[test]
    fn one_cpu_is_not_enough_for_all() {
        let all = names(&["--vcpus", "1"]).expect("the rest");
        assert_eq!(all.len(), workload::ALL.len() - 1);
        assert!(!all.contains(&"pipe-2cpu") && all.contains(&"net-rr"));
        let why = names(&["--vcpus", "1", "pipe-2cpu"]).expect_err("two threads on two CPUs");
        assert!(why.to_string().contains("2 CPUs"));
    }
}
