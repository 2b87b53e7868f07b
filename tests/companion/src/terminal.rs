// SPDX-License-Identifier: GPL-2.0

//! A guest's console on this terminal.

use anyhow::Result;
use companion::{Companion, JobEvent};
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Puts the terminal into raw mode, and back when dropped.
struct Raw(Option<libc::termios>);

impl Raw {
    fn enter() -> Raw {
        // SAFETY: termios is plain data, for which all zeroes is a valid value.
        let mut mode: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: `mode` outlives the call.
        if unsafe { libc::tcgetattr(0, &mut mode) } != 0 {
            return Raw(None);
        }
        let before = mode;
        // SAFETY: `mode` was filled in above and outlives both calls.
        unsafe {
            libc::cfmakeraw(&mut mode);
            libc::tcsetattr(0, libc::TCSANOW, &mode);
        }
        Raw(Some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(mode) = &self.0 {
            // SAFETY: `mode` is what tcgetattr gave, and outlives the call.
            unsafe { libc::tcsetattr(0, libc::TCSANOW, mode) };
        }
    }
}

/// Hands over the console of `guest` until Ctrl-] or its end. Gives the exit code.
///
/// # Errors
///
/// When dom0 does not answer.
pub(crate) fn console(machine: &Companion, guest: &str) -> Result<u8> {
    eprintln!("Console of {guest}: leave with Ctrl-]");
    let argv: Vec<String> = ["xl", "console", guest].map(String::from).into();
    let job = Arc::new(machine.dom0().spawn(&argv, true)?);
    let raw = Raw::enter();
    let (done, stop) = std::sync::mpsc::channel();
    let input = job.clone();
    thread::spawn(move || {
        let mut buf = [0; 256];
        while let Ok(n @ 1..) = std::io::stdin().read(&mut buf) {
            let bytes = buf.get(..n).unwrap_or_default();
            if bytes.contains(&0x1d) || input.write(bytes).is_err() {
                break;
            }
        }
        done.send(()).ok();
    });
    loop {
        if stop.try_recv().is_ok() {
            job.kill();
            drop(raw);
            return Ok(0);
        }
        match job.next(Duration::from_millis(50))? {
            Some(JobEvent::Out(_, bytes)) => {
                std::io::stdout().write_all(&bytes)?;
                std::io::stdout().flush()?;
            }
            Some(JobEvent::Exit(code)) => return Ok(u8::try_from(code).unwrap_or(255)),
            Some(JobEvent::Failed(why)) => anyhow::bail!("xl console: {why}"),
            None => {}
        }
    }
}
