// SPDX-License-Identifier: GPL-2.0

//! `agent monotonic SECONDS [--skew]`: no CPU may see a time before the one that another CPU has just told it.
//!
//! For each two CPUs there are two threads, one on each, that hand the time to and fro. Beside them every CPU has other
//! work. With `--skew` one side's clock is a millisecond behind, which has to be noticed: an error is what is hoped for
//! then.

use crate::clock;
use anyhow::{bail, Context, Result};
use std::hint;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::Mutex;
use std::thread::{self, Thread};
use std::time::Duration;

/// The clocks that are looked at.
const CLOCKS: [(&str, libc::clockid_t); 2] = [
    ("CLOCK_MONOTONIC", libc::CLOCK_MONOTONIC),
    ("CLOCK_REALTIME", libc::CLOCK_REALTIME),
];
/// How far behind a skewed clock is.
const SKEW: i64 = 1_000_000;
/// Looks at the ball before a thread lies down: the other CPU may be about to hand it over, or not be running at all.
const SPINS: u32 = 2000;

/// What a pair hands to and fro.
#[derive(Default)]
struct Ball {
    /// Whose turn it is: 0 or 1.
    holder: AtomicUsize,
    times: [AtomicI64; CLOCKS.len()],
    players: [Mutex<Option<Thread>>; 2],
    passes: AtomicU64,
}

impl Ball {
    /// Waits until it is the turn of `side`. Gives false when there is no more to come.
    fn wait(&self, side: usize, over: &AtomicBool) -> bool {
        let mut spins = 0;
        while self.holder.load(Ordering::Acquire) != side {
            if over.load(Ordering::Relaxed) {
                return false;
            }
            if spins < SPINS {
                spins += 1;
                hint::spin_loop();
            } else {
                thread::park_timeout(Duration::from_millis(100));
            }
        }
        !over.load(Ordering::Relaxed)
    }

    fn pass(&self, side: usize) {
        self.passes.fetch_add(1, Ordering::Relaxed);
        self.holder.store(1 - side, Ordering::Release);
        let other = self.players[1 - side].lock();
        if let Some(other) = other.unwrap_or_else(|bad| bad.into_inner()).as_ref() {
            other.unpark();
        }
    }

    /// One side's part, until it is over or a clock goes back.
    fn play(&self, side: usize, behind: i64, over: &AtomicBool) -> Result<()> {
        *self.players[side]
            .lock()
            .unwrap_or_else(|bad| bad.into_inner()) = Some(thread::current());
        while self.wait(side, over) {
            for (time, (name, id)) in self.times.iter().zip(CLOCKS) {
                let told = time.load(Ordering::Relaxed);
                let now = clock::now(id)? - behind;
                if now < told {
                    bail!("{name} went back by {} ns", told - now);
                }
                time.store(now, Ordering::Relaxed);
            }
            self.pass(side);
        }
        Ok(())
    }
}

/// Ties this thread to a CPU.
pub fn pin(cpu: usize) -> Result<()> {
    // SAFETY: A CPU set is plain data, for which all zeroes is the empty one; it lives through the call.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if done != 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("agent: CPU {cpu}"));
    }
    Ok(())
}

/// The CPUs that this process may run on.
pub fn cpus() -> Result<Vec<usize>> {
    // SAFETY: As above.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return Err(std::io::Error::last_os_error()).context("agent: CPUs");
        }
        Ok((0..libc::CPU_SETSIZE as usize)
            .filter(|cpu| libc::CPU_ISSET(*cpu, &set))
            .collect())
    }
}

/// Runs it.
pub fn run(seconds: u64, skew: bool) -> Result<()> {
    let cpus = cpus()?;
    let pairs: Vec<(usize, usize)> = cpus
        .iter()
        .enumerate()
        .flat_map(|(n, a)| cpus.iter().skip(n + 1).map(move |b| (*a, *b)))
        .collect();
    if pairs.is_empty() {
        bail!("agent: there is only one CPU, and time is handed over between two");
    }
    let balls: Vec<Ball> = pairs.iter().map(|_| Ball::default()).collect();
    let over = AtomicBool::new(false);
    let wrong: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let main = thread::current();
    let note = |why: anyhow::Error| {
        wrong
            .lock()
            .unwrap_or_else(|bad| bad.into_inner())
            .push(format!("{why:#}"));
        over.store(true, Ordering::Relaxed);
        main.unpark();
    };
    thread::scope(|scope| {
        for ((a, b), ball) in pairs.iter().zip(&balls) {
            for (side, cpu) in [*a, *b].into_iter().enumerate() {
                let (over, note) = (&over, &note);
                scope.spawn(move || {
                    let behind = if skew && side == 1 { SKEW } else { 0 };
                    let done = pin(cpu).and_then(|()| ball.play(side, behind, over));
                    if let Err(why) = done {
                        note(why.context(format!("CPU {cpu} of {a} and {b}")));
                    }
                });
            }
        }
        for _ in &cpus {
            scope.spawn(|| load(&over));
        }
        thread::park_timeout(Duration::from_secs(seconds));
        over.store(true, Ordering::Relaxed);
    });
    let wrong = wrong.into_inner().unwrap_or_else(|bad| bad.into_inner());
    if let Some(first) = wrong.first() {
        bail!("{first}");
    }
    for ((a, b), ball) in pairs.iter().zip(&balls) {
        let passes = ball.passes.load(Ordering::Relaxed);
        println!("CPUs {a} and {b}: the time was handed over {passes} times");
        if passes < 2 {
            bail!("agent: CPUs {a} and {b} were not compared");
        }
    }
    Ok(())
}

/// Work for a CPU, with pauses.
fn load(over: &AtomicBool) {
    let mut sum = 1_u64;
    while !over.load(Ordering::Relaxed) {
        for n in 0..200_000_u64 {
            sum = hint::black_box(sum.rotate_left(7) ^ n);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skewed_clock_is_noticed() {
        let over = AtomicBool::new(false);
        let ball = Ball::default();
        let ahead = clock::now(libc::CLOCK_MONOTONIC).expect("a clock") + 3_600_000_000_000;
        ball.times[0].store(ahead, Ordering::Relaxed);
        let told = ball.play(0, 0, &over).expect_err("time from the future");
        assert!(
            told.to_string().contains("CLOCK_MONOTONIC went back"),
            "{told}"
        );
    }
}
