// SPDX-License-Identifier: GPL-2.0

//! The agent that runs commands in the control domain (over TCP) and in a guest (over a virtual
//! serial port), for the companion. It needs no driver of ours.
//!
//! `agent tcp` serves any number of connections; `agent virtio NAME` serves the virtual
//! serial port of that name, one client after the other.

mod job;
mod session;
mod stream;

use anyhow::{bail, Context, Result};
use std::net::TcpListener;
use std::thread;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["tcp"] => serve_tcp(),
        ["virtio", name] => serve_port(&stream::virtio_port(name)?),
        ["device", path] => serve_port(path),
        _ => bail!("usage: agent tcp | virtio NAME | device PATH"),
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
