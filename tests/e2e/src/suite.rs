// SPDX-License-Identifier: GPL-2.0

//! A list of named tests, run one after the other, with one summary.

use anyhow::{anyhow, ensure, Result};
use companion::{is_ending, progress};
use std::time::{Instant, SystemTime};

/// A test: its name, which is its group's, a slash and its own, and what it does with its scene.
pub type Test<S> = (&'static str, fn(&S) -> Result<()>);

/// How often a group is run again whose guest the emulator lost.
const AGAIN: usize = 2;

/// The tests that ran, and how they went.
pub struct Suite {
    names: Vec<&'static str>,
    filter: Vec<String>,
    left_out: Vec<&'static str>,
    /// When the time for tests is over.
    until: Option<SystemTime>,
    passed: usize,
    failed: Vec<(String, String)>,
    lost: usize,
    /// How many seconds each took.
    times: Vec<(u64, String)>,
}

impl Suite {
    /// A suite of those of the tests called `names` that contain one of the words of `filter`, or of all but `left_out`.
    ///
    /// # Errors
    ///
    /// When a word is in no name: then nothing has been booted for it yet.
    pub fn new(
        filter: Vec<String>,
        names: &[&'static str],
        left_out: &[&'static str],
    ) -> Result<Suite> {
        for word in &filter {
            ensure!(
                names.iter().any(|name| name.contains(word.as_str())),
                "no test has {word:?} in its name; there are\n    {}",
                names.join("\n    ")
            );
        }
        for name in left_out {
            ensure!(names.contains(name), "no test is called {name:?}");
        }
        Ok(Suite {
            names: names.to_vec(),
            filter,
            left_out: left_out.to_vec(),
            until: None,
            passed: 0,
            failed: Vec::new(),
            lost: 0,
            times: Vec::new(),
        })
    }

    /// The suite with an end to its time: no test begins after it, and the summary names those that are left out for it.
    pub fn until(mut self, end: Option<SystemTime>) -> Suite {
        self.until = end;
        self
    }

    /// Whether a test of that name is wanted, and there is time for it.
    pub fn wants(&self, name: &str) -> bool {
        self.is_chosen(name) && !self.is_over()
    }

    fn is_chosen(&self, name: &str) -> bool {
        if self.filter.is_empty() {
            return !self.left_out.contains(&name);
        }
        self.filter.iter().any(|word| name.contains(word.as_str()))
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|end| SystemTime::now() >= end)
    }

    /// The tests that did not begin in time.
    fn late(&self) -> Vec<&str> {
        if !self.is_over() {
            return Vec::new();
        }
        let ran = |name: &str| self.times.iter().any(|(_, other)| other == name);
        let late = self.names.iter().copied();
        late.filter(|name| self.is_chosen(name) && !ran(name))
            .collect()
    }

    /// Whether any of the tests is wanted, and with it the guest they run in.
    pub fn wants_any<S>(&self, tests: &[Test<S>]) -> bool {
        tests.iter().any(|(name, _)| self.wants(name))
    }

    /// Runs one test. Gives whether it passed. Once a signal has ended the machine no test runs, and the one it ended
    /// is the last that failed.
    pub fn test(&mut self, name: &str, body: impl FnOnce() -> Result<()>) -> bool {
        if is_ending() {
            return false;
        }
        let begin = Instant::now();
        let mut outcome = body();
        let took = begin.elapsed().as_secs();
        if is_ending() {
            outcome = Err(anyhow!("a signal ended the suite in this test"));
        }
        self.times.push((took, name.into()));
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

    /// Runs those of the tests that are wanted, each by `run`. After one that fails it is asked whether the guest was
    /// `lost`: then the rest is left out, and the answer given.
    pub fn tests<S>(
        &mut self,
        tests: &[Test<S>],
        run: impl Fn(fn(&S) -> Result<()>) -> Result<()>,
        lost: impl Fn() -> Option<String>,
    ) -> Option<String> {
        for (name, body) in tests {
            if self.wants(name) && !self.test(name, || run(*body)) {
                if let Some(how) = lost() {
                    return Some(how);
                }
            }
        }
        None
    }

    /// Runs what a group of tests needs; when that fails, the group counts as one failed test.
    pub fn stage<T>(&mut self, name: &str, body: impl FnOnce() -> Result<T>) -> Option<T> {
        if is_ending() {
            return None;
        }
        progress(&format!("---- {name}"));
        match body() {
            Ok(value) => Some(value),
            Err(why) => {
                self.test(name, || Err(anyhow!("{why:#}")));
                None
            }
        }
    }

    /// Runs a group from its boot to its end. When it tells that its guest was lost it is run again, at most [`AGAIN`]
    /// times, and what it gave before is thrown away.
    pub fn group(&mut self, mut run: impl FnMut(&mut Suite) -> Option<String>) {
        let (passed, failed, times) = (self.passed, self.failed.len(), self.times.len());
        for _ in 0..AGAIN {
            let Some(how) = run(self) else {
                return;
            };
            progress(&format!("{how}; it is booted again"));
            self.passed = passed;
            self.failed.truncate(failed);
            self.times.truncate(times);
            self.lost += 1;
        }
        if let Some(how) = run(self) {
            progress(&format!("{how}, once too often"));
        }
    }

    /// The failures once more, the slowest tests, the failures in a line each, how many guests were lost, and the one line
    /// that sums up.
    fn summary(&self) -> String {
        let mut text = String::new();
        for (name, why) in &self.failed {
            text.push_str(&format!("==== FAILED {name}\n{why}\n\n"));
        }
        // The ten that took longest, if they took a second.
        let mut times: Vec<_> = self.times.iter().filter(|(took, _)| *took > 0).collect();
        times.sort_by(|one, other| other.cmp(one));
        for (took, name) in times.into_iter().take(10) {
            text.push_str(&format!("{took:>6} s {name}\n"));
        }
        // The last lines are what one sees first.
        for (name, why) in &self.failed {
            let why = why.lines().next().unwrap_or_default();
            text.push_str(&format!("failed: {name}: {why}\n"));
        }
        let late = self.late();
        if !late.is_empty() {
            let s = if late.len() == 1 { "" } else { "s" };
            text.push_str(&format!(
                "{} test{s} left out, the time was over: {}\n",
                late.len(),
                late.join(" ")
            ));
        }
        if self.lost > 0 {
            let s = if self.lost == 1 { "" } else { "s" };
            text.push_str(&format!(
                "{} guest{s} lost by the emulator and booted again\n",
                self.lost
            ));
        }
        text + &format!("{} passed, {} failed", self.passed, self.failed.len())
    }

    /// Prints the summary. Gives whether all passed.
    pub fn finish(self) -> bool {
        println!("{}", self.summary());
        self.failed.is_empty() && self.passed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::time::Duration;

    const LOST: &str = "the emulator lost this guest: d3v1 Triple fault";

    fn suite() -> Suite {
        Suite::new(Vec::new(), &[], &[]).expect("a suite of all tests")
    }

    #[test]
    fn a_word_that_is_in_no_name_is_refused() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let names = ["debian/ping", "bare/boot"];
        assert!(Suite::new(words(&["debian/pong"]), &names, &[]).is_err());
        assert!(Suite::new(words(&["bare", "debian/pong"]), &names, &[]).is_err());
        let suite =
            Suite::new(words(&["bare", "ping"]), &names, &[]).expect("both words are in names");
        assert!(suite.wants("debian/ping") && suite.wants("bare/boot"));
        assert!(!suite.wants("debian/login"));
    }

    #[test]
    fn what_is_left_out_runs_when_it_is_asked_for() {
        let names = ["debian/ping", "bare/boot"];
        let suite = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            Suite::new(words, &names, &["bare/boot"]).expect("a suite")
        };
        assert!(suite(&[]).wants("debian/ping") && !suite(&[]).wants("bare/boot"));
        assert!(suite(&["bare"]).wants("bare/boot"));
        assert!(Suite::new(Vec::new(), &names, &["bare/shoot"]).is_err());
    }

    #[test]
    fn what_does_not_begin_in_time_is_named() {
        let names = ["g/a", "g/b", "g/c"];
        let suite = Suite::new(Vec::new(), &names, &["g/c"]).expect("a suite");
        let mut suite = suite.until(Some(SystemTime::now() + Duration::from_secs(3600)));
        suite.test("g/a", || Ok(()));
        assert!(suite.wants("g/b") && !suite.wants("g/c"));
        assert_eq!(suite.summary(), "1 passed, 0 failed");
        let suite = suite.until(Some(SystemTime::now()));
        assert!(!suite.wants("g/b"));
        assert_eq!(
            suite.summary(),
            "1 test left out, the time was over: g/b\n1 passed, 0 failed"
        );
    }

    #[test]
    fn what_a_lost_guest_gave_is_thrown_away() {
        let mut suite = suite();
        suite.test("before", || Ok(()));
        let mut times = 0;
        suite.group(|suite| {
            times += 1;
            suite.test("g/first", || Ok(()));
            let good = suite.test("g/second", || {
                ensure!(times > 1, "gone");
                Ok(())
            });
            (!good).then(|| LOST.into())
        });
        assert_eq!(times, 2);
        assert_eq!(
            suite.summary(),
            "1 guest lost by the emulator and booted again\n3 passed, 0 failed"
        );
        assert!(suite.finish());
    }

    #[test]
    fn a_guest_that_is_lost_again_and_again_fails() {
        let mut suite = suite();
        let mut times = 0;
        suite.group(|suite| {
            times += 1;
            suite.test("g/first", || Err(anyhow!("gone")));
            Some(LOST.into())
        });
        assert_eq!(times, AGAIN + 1);
        assert!(suite
            .summary()
            .ends_with("2 guests lost by the emulator and booted again\n0 passed, 1 failed"));
        assert!(!suite.finish());
    }

    #[test]
    fn another_end_of_a_guest_is_a_failure() {
        let mut suite = suite();
        let mut times = 0;
        suite.group(|suite| {
            times += 1;
            suite.test("g/first", || Err(anyhow!("panicked")));
            None
        });
        assert_eq!(times, 1);
        assert!(suite
            .summary()
            .ends_with("\n\nfailed: g/first: panicked\n0 passed, 1 failed"));
    }

    #[test]
    fn the_ten_slowest_are_named() {
        let mut suite = suite();
        suite.times = (0..20).map(|took| (took, format!("g/{took}"))).collect();
        let summary = suite.summary();
        let lines: Vec<&str> = summary.lines().collect();
        assert_eq!(lines.len(), 11);
        assert_eq!((lines[0], lines[9]), ("    19 s g/19", "    10 s g/10"));
    }

    #[test]
    fn only_a_lost_guest_ends_its_tests() {
        let ran = Cell::new(0);
        let tests: [Test<()>; 3] = [
            ("g/a", |()| Ok(())),
            ("g/b", |()| Err(anyhow!("no"))),
            ("g/c", |()| Ok(())),
        ];
        let run = |body: fn(&()) -> Result<()>| {
            ran.set(ran.get() + 1);
            body(&())
        };
        assert_eq!(suite().tests(&tests, run, || None), None);
        assert_eq!(ran.replace(0), 3);
        let lost = suite().tests(&tests, run, || Some(LOST.into()));
        assert_eq!(lost.as_deref(), Some(LOST));
        assert_eq!(ran.get(), 2);
    }
}
