// SPDX-License-Identifier: GPL-2.0

//! `agent sleepers SECONDS THREADS`: threads that sleep for a millisecond, over and over, in turn on all CPUs. Prints how
//! often they woke up in all, the thread that did least often, and the longest lateness.

use crate::clock;
use crate::monotonic::{cpus, pin};
use anyhow::{bail, Result};
use std::thread;

const NAP: i64 = 1_000_000;

/// What one thread saw.
struct Seen {
    woken: u64,
    latest: i64,
}

/// Runs it.
pub fn run(seconds: u64, threads: usize) -> Result<()> {
    let cpus = cpus()?;
    let end = clock::now(libc::CLOCK_MONOTONIC)? + i64::try_from(seconds)? * 1_000_000_000;
    let sleepers: Vec<_> = (0..threads)
        .map(|n| {
            let cpu = cpus[n % cpus.len()];
            thread::spawn(move || sleep_until(end, cpu))
        })
        .collect();
    let (mut woken, mut fewest, mut latest) = (0, u64::MAX, 0);
    for sleeper in sleepers {
        let Ok(seen) = sleeper.join() else {
            bail!("agent: a sleeper died");
        };
        let seen = seen?;
        woken += seen.woken;
        fewest = fewest.min(seen.woken);
        latest = latest.max(seen.latest);
    }
    println!(
        "{woken} wake-ups, fewest {fewest} in a thread, latest {} us",
        latest / 1000
    );
    Ok(())
}

fn sleep_until(end: i64, cpu: usize) -> Result<Seen> {
    pin(cpu)?;
    let mut seen = Seen {
        woken: 0,
        latest: 0,
    };
    loop {
        let due = clock::now(libc::CLOCK_MONOTONIC)? + NAP;
        let time = libc::timespec {
            tv_sec: due / 1_000_000_000,
            tv_nsec: due % 1_000_000_000,
        };
        // SAFETY: `time` lives through the call, and nothing is asked for about the rest of the sleep.
        let done = unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                libc::TIMER_ABSTIME,
                &time,
                std::ptr::null_mut(),
            )
        };
        let late = clock::now(libc::CLOCK_MONOTONIC)? - due;
        if done != 0 || late < 0 {
            bail!("agent: a sleeper woke up {late} ns late, with error {done}");
        }
        seen.woken += 1;
        seen.latest = seen.latest.max(late);
        if due > end {
            return Ok(seen);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sleepers_wake_up_in_time() {
        super::run(1, 3).expect("sleepers");
    }
}
