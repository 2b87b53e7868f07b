// SPDX-License-Identifier: GPL-2.0

//! Round trips, and what every measurement needs: the clock, a CPU, a thread.

use agent::marks;
use anyhow::{bail, ensure, Context, Result};
use serde_json::{json, Value};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

/// Round trips before the count begins, so that both ends are where they belong.
const WARM_UP: u64 = 20;

/// The time by the clock that programs use, in nanoseconds.
pub fn now() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// As much in seconds.
pub fn seconds(nanoseconds: i64) -> f64 {
    // CAST: Exact up to a hundred days.
    nanoseconds as f64 / 1e9
}

/// As many round trips as there is time for, made by a thread that may be kept on one CPU.
pub fn round_trips(
    duration: u32,
    cpu: Option<usize>,
    mut trip: impl FnMut() -> Result<()> + Send + 'static,
) -> Result<Value> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let (begun, wait) = mpsc::channel();
    let ask = thread::spawn(move || -> Result<(u64, i64)> {
        if let Some(cpu) = cpu {
            pin(cpu)?;
        }
        for _ in 0..WARM_UP {
            trip()?;
        }
        begun.send(()).ok();
        marks::leave(marks::BEGIN);
        let begin = now();
        let mut trips = 0;
        while !asked.load(Ordering::Relaxed) {
            trip()?;
            trips += 1;
        }
        let end = now();
        marks::leave(marks::END);
        Ok((trips, end - begin))
    });
    // An asking thread that failed has closed the channel, and says why below.
    if wait.recv().is_ok() {
        thread::sleep(Duration::from_secs(duration.into()));
    }
    stop.store(true, Ordering::Relaxed);
    let (trips, time) = joined(ask)?;
    Ok(json!({ "units": trips, "seconds": seconds(time), "warm_up": WARM_UP }))
}

/// Keeps the calling thread on one CPU.
pub fn pin(cpu: usize) -> Result<()> {
    ensure!(cpu < 1024, "there is no CPU {cpu}");
    // SAFETY: The set is plain data, for which all zeroes is a valid value; the number was checked, and the set
    // outlives the call.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set)
    };
    if done != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("CPU {cpu}"));
    }
    Ok(())
}

/// What the thread gave, once it has ended.
pub fn joined<T>(thread: thread::JoinHandle<Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("a measuring thread panicked"),
    }
}
