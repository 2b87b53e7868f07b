// SPDX-License-Identifier: GPL-2.0

//! `agent verify DEVICE MIB FILE`: writes to a disk and reads back, until FILE is there, past the page cache.
//!
//! Several threads do so at once, each in a part of its own, so each knows for every page what was written there last. In the
//! end all of it is read once more: what was acknowledged is there, and nothing else.

use anyhow::{bail, ensure, Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;

const THREADS: usize = 4;
const PAGE: usize = 4096;
/// Most pages of one request.
const MOST: usize = 16;

/// What direct I/O reads into and writes from.
#[derive(Clone)]
#[repr(align(4096))]
struct Page([u8; PAGE]);

/// A part of the disk.
struct Part {
    disk: File,
    first: usize,
    /// How often each page was written.
    written: Vec<u64>,
    buffer: Vec<Page>,
    random: u64,
    requests: u64,
}

/// Runs it.
pub fn run(device: &str, mib: usize, over: &Path) -> Result<()> {
    let pages = (mib << 20) / PAGE / THREADS;
    ensure!(pages >= MOST, "{mib} MiB are too few");
    let requests = thread::scope(|scope| {
        let parts: Vec<_> = (0..THREADS)
            .map(|at| scope.spawn(move || part(device, at * pages, pages, over)))
            .collect();
        parts
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|_| bail!("a thread panicked")))
            .sum::<Result<u64>>()
    })?;
    println!("{requests} requests");
    Ok(())
}

fn part(device: &str, first: usize, pages: usize, over: &Path) -> Result<u64> {
    let disk = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(device)
        .context(device.to_string())?;
    let mut part = Part {
        disk,
        first,
        written: vec![0; pages],
        buffer: vec![Page([0; PAGE]); MOST],
        random: first as u64 + 1,
        requests: 0,
    };
    while !over.exists() {
        let (at, count) = part.choose();
        part.write(at, count)?;
        let (at, count) = part.choose();
        part.check(at, count)?;
    }
    for at in (0..pages).step_by(MOST) {
        part.check(at, MOST.min(pages - at))?;
    }
    Ok(part.requests)
}

impl Part {
    /// Some pages, one after the other.
    fn choose(&mut self) -> (usize, usize) {
        let at = self.next() % self.written.len();
        let count = 1 + self.next() % MOST;
        (at, count.min(self.written.len() - at))
    }

    /// A random number, by Marsaglia's xorshift.
    fn next(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 8) as usize
    }

    fn seek(&mut self, at: usize) -> Result<()> {
        let place = (self.first + at) * PAGE;
        self.disk.seek(SeekFrom::Start(place as u64))?;
        self.requests += 1;
        Ok(())
    }

    fn write(&mut self, at: usize, count: usize) -> Result<()> {
        for (page, buffer) in (at..).zip(&mut self.buffer[..count]) {
            self.written[page] += 1;
            buffer.0 = content(self.first + page, self.written[page]);
        }
        self.seek(at)?;
        let slices: Vec<IoSlice<'_>> = self.buffer[..count]
            .iter()
            .map(|page| IoSlice::new(&page.0))
            .collect();
        let done = self
            .disk
            .write_vectored(&slices)
            .with_context(|| format!("{count} pages are not written at {}", self.first + at))?;
        ensure!(done == count * PAGE, "{done} bytes of {count} pages");
        Ok(())
    }

    fn check(&mut self, at: usize, count: usize) -> Result<()> {
        self.seek(at)?;
        let mut slices: Vec<IoSliceMut<'_>> = self.buffer[..count]
            .iter_mut()
            .map(|page| IoSliceMut::new(&mut page.0))
            .collect();
        let done = self
            .disk
            .read_vectored(&mut slices)
            .with_context(|| format!("{count} pages are not read at {}", self.first + at))?;
        ensure!(done == count * PAGE, "{done} bytes of {count} pages");
        for (page, buffer) in (at..).zip(&self.buffer[..count]) {
            let times = self.written[page];
            ensure!(
                times == 0 || buffer.0 == content(self.first + page, times),
                "page {} is not what was written to it the {times}. time",
                self.first + page
            );
        }
        Ok(())
    }
}

/// What a page has that was written so often.
fn content(page: usize, times: u64) -> [u8; PAGE] {
    let mut content = [0; PAGE];
    let number = ((page as u64) << 32) | times;
    for (word, bytes) in (0u64..).zip(content.chunks_exact_mut(8)) {
        bytes.copy_from_slice(&number.wrapping_mul(2 * word + 1).to_le_bytes());
    }
    content
}
