// SPDX-License-Identifier: GPL-2.0

//! A list of named tests, run one after the other, with one summary.

use anyhow::{anyhow, Result};
use companion::progress;
use std::time::Instant;

/// The tests that ran, and how they went.
pub struct Suite {
    filter: Vec<String>,
    passed: usize,
    failed: Vec<(String, String)>,
}

impl Suite {
    /// A suite of the tests whose names contain one of `filter`, or all.
    pub fn new(filter: Vec<String>) -> Suite {
        Suite {
            filter,
            passed: 0,
            failed: Vec::new(),
        }
    }

    /// Whether a test of that name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|word| name.contains(word.as_str()))
    }

    /// Whether any test of a group is wanted, and with it the guest they run in. A group is the
    /// part of a test's name before the slash.
    pub fn wants_group(&self, group: &str) -> bool {
        self.filter.is_empty()
            || self
                .filter
                .iter()
                .any(|word| group.contains(word.as_str()) || word.split('/').next() == Some(group))
    }

    /// Runs one test.
    pub fn test(&mut self, name: &str, body: impl FnOnce() -> Result<()>) -> bool {
        if !self.wants(name)
            && !self
                .filter
                .iter()
                .any(|word| name.starts_with(&format!("{word}/")))
        {
            return true;
        }
        let begin = Instant::now();
        let outcome = body();
        let took = begin.elapsed().as_secs();
        match outcome {
            Ok(()) => {
                self.passed += 1;
                progress(&format!("PASS {name} ({took} s)"));
                true
            }
            Err(why) => {
                let why = format!("{why:#}");
                progress(&format!(
                    "FAIL {name} ({took} s): {}",
                    why.lines().next().unwrap_or_default()
                ));
                eprintln!("{why}");
                self.failed.push((name.into(), why));
                false
            }
        }
    }

    /// Runs what a group of tests needs; when that fails, the group counts as one failed test.
    pub fn stage<T>(&mut self, name: &str, body: impl FnOnce() -> Result<T>) -> Option<T> {
        progress(&format!("---- {name}"));
        match body() {
            Ok(value) => Some(value),
            Err(why) => {
                self.test(name, || Err(anyhow!("{why:#}")));
                None
            }
        }
    }

    /// Prints the failures once more, then the one line that sums up. Gives whether all passed.
    pub fn finish(self) -> bool {
        for (name, why) in &self.failed {
            println!("==== FAILED {name}\n{why}\n");
        }
        if self.passed == 0 && self.failed.is_empty() {
            println!("no test ran: no name contains {}", self.filter.join(" or "));
        }
        println!("{} passed, {} failed", self.passed, self.failed.len());
        self.failed.is_empty() && self.passed > 0
    }
}
