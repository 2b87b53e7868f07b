// SPDX-License-Identifier: GPL-2.0

//! Small measurements of what every program pays for in a guest: the clock, a wake-up, a timer, a message.
//!
//! Each prints one line of JSON with `units` and `seconds`, and marks in Xen's trace where it began and ended. None
//! reads the clock more often than it has to: in some guests that is the dearest part.

use crate::echo;
use crate::trips::{joined, now, pin, round_trips, seconds};
use agent::marks;
use anyhow::{bail, ensure, Result};
use serde_json::{json, Value};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::sync::{Arc, Barrier};
use std::thread;

/// How long a sleeper of `wake` sleeps, in nanoseconds.
const NAP: i64 = 1_000_000;

/// `clock SECONDS`, `pipe SECONDS CPU CPU`, `wake SECONDS THREADS` or `echo SECONDS ADDRESS`.
pub fn run(args: &[&str]) -> Result<()> {
    let result = match *args {
        ["clock", seconds] => clock(seconds.parse()?),
        ["pipe", seconds, one, other] => pipe(seconds.parse()?, one.parse()?, other.parse()?)?,
        ["wake", seconds, threads] => wake(seconds.parse()?, threads.parse()?)?,
        ["echo", seconds, address] => echo::measure(seconds.parse()?, address)?,
        _ => bail!(
            "usage: agent measure clock SECONDS | pipe SECONDS CPU CPU | wake SECONDS THREADS | echo SECONDS ADDRESS"
        ),
    };
    println!("{result}");
    Ok(())
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
    let echo = thread::spawn(move || -> Result<()> {
        pin(other)?;
        let mut token = [0];
        while there_out.read(&mut token)? == 1 {
            back_in.write_all(&token)?;
        }
        Ok(())
    });
    let mut token = [0];
    // The asking end goes with this, and its pipe's end is the answering one's.
    let asked = round_trips(duration, Some(one), move || {
        there_in.write_all(&token)?;
        back_out.read_exact(&mut token)?;
        Ok(())
    })?;
    joined(echo)?;
    Ok(asked)
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
