// SPDX-License-Identifier: GPL-2.0

//! A running domain, dom0 or guest, as a place to run commands in.

use crate::link::{Job, JobEvent, Link};
use anyhow::{bail, Context, Result};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Limit for what should be quick. Emulation under load is slow: it is generous.
pub const BRIEF: Duration = Duration::from_secs(240);
/// Limit for what takes its time.
pub const LONG: Duration = Duration::from_secs(600);

static TIMES: AtomicU32 = AtomicU32::new(1);

/// How much longer than usual this program waits: for kernels that check everything they do.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Patience {
    /// How many times as long every time limit is.
    #[arg(long = "patience", env = "OXEN_PATIENCE", value_name = "OXEN_PATIENCE", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=20), global = true)]
    times: u32,
}

impl Patience {
    /// Makes it hold.
    pub fn set(self) {
        TIMES.store(self.times, Ordering::Relaxed);
    }
}

/// A limit as it holds here.
pub(crate) fn patience(limit: Duration) -> Duration {
    limit * TIMES.load(Ordering::Relaxed)
}

/// What a command printed, and its exit code.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Exit code; 128 + n after signal n.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Whether the command ended with 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit code {}", self.code)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                writeln!(f, "--- {name}\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// A domain with a live agent. Clones share the session, and commands may run side by side.
#[derive(Clone)]
pub struct Domain {
    name: String,
    link: Link,
    /// Another domain's, after whose end nothing is waited for here.
    beside: Option<Link>,
}

impl Domain {
    pub(crate) fn new(name: &str, link: Link) -> Domain {
        Domain {
            name: name.into(),
            link,
            beside: None,
        }
    }

    /// The same domain, in which nothing is waited for any more when `other` has ended: what `other` was to do does not
    /// come.
    pub fn beside(&self, other: &Domain) -> Domain {
        Domain {
            beside: Some(other.link.clone()),
            ..self.clone()
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the session has ended from the other side.
    pub fn is_gone(&self) -> bool {
        self.link.is_closed()
    }

    /// Runs a program to its end, whatever its exit code.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or is not done within `limit`: it is then killed, and the error
    /// tells what it had printed.
    pub fn run(&self, argv: &[String], stdin: &[u8], limit: Duration) -> Result<Output> {
        let shown = argv.join(" ");
        let job = self.spawn(argv, false)?;
        // In a thread of its own, since a program may well print before it has read it all.
        thread::scope(|scope| {
            let feeder = scope.spawn(|| job_feed(&job, stdin));
            let done = collect(&job, limit);
            feeder.join().ok();
            done
        })
        .with_context(|| format!("{}: {shown}", self.name))
    }

    /// Runs a shell script to its end, whatever its exit code.
    ///
    /// # Errors
    ///
    /// As [`Domain::run`].
    pub fn try_sh(&self, script: &str, limit: Duration) -> Result<Output> {
        self.run(&["sh".into(), "-c".into(), script.into()], b"", limit)
    }

    /// Runs a shell script that must succeed, and gives its output.
    ///
    /// # Errors
    ///
    /// As [`Domain::run`], and when the script's exit code is not 0.
    pub fn sh_for(&self, script: &str, limit: Duration) -> Result<String> {
        let output = self.try_sh(script, limit)?;
        if !output.success() {
            bail!("{}: {script}\n{output}", self.name);
        }
        Ok(output.stdout)
    }

    /// [`Domain::sh_for`] within [`BRIEF`].
    ///
    /// # Errors
    ///
    /// As [`Domain::sh_for`].
    pub fn sh(&self, script: &str) -> Result<String> {
        self.sh_for(script, BRIEF)
    }

    /// Starts a program and leaves it running.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn spawn(&self, argv: &[String], pty: bool) -> Result<Job> {
        let mut job = self.link.spawn(argv, pty)?;
        if let Some(other) = &self.beside {
            job.ends_with(other.clone());
        }
        Ok(job)
    }

    /// Starts a shell script and leaves it running.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn spawn_sh(&self, script: &str) -> Result<Background> {
        let job = self.spawn(&["sh".into(), "-c".into(), script.into()], false)?;
        job.eof()?;
        Ok(Background {
            what: format!("{}: {script}", self.name),
            job,
        })
    }

    /// Repeats a script until it succeeds.
    ///
    /// # Errors
    ///
    /// When it does not within `limit`: with what it printed last.
    pub fn until(&self, script: &str, limit: Duration) -> Result<String> {
        let whole = patience(limit);
        let deadline = Instant::now() + whole;
        loop {
            let output = self.try_sh(script, limit)?;
            if output.success() {
                return Ok(output.stdout);
            }
            if let Some(why) = self.beside.as_ref().and_then(Link::ended) {
                bail!("{}: {script}\n{why}", self.name);
            }
            if Instant::now() > deadline {
                bail!(
                    "{}: not true within {} s: {script}\n{output}",
                    self.name,
                    whole.as_secs()
                );
            }
            thread::sleep(Duration::from_millis(300));
        }
    }

    /// Writes a file there.
    ///
    /// # Errors
    ///
    /// When the local file cannot be read or the remote one not be written.
    pub fn put(&self, local: &Path, remote: &str) -> Result<()> {
        let bytes = std::fs::read(local).with_context(|| format!("{}", local.display()))?;
        self.put_bytes(&bytes, remote)
    }

    /// Writes a file there.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn put_bytes(&self, bytes: &[u8], remote: &str) -> Result<()> {
        let script = "mkdir -p \"$(dirname \"$1\")\" && cat >\"$1.part\" && mv \"$1.part\" \"$1\"";
        let argv: Vec<String> = ["sh", "-c", script, "put", remote].map(String::from).into();
        let output = self.run(&argv, bytes, LONG)?;
        if !output.success() {
            bail!("{}: cannot write {remote}\n{output}", self.name);
        }
        Ok(())
    }

    /// Ends the session; the agent is free for another client then.
    pub fn close(&self) {
        self.link.close();
    }
}

/// A script that runs on while other things are done, until this is dropped.
pub struct Background {
    what: String,
    job: Job,
}

impl Background {
    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it is not done within `limit`.
    pub fn wait(self, limit: Duration) -> Result<Output> {
        collect(&self.job, limit).with_context(|| self.what.clone())
    }

    /// Kills it and gives what it printed.
    ///
    /// # Errors
    ///
    /// When the connection is gone, or it does not die.
    pub fn stop(self) -> Result<Output> {
        self.job.kill();
        collect(&self.job, BRIEF).with_context(|| self.what.clone())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A test that failed before it came to this must not slow down the next one.
        self.job.kill();
    }
}

fn job_feed(job: &Job, stdin: &[u8]) {
    // A program that needs no input may be gone already: its exit code tells more than this.
    let _ = job.write(stdin).and_then(|()| job.eof());
}

fn collect(job: &Job, limit: Duration) -> Result<Output> {
    let limit = patience(limit);
    let deadline = Instant::now() + limit;
    let mut output = Output::default();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let ended = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match job.next(left) {
            Ok(Some(JobEvent::Out(1, bytes))) => stdout.extend(bytes),
            Ok(Some(JobEvent::Out(_, bytes))) => stderr.extend(bytes),
            Ok(Some(JobEvent::Exit(code))) => {
                output.code = code;
                break Ok(());
            }
            Ok(Some(JobEvent::Failed(why))) => break Err(why),
            Ok(None) => {
                job.kill();
                break Err(format!("not done within {} s", limit.as_secs()));
            }
            Err(why) => {
                job.kill();
                break Err(why.to_string());
            }
        }
    };
    output.stdout = String::from_utf8_lossy(&stdout).into_owned();
    output.stderr = String::from_utf8_lossy(&stderr).into_owned();
    match ended {
        Ok(()) => Ok(output),
        Err(why) => {
            output.code = -1;
            bail!("{why}\n{output}")
        }
    }
}
