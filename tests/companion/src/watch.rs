// SPDX-License-Identifier: GPL-2.0

//! The end of a guest, noticed when it comes.

use crate::domain::Domain;
use crate::link::{Job, JobEvent, Link};
use crate::lost::lost;
use anyhow::Result;
use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// How long a guest that something is asked of may be silent before its processors are looked at.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a guest at its end is left to say why.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What xl or the guest's kernel says at a guest's end.
const SIGNS: &str = "Kernel panic|Oops:|has shut down|has been destroyed";

/// Lines after the sign that may tell the cause: registers, code and a trace.
const LAST_LINES: usize = 70;

/// The sign of a guest's end, and what tells the cause, in one line: where the kernel was, and who had called.
fn told(words: &str) -> String {
    let signs: Vec<&str> = SIGNS.split('|').collect();
    let is_sign = |line: &&str| signs.iter().any(|sign| line.contains(sign));
    let lines = || words.lines().map(str::trim);
    let sign = lines().find(is_sign).unwrap_or(words.trim());
    let cause = lines()
        .filter(|line| *line != sign)
        .filter(|line| {
            ["BUG:", "RIP: 0010", "RSP: 0018", "CR2:", "+0x"]
                .iter()
                .any(|mark| line.contains(mark))
        })
        .map(|line| line.split_once("] ").map_or(line, |(_, said)| said.trim()));
    std::iter::once(sign)
        .chain(cause)
        .collect::<Vec<_>>()
        .join(" | ")
}

/// Looks at the processors of a guest that is silent, every now and then, whether the emulator has lost it.
pub(crate) struct Looks {
    dom0: Domain,
    name: String,
    last: Cell<Instant>,
}

impl Looks {
    /// The guest is heard now.
    pub(crate) fn new(dom0: &Domain, name: &str) -> Looks {
        Looks {
            dom0: dom0.clone(),
            name: name.into(),
            last: Cell::new(Instant::now()),
        }
    }

    /// How it was lost, if it is time for a look and it was.
    pub(crate) fn lost(&self) -> Option<String> {
        if self.last.get().elapsed() < SILENCE {
            return None;
        }
        let how = lost(&self.dom0, &self.name);
        self.last.set(Instant::now());
        how
    }

    /// Ends the session of `link` if the guest is silent and was lost.
    fn look(&self, link: &Link) {
        if link.silent_for() >= SILENCE {
            if let Some(how) = self.lost() {
                link.end(&how);
            }
        }
    }

    /// Ends the session of `link` when the emulator has lost the guest.
    pub(crate) fn guard(self, link: Link) {
        thread::spawn(move || {
            while !link.is_closed() {
                thread::sleep(Duration::from_secs(1));
                self.look(&link);
            }
        });
    }
}

/// Looks out, in dom0, for the first sign that a guest has ended.
pub(crate) struct Watch {
    job: Job,
    looks: Looks,
}

impl Watch {
    /// Starts to look. It costs dom0 nothing until there is something to see.
    pub(crate) fn start(dom0: &Domain, name: &str) -> Result<Watch> {
        // xl's own log of the domain, and what the guest's kernel says at its end.
        let script = format!(
            "tail -qF -n +1 /var/log/xen/xl-{name}.log /run/companion/{name}.serial 2>/dev/null | \
             grep -a -m 1 -B 2 -A {LAST_LINES} --line-buffered -E '{SIGNS}'"
        );
        Ok(Watch {
            job: dom0.spawn(&["sh".into(), "-c".into(), script], false)?,
            looks: Looks::new(dom0, name),
        })
    }

    /// The sign, if there is one by now or comes within `limit`.
    pub(crate) fn ended(&self, limit: Duration) -> Option<String> {
        match self.job.next(limit) {
            Ok(Some(JobEvent::Out(1, bytes))) => Some(told(&String::from_utf8_lossy(&bytes))),
            _ => None,
        }
    }

    /// Ends the session of `link` when the guest ends, or when the emulator has lost it: what waits for an answer need
    /// not wait longer.
    pub(crate) fn guard(self, link: Link) {
        thread::spawn(move || {
            while !link.is_closed() {
                match self.job.next(SILENCE) {
                    Ok(Some(JobEvent::Out(1, bytes))) => {
                        // The rest of what it has to say is slow on its way through the serial port, and has an end.
                        let mut words = bytes;
                        while let Ok(Some(JobEvent::Out(1, more))) = self.job.next(LAST_WORDS) {
                            words.extend(more);
                        }
                        let words = String::from_utf8_lossy(&words);
                        link.end(&format!("the guest is at its end: {}", told(&words)));
                    }
                    Ok(None) => self.looks.look(&link),
                    Ok(Some(JobEvent::Out(..))) => {}
                    _ => break,
                }
            }
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // tail does not notice that nobody reads.
        self.job.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_comes_with_the_cause_in_one_line() {
        let words = "\
[  193.4] BUG: TASK stack guard page was hit at 00000000a0c6c0e5
[  193.4] note: something else
[  193.5] Oops: stack guard page: 0000 [#1] SMP NOPTI
[  193.5] CPU: 0 UID: 0 PID: 12 Comm: kworker
[  193.5] RIP: 0010:submit+0x12/0x400 [oxen_blkfront]
[  193.5] Call Trace:
[  193.5]  <TASK>
[  193.5]  queue_rq+0x1/0x2 [oxen_blkfront]
";
        assert_eq!(
            told(words),
            "[  193.5] Oops: stack guard page: 0000 [#1] SMP NOPTI | \
             BUG: TASK stack guard page was hit at 00000000a0c6c0e5 | \
             RIP: 0010:submit+0x12/0x400 [oxen_blkfront] | queue_rq+0x1/0x2 [oxen_blkfront]"
        );
        assert_eq!(told(" Domain 3 has shut down\n"), "Domain 3 has shut down");
    }
}
