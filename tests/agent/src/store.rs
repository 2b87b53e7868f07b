// SPDX-License-Identifier: GPL-2.0

//! `agent store HOW`: a program that uses `/dev/xen/xenbus` badly. It says what it was answered, then `ready`, and stays
//! until it is killed.

mod page;

use anyhow::{bail, ensure, Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;

const DEVICE: &str = "/dev/xen/xenbus";

// `enum xsd_sockmsg_type` of Xen's `io/xs_wire.h`.
const READ: u32 = 2;
const WATCH: u32 = 4;
const TRANSACTION_START: u32 = 6;
const WRITE: u32 = 11;
const WATCH_EVENT: u32 = 15;
const ERROR: u32 = 16;
const UNKNOWN: u32 = 4711;

/// Runs it.
pub fn run(how: &[&str]) -> Result<()> {
    match *how {
        ["page"] => never_read_to_the_end()?,
        ["deaf"] => deaf()?,
        ["watches", count] => watches(count.parse()?)?,
        ["transactions", count] => return transactions(count.parse()?),
        ["die"] => die()?,
        ["polite"] => return polite(),
        ["ask", kind, body] => return ask_once(kind.parse()?, body),
        _ => bail!(
            "usage: agent store page | deaf | watches COUNT | transactions COUNT | die | polite \
             | ask KIND BODY"
        ),
    }
    Ok(())
}

fn open(flags: i32) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(DEVICE)
        .context(DEVICE)
}

/// Says that the abuse is under way, and stays.
fn stay() -> ! {
    println!("ready");
    loop {
        thread::park();
    }
}

fn message(kind: u32, transaction: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(0);
    let mut bytes = Vec::new();
    for word in [kind, 1, transaction, length] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

/// Reads the next message that is no event.
fn reply(file: &mut File) -> Result<(u32, Vec<u8>)> {
    loop {
        let mut head = [0; 16];
        file.read_exact(&mut head).context("the head of a reply")?;
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = usize::try_from(word(12))?;
        ensure!(length <= 4096, "a reply of {length} bytes");
        let mut body = vec![0; length];
        file.read_exact(&mut body).context("the body of a reply")?;
        if word(0) != WATCH_EVENT {
            return Ok((word(0), body));
        }
    }
}

/// Makes a request. Gives the body of the answer, or the name of the error.
fn ask(
    file: &mut File,
    kind: u32,
    transaction: u32,
    body: &[u8],
) -> Result<Result<Vec<u8>, String>> {
    file.write_all(&message(kind, transaction, body))
        .context("a request")?;
    Ok(match reply(file)? {
        (ERROR, error) => Err(String::from_utf8_lossy(&error)
            .trim_end_matches('\0')
            .to_owned()),
        (answered, body) => {
            ensure!(answered == kind, "{kind} was answered by {answered}");
            Ok(body)
        }
    })
}

/// Reads into a page that never comes, while events and replies for the file arrive.
fn never_read_to_the_end() -> Result<()> {
    let mut file = open(0)?;
    let answer = ask(&mut file, WATCH, 0, b"data/page\0token\0")?;
    ensure!(answer.is_ok(), "a watch: {answer:?}");
    let page = page::Missing::new()?;
    let address = page.address();
    let mut reader = file.try_clone()?;
    thread::spawn(move || page::read_into(&mut reader, address));
    page.wait_for_reader()?;
    for _ in 0..3 {
        let answer = ask(&mut open(0)?, WRITE, 0, b"data/page\0x")?;
        ensure!(answer.is_ok(), "a write: {answer:?}");
    }
    file.write_all(&message(READ, 0, b"domid\0"))?;
    stay()
}

/// Never reads its replies and events.
fn deaf() -> Result<()> {
    let mut file = open(0)?;
    file.write_all(&message(WATCH, 0, b"data/deaf\0token\0"))?;
    for sent in 0..100_000 {
        if let Err(error) = file.write_all(&message(WRITE, 0, b"data/deaf\0x")) {
            println!("refused after {sent}: {}", name(&error));
            stay();
        }
    }
    bail!("100000 replies wait to be read");
}

fn name(error: &Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOBUFS) => "ENOBUFS".into(),
        Some(libc::EAGAIN) => "EAGAIN".into(),
        _ => error.to_string(),
    }
}

fn watches(count: u32) -> Result<()> {
    let mut file = open(0)?;
    let (mut made, mut refused) = (0, Vec::new());
    for number in 0..count {
        let body = format!("data/watch/{number}\0token\0");
        match ask(&mut file, WATCH, 0, body.as_bytes())? {
            Ok(_) => made += 1,
            Err(error) => refused.push(error),
        }
    }
    refused.dedup();
    println!("{made} watches, then {}", refused.join(" "));
    stay()
}

/// As many clients, each in a transaction of its own.
fn transactions(count: usize) -> Result<()> {
    let mut files = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..count {
        let mut file = open(0)?;
        match ask(&mut file, TRANSACTION_START, 0, b"\0")? {
            Ok(_) => files.push(file),
            Err(error) => refused.push(error),
        }
    }
    refused.dedup();
    println!("{} transactions, then {}", files.len(), refused.join(" "));
    stay()
}

/// Is killed while the server begins a transaction for it.
fn die() -> Result<()> {
    let mut file = open(0)?;
    file.write_all(&message(TRANSACTION_START, 0, b"\0"))?;
    // SAFETY: `raise` has no requirements.
    unsafe { libc::raise(libc::SIGKILL) };
    bail!("a SIGKILL was survived");
}

/// One request, and how it was answered.
fn ask_once(kind: u32, body: &str) -> Result<()> {
    let answer = ask(&mut open(0)?, kind, 0, format!("{body}\0").as_bytes())?;
    println!(
        "{:?}",
        answer.map(|body| String::from_utf8_lossy(&body).into_owned())
    );
    Ok(())
}

/// What a program may count on: no waiting with O_NONBLOCK, and requests of any kind reach the server.
fn polite() -> Result<()> {
    let mut file = open(libc::O_NONBLOCK)?;
    let read = file.read(&mut [0; 16]).map_err(|error| error.kind());
    ensure!(read == Err(ErrorKind::WouldBlock), "a read: {read:?}");
    file.write_all(&message(READ, 0, b"domid\0"))?;
    page::wait_readable(&file)?;
    let (kind, body) = reply(&mut file)?;
    ensure!(kind == READ && !body.is_empty(), "a reply: {kind} {body:?}");
    let unknown = ask(&mut open(0)?, UNKNOWN, 0, b"x\0")?;
    println!("an unknown command: {unknown:?}");
    Ok(())
}
