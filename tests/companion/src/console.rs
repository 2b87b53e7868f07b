// SPDX-License-Identifier: GPL-2.0

//! `xl console`, as a person would use it: say something, expect something.

use crate::domain::{patience, Domain};
use crate::link::{Job, JobEvent};
use anyhow::{bail, Result};
use std::time::{Duration, Instant};

/// A guest's console, open in dom0.
pub struct Console {
    job: Job,
    seen: String,
}

impl Console {
    /// Opens the console of `guest`.
    ///
    /// # Errors
    ///
    /// When dom0 does not answer.
    pub fn open(dom0: &Domain, guest: &str) -> Result<Console> {
        let argv: Vec<String> = ["xl", "console", guest].map(String::from).into();
        Ok(Console {
            job: dom0.spawn(&argv, true)?,
            seen: String::new(),
        })
    }

    /// Types.
    ///
    /// # Errors
    ///
    /// When dom0 does not answer.
    pub fn say(&self, text: &str) -> Result<()> {
        self.job.write(text.as_bytes())
    }

    /// Waits for `text`, and gives everything up to its end.
    ///
    /// # Errors
    ///
    /// When it does not come within `limit`: with what came instead.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<String> {
        let limit = patience(limit);
        let deadline = Instant::now() + limit;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.seen, rest));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.job.next(left)? {
                Some(JobEvent::Out(_, bytes)) => {
                    self.seen.push_str(&String::from_utf8_lossy(&bytes))
                }
                Some(JobEvent::Exit(code)) => {
                    bail!(
                        "xl console ended with {code} before {text:?} came; it said {:?}",
                        self.seen
                    )
                }
                Some(JobEvent::Failed(why)) => bail!("xl console: {why}"),
                None => bail!(
                    "{text:?} did not come on the console within {} s; it said {:?}",
                    limit.as_secs(),
                    self.seen
                ),
            }
        }
    }

    /// What came and was not asked for yet, without waiting longer than `limit`.
    ///
    /// # Errors
    ///
    /// When dom0 does not answer.
    pub fn drain(&mut self, limit: Duration) -> Result<String> {
        while let Some(JobEvent::Out(_, bytes)) = self.job.next(limit)? {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        Ok(std::mem::take(&mut self.seen))
    }

    /// Leaves it.
    pub fn close(self) {
        self.job.kill();
    }
}
