// SPDX-License-Identifier: GPL-2.0

//! A backend of our own (`tests/backend`) for one device of a guest, run in dom0 and steered over its socket.

use anyhow::{ensure, Context, Result};
use companion::{Background, Companion, Domain, BRIEF};
use std::env;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The program, in dom0.
const PROGRAM: &str = "/run/companion/backend";

/// File with the number of the guest that it serves.
const DOMAIN: &str = "/run/companion/backend.domain";

/// Brings the program to dom0, to serve the guest `name` there.
///
/// # Errors
///
/// When it was not built, or does not run there.
pub fn install(machine: &Companion, name: &str) -> Result<()> {
    let dom0 = machine.dom0();
    let built = env::current_exe()?.with_file_name("backend");
    ensure!(built.is_file(), "there is no {}", built.display());
    // Debug information would fill dom0's memory.
    let stripped = machine.shared().join("backend");
    let status = Command::new("strip")
        .arg("-o")
        .args([&stripped, &built])
        .status()
        .context("strip cannot be run")?;
    ensure!(status.success(), "strip {}", built.display());
    dom0.sh(&format!(
        "cp /companion/backend {PROGRAM}.new && mv {PROGRAM}.new {PROGRAM} && {PROGRAM} scripts >/dev/null && \
         xl domid {name} >{DOMAIN}"
    ))?;
    Ok(())
}

/// Has the program write to the page that the guest and xenstored share.
///
/// # Errors
///
/// When it does not do it.
pub fn store_page(dom0: &Domain, words: &str) -> Result<()> {
    dom0.sh(&format!(
        "{PROGRAM} store-page --domain $(cat {DOMAIN}) {words}"
    ))
    .map(drop)
}

/// A running backend. Dropping it takes the device away as a toolstack does that has lost its patience.
pub struct Backend {
    dom0: Domain,
    job: Option<Background>,
    gone: bool,
    device: String,
    socket: String,
}

impl Backend {
    /// Starts a backend for the device `number` of `kind`, with `options` besides.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn start(dom0: &Domain, kind: &str, number: u32, options: &str) -> Result<Backend> {
        let name = match kind {
            "vbd" => "vdev",
            "vif" => "handle",
            _ => "number",
        };
        let device = format!("{kind} --domain $(cat {DOMAIN}) --{name} {number}");
        let mut backend = Backend {
            dom0: dom0.clone(),
            job: None,
            gone: false,
            socket: format!("/run/companion/backend-{kind}-{number}"),
            device,
        };
        backend.run(options)?;
        Ok(backend)
    }

    /// Starts it anew, after it has died: the device is still there.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn adopt(&mut self, options: &str) -> Result<()> {
        self.run(&format!("--adopt {options}"))
    }

    fn run(&mut self, options: &str) -> Result<()> {
        let Backend { device, socket, .. } = self;
        let job = self.dom0.spawn_sh(&format!(
            "echo $$ >{socket}.pid; exec {PROGRAM} {device} --control {socket} {options}"
        ))?;
        let answer = self.counts();
        // Why it does not run it has said itself.
        if let Err(why) = answer {
            return Err(why.context(job.stop()?.to_string()));
        }
        self.job = Some(job);
        Ok(())
    }

    /// Says something to it; gives its answer.
    ///
    /// # Errors
    ///
    /// When it does not do it.
    pub fn ask(&self, words: &str) -> Result<String> {
        self.dom0
            .sh(&format!("{PROGRAM} tell {} {words}", self.socket))
    }

    /// Says something to it; gives what it has counted.
    ///
    /// # Errors
    ///
    /// When it does not do it.
    pub fn tell(&self, words: &str) -> Result<Counts> {
        self.ask(words).map(Counts)
    }

    /// Has it answer a request every so many seconds, until the job is stopped or it is gone.
    ///
    /// # Errors
    ///
    /// When that cannot be begun.
    pub fn in_steps(&self, seconds: u32) -> Result<Background> {
        self.dom0.spawn_sh(&format!(
            "while {PROGRAM} tell {} step; do sleep {seconds}; done",
            self.socket
        ))
    }

    /// What it has counted.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn counts(&self) -> Result<Counts> {
        self.tell("status")
    }

    /// Waits for one of the numbers to be as it should.
    ///
    /// # Errors
    ///
    /// When it does not come to that.
    pub fn until(&self, name: &str, good: impl Fn(u64) -> bool) -> Result<()> {
        let deadline = Instant::now() + BRIEF;
        loop {
            let counts = self.counts()?;
            if good(counts.get(name)?) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{name} stays wrong: {counts:?}");
            thread::sleep(Duration::from_millis(300));
        }
    }

    /// Removes the device's nodes, as a toolstack that waits for nobody. The backend goes on.
    ///
    /// # Errors
    ///
    /// When they cannot be removed.
    pub fn remove(&self) -> Result<()> {
        self.dom0
            .sh(&format!("{PROGRAM} clean {}", self.device))
            .map(drop)
    }

    /// Takes the device away as a toolstack does, in good order.
    ///
    /// # Errors
    ///
    /// When the frontend does not follow.
    pub fn detach(mut self) -> Result<()> {
        let answer = self.ask("detach")?;
        let output = match self.job.take() {
            Some(job) => job.wait(BRIEF)?,
            None => Default::default(),
        };
        ensure!(
            answer.trim() == "gone" && output.success(),
            "the frontend did not follow: {answer} {output}"
        );
        self.gone = true;
        Ok(())
    }

    /// Waits until it has died as it was told to.
    ///
    /// # Errors
    ///
    /// When it does not die.
    pub fn died(&mut self) -> Result<()> {
        self.ended(9)
    }

    /// Sends it a signal, by name.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn signal(&self, name: &str) -> Result<()> {
        self.dom0
            .sh(&format!("kill -{name} $(cat {}.pid)", self.socket))
            .map(drop)
    }

    /// Kills it, whatever it is doing.
    ///
    /// # Errors
    ///
    /// When it does not die.
    pub fn kill(&mut self) -> Result<()> {
        self.signal("KILL")?;
        self.ended(128 + 9)
    }

    fn ended(&mut self, code: i32) -> Result<()> {
        let output = match self.job.take() {
            Some(job) => job.wait(BRIEF)?,
            None => Default::default(),
        };
        ensure!(output.code == code, "the backend is not dead: {output}");
        Ok(())
    }
}

/// What a backend has counted.
#[derive(Debug)]
pub struct Counts(String);

impl Counts {
    /// One of the numbers.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub fn get(&self, name: &str) -> Result<u64> {
        self.0
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
            .with_context(|| format!("no {name} in {}", self.0))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        if let Some(job) = self.job.take() {
            job.stop().ok();
        }
        let clean = format!("{PROGRAM} clean {}", self.device);
        self.dom0.try_sh(&clean, BRIEF).ok();
    }
}
