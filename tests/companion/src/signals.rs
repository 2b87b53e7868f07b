// SPDX-License-Identifier: GPL-2.0

//! A program that ends, in whatever way, takes its machine with it.

use crate::machine::Companion;
use crate::progress::progress;
use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

static ENDING: AtomicBool = AtomicBool::new(false);

/// Whether a signal has ended the machine: what fails from now on fails for that.
pub fn is_ending() -> bool {
    ENDING.load(Ordering::Relaxed)
}

/// Waits for its input to end, and ends the machine then. One that was ended in good order has left no `pid`.
const REAPER: &str = "cat >/dev/null; read -r pid <\"$1/pid\" || exit; \
    case $(cat /proc/$pid/comm) in qemu-system*) kill $pid ;; esac; rm -f \"$1/state\" \"$1/pid\"";

impl Companion {
    /// From now on the machine of that name ends with this program: before it on a signal that ends it, else after it.
    /// The program then has a few seconds to say how far it came.
    ///
    /// # Errors
    ///
    /// When the signals cannot be caught, or there is no shell.
    pub fn ends_with_us(name: &str) -> Result<()> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let name = name.to_owned();
        let reaper = reaper(&Companion::folder(&name))?;
        thread::spawn(move || {
            let _reaper = reaper;
            if let Some(signal) = signals.forever().next() {
                progress(&format!("signal {signal}: ending the machine {name}"));
                ENDING.store(true, Ordering::Relaxed);
                Companion::kill(&name);
                thread::sleep(Duration::from_secs(5));
                process::exit(128 + signal);
            }
        });
        Ok(())
    }
}

/// Starts what outlives this program if it is killed. Its input ends with the value, or with the program.
fn reaper(dir: &Path) -> Result<Child> {
    Command::new("sh")
        .args(["-c", REAPER, "reaper"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A signal to the program's group leaves this one.
        .process_group(0)
        .spawn()
        .context("sh cannot be run")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::process::ExitStatusExt;

    /// A program that is called as QEMU is.
    fn machine(dir: &Path) -> Child {
        let program = dir.join("qemu-system-no");
        fs::copy("/bin/sleep", &program).expect("a copy");
        let child = Command::new(program).arg("60").spawn().expect("started");
        fs::write(dir.join("pid"), format!("{}\n", child.id())).expect("written");
        child
    }

    #[test]
    fn a_machine_ends_with_its_program() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut reaper = reaper(dir.path()).expect("a reaper");
        let mut machine = machine(dir.path());
        assert!(machine.try_wait().expect("asked").is_none());
        drop(reaper.stdin.take());
        reaper.wait().expect("it ends");
        let status = machine.wait().expect("it ends");
        assert_eq!(status.signal(), Some(SIGTERM), "it ended by itself");
        assert!(!dir.path().join("pid").exists());
    }

    #[test]
    fn another_program_of_that_number_is_left() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut reaper = reaper(dir.path()).expect("a reaper");
        let mut other = Command::new("sleep").arg("600").spawn().expect("started");
        fs::write(dir.path().join("pid"), format!("{}\n", other.id())).expect("written");
        drop(reaper.stdin.take());
        reaper.wait().expect("it ends");
        assert!(other.try_wait().expect("asked").is_none());
        other.kill().expect("killed");
        other.wait().expect("it ends");
    }
}
