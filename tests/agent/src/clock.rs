// SPDX-License-Identifier: GPL-2.0

//! Reading clocks, and comparing one with another machine's: `agent clock serve` and `agent clock compare`.

use anyhow::{bail, Context, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

/// TCP port on which a clock is served.
const PORT: u16 = 7778;
/// Tries, and when to be content with what they gave.
const TRIES: u32 = 20;
const CLOSE: i64 = 5_000_000;
const ENOUGH: Duration = Duration::from_secs(60);

/// Nanoseconds on the kernel's clock of this id.
pub fn now(clock: libc::clockid_t) -> Result<i64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` lives through the call.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return Err(std::io::Error::last_os_error()).context("agent: clock_gettime");
    }
    Ok(time.tv_sec * 1_000_000_000 + time.tv_nsec)
}

/// Says, for each byte that comes, what time it is.
pub fn serve() -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).context("agent: listen")?;
    for connection in listener.incoming() {
        let mut connection = connection?;
        connection.set_nodelay(true)?;
        while let Ok(1) = connection.read(&mut [0]) {
            connection.write_all(&now(libc::CLOCK_REALTIME)?.to_be_bytes())?;
        }
    }
    Ok(())
}

/// One look at the other clock: ours before and after, and what it said in between.
struct Look {
    before: i64,
    theirs: i64,
    after: i64,
}

impl Look {
    fn trip(&self) -> i64 {
        self.after - self.before
    }

    /// How far ours is ahead, within half the round trip.
    fn apart(&self) -> i64 {
        self.before + self.trip() / 2 - self.theirs
    }
}

/// Prints by how many nanoseconds a clock of ours is ahead of the other machine's, and over which round trip that was
/// seen: the shortest of several. The clock is the system's or, if named, that of a PTP device.
pub fn compare(address: &str, device: Option<&str>) -> Result<()> {
    let file = device.map(File::open).transpose().context("agent: clock")?;
    let clock = file.as_ref().map_or(libc::CLOCK_REALTIME, |file| {
        // As the kernel's FD_TO_CLOCKID.
        (!file.as_raw_fd() << 3) | 3
    });
    let mut server = dial(address)?;
    server.set_nodelay(true)?;
    let begin = Instant::now();
    let mut best: Option<Look> = None;
    let mut tries = 0;
    while begin.elapsed() < ENOUGH {
        let mut theirs = [0; 8];
        let before = now(clock)?;
        server.write_all(&[0])?;
        server.read_exact(&mut theirs)?;
        let look = Look {
            before,
            theirs: i64::from_be_bytes(theirs),
            after: now(clock)?,
        };
        if best.as_ref().is_none_or(|best| look.trip() < best.trip()) {
            best = Some(look);
        }
        tries += 1;
        if tries >= TRIES && best.as_ref().is_some_and(|best| best.trip() < CLOSE) {
            break;
        }
    }
    let Some(best) = best else {
        bail!("agent: no answer from the other clock");
    };
    println!("{} {}", best.apart(), best.trip());
    Ok(())
}

/// The server may just be starting.
fn dial(address: &str) -> Result<TcpStream> {
    let begin = Instant::now();
    loop {
        match TcpStream::connect((address, PORT)) {
            Ok(stream) => return Ok(stream),
            Err(_) if begin.elapsed() < ENOUGH => thread::sleep(Duration::from_millis(200)),
            Err(why) => return Err(why).context("agent: no clock is served"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_middle_of_the_trip() {
        let look = Look {
            before: 1000,
            theirs: 1100,
            after: 1200,
        };
        assert_eq!((look.trip(), look.apart()), (200, 0));
        let ahead = Look {
            before: 5000,
            after: 5200,
            ..look
        };
        assert_eq!(ahead.apart(), 4000);
    }

    #[test]
    fn clocks_that_are_not_there_are_errors() {
        assert!(now(libc::CLOCK_REALTIME).is_ok());
        assert!(now(999).is_err());
    }
}
