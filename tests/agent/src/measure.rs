// SPDX-License-Identifier: GPL-2.0

//! Small measurements of what every program pays for in a guest: the clock, a wake-up, a timer.
//!
//! Each prints one line of JSON with `units` and `seconds`, and marks in Xen's trace where it began and ended. None
//! reads the clock more often than it has to: in some guests that is the dearest part.

use agent::marks;
use anyhow::{bail, ensure, Context, Result};
use serde_json::{json, Value};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Barrier};
use std::thread;
use std::time::Duration;

/// How long a sleeper of `wake` sleeps, in nanoseconds.
const NAP: i64 = 1_000_000;
/// Round trips before the count begins, so that both ends are where they belong.
const WARM_UP: u64 = 20;

/// `clock SECONDS`, `pipe SECONDS CPU CPU` or `wake SECONDS THREADS`.
pub fn run(args: &[&str]) -> Result<()> {
    let result = match *args {
        ["clock", seconds] => clock(seconds.parse()?),
        ["pipe", seconds, one, other] => pipe(seconds.parse()?, one.parse()?, other.parse()?)?,
        ["wake", seconds, threads] => wake(seconds.parse()?, threads.parse()?)?,
        _ => {
            bail!(
                "usage: agent measure clock SECONDS | pipe SECONDS CPU CPU | wake SECONDS THREADS"
            )
        }
    };
    println!("{result}");
    Ok(())
}

/// The time by the clock that programs use, in nanoseconds.
fn now() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn seconds(nanoseconds: i64) -> f64 {
    // CAST: Exact up to a hundred days.
    nanoseconds as f64 / 1e9
}

/// As many readings of the clock as there is time for.
fn clock(duration: u32) -> Value {
    marks::leave(marks::BEGIN);
    let begin = now();
    let deadline = begin + i64::from(duration) * 1_000_000_000;
    let mut calls = 1u64;
    let end = loop {
        let time = now();
        calls += 1;
        if time >= deadline {
            break time;
        }
    };
    marks::leave(marks::END);
    json!({ "units": calls, "seconds": seconds(end - begin) })
}

/// A token through one pipe and back through another, between two threads.
fn pipe(duration: u32, one: usize, other: usize) -> Result<Value> {
    let (mut there_out, mut there_in) = new_pipe()?;
    let (mut back_out, mut back_in) = new_pipe()?;
    let stop = Arc::new(AtomicBool::new(false));

    let echo = thread::spawn(move || -> Result<()> {
        pin(other)?;
        let mut token = [0];
        while there_out.read(&mut token)? == 1 {
            back_in.write_all(&token)?;
        }
        Ok(())
    });
    let asked = stop.clone();
    let (begun, wait) = mpsc::channel();
    let ask = thread::spawn(move || -> Result<(u64, i64)> {
        pin(one)?;
        let mut token = [0];
        let mut trip = || -> Result<()> {
            there_in.write_all(&token)?;
            back_out.read_exact(&mut token)?;
            Ok(())
        };
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
    // The asking end goes first, and its pipe's end is the answering one's.
    let asked = joined(ask)?;
    joined(echo)?;
    Ok(json!({ "units": asked.0, "seconds": seconds(asked.1) }))
}

/// Threads that sleep for a millisecond again and again, and how much too late they wake up.
fn wake(duration: u32, threads: usize) -> Result<Value> {
    ensure!(threads > 0, "wake: no thread, no wake-up");
    let start = Arc::new(Barrier::new(threads + 1));
    let sleepers: Vec<_> = (0..threads)
        .map(|_| {
            let start = start.clone();
            thread::spawn(move || -> Result<Vec<i64>> {
                start.wait();
                nap(duration)
            })
        })
        .collect();
    marks::leave(marks::BEGIN);
    let begin = now();
    start.wait();
    let mut late = Vec::new();
    for sleeper in sleepers {
        late.extend(joined(sleeper)?);
    }
    let end = now();
    marks::leave(marks::END);
    late.sort_unstable();
    let at = |part: usize| late.get(late.len() * part / 1000).copied().unwrap_or(0) / 1000;
    Ok(json!({
        "units": late.len(),
        "seconds": seconds(end - begin),
        "late_us": { "median": at(500), "p99": at(990), "max": late.last().map_or(0, |ns| ns / 1000) },
    }))
}

/// Sleeps until `duration` seconds are over; gives how late each wake-up was, in nanoseconds.
fn nap(duration: u32) -> Result<Vec<i64>> {
    let request = libc::timespec {
        tv_sec: 0,
        tv_nsec: NAP,
    };
    let mut time = now();
    let deadline = time + i64::from(duration) * 1_000_000_000;
    let mut late = Vec::new();
    while time < deadline {
        // SAFETY: `request` outlives the call, and no remaining time is asked for.
        let failed = unsafe {
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &request, std::ptr::null_mut())
        };
        ensure!(
            failed == 0,
            "clock_nanosleep: {}",
            io::Error::from_raw_os_error(failed)
        );
        let woken = now();
        late.push(woken - time - NAP);
        time = woken;
    }
    Ok(late)
}

/// Keeps the calling thread on one CPU.
fn pin(cpu: usize) -> Result<()> {
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

/// The end to read from, and the end to write to.
fn new_pipe() -> Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for both descriptors and outlives the call.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: Both were just opened and nobody else owns them.
    Ok(unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) })
}

fn joined<T>(thread: thread::JoinHandle<Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("a measuring thread panicked"),
    }
}
