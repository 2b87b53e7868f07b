// SPDX-License-Identifier: GPL-2.0

//! The agent that runs commands in the control domain (over TCP) and in a guest (over a virtual
//! serial port), for the companion. It needs no driver of ours.
//!
//! `agent tcp` serves any number of connections; `agent virtio NAME` serves the virtual
//! serial port of that name, one client after the other. The others are what the tests have it do in a guest.

mod clock;
mod echo;
mod job;
mod kexec;
mod measure;
mod monotonic;
mod session;
mod sleepers;
mod store;
mod stream;
mod trips;
mod verify;

use anyhow::{bail, Context, Result};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["tcp"] => serve_tcp(),
        ["virtio", name] => serve_port(&stream::virtio_port(name)?),
        ["device", path] => serve_port(path),
        ["clock", "serve"] => clock::serve(),
        ["clock", "compare", address] => clock::compare(address, None),
        ["clock", "compare", address, device] => clock::compare(address, Some(device)),
        ["echo"] => echo::serve(),
        ["kexec", "now", kernel, initrd, line] => kexec::run(false, kernel, initrd, line),
        ["kexec", "crash", kernel, initrd, line] => kexec::run(true, kernel, initrd, line),
        ["measure", ref rest @ ..] => measure::run(rest),
        ["monotonic", seconds] => monotonic::run(seconds.parse()?, false),
        ["monotonic", seconds, "--skew"] => monotonic::run(seconds.parse()?, true),
        ["sleepers", seconds, threads] => sleepers::run(seconds.parse()?, threads.parse()?),
        ["store", ref how @ ..] => store::run(how),
        ["verify", device, mib, over] => verify::run(device, mib.parse()?, Path::new(over)),
        _ => bail!(
            "usage: agent tcp | virtio NAME | device PATH | clock serve | clock compare ADDRESS [DEVICE] | echo \
             | kexec now|crash KERNEL INITRD LINE | measure … | monotonic SECONDS [--skew] | sleepers SECONDS THREADS \
             | store HOW | verify DEVICE MIB FILE"
        ),
    }
}

fn serve_tcp() -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", agent::TCP_PORT)).context("agent: listen")?;
    for connection in listener.incoming() {
        let connection = connection?;
        connection.set_nodelay(true).ok();
        thread::spawn(move || {
            let reader = connection.try_clone()?;
            session::serve(
                Box::new(reader),
                Box::new(connection.try_clone()?),
                Some(connection),
            )
        });
    }
    Ok(())
}

fn serve_port(path: &str) -> Result<()> {
    let (reader, writer) = stream::open_port(path)?;
    session::serve(Box::new(reader), Box::new(writer), None)
}
