// SPDX-License-Identifier: GPL-2.0

//! One byte to and fro over TCP: `agent echo` sends it back, `agent measure echo` counts the round trips.

use crate::trips::round_trips;
use anyhow::{Context, Result};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::thread;

/// TCP port on which it is sent back.
const PORT: u16 = 7779;

/// Sends back each byte that comes, on any number of connections.
pub fn serve() -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).context("agent: listen")?;
    for connection in listener.incoming() {
        let connection = connection?;
        thread::spawn(move || answer(connection));
    }
    Ok(())
}

fn answer(mut connection: TcpStream) -> Result<()> {
    connection.set_nodelay(true)?;
    let mut token = [0];
    while connection.read(&mut token)? == 1 {
        connection.write_all(&token)?;
    }
    Ok(())
}

/// Round trips to the machine at that address.
pub fn measure(duration: u32, address: &str) -> Result<Value> {
    ask(duration, (address, PORT)).with_context(|| format!("agent: echo at {address}"))
}

fn ask(duration: u32, address: impl ToSocketAddrs) -> Result<Value> {
    let mut server = TcpStream::connect(address)?;
    server.set_nodelay(true)?;
    let mut token = [0];
    round_trips(duration, None, move || {
        server.write_all(&token)?;
        server.read_exact(&mut token)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_counted() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("its number");
        let server = thread::spawn(move || answer(listener.accept().expect("a client").0));
        let said = ask(1, address).expect("an echo");
        assert!(said["units"].as_u64() > Some(0) && said["seconds"].as_f64() >= Some(1.0));
        // The client is gone, which ends it.
        server.join().expect("no panic").expect("no error");
    }

    #[test]
    fn nobody_answers() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("its number");
        let server = thread::spawn(move || drop(listener.accept()));
        assert!(ask(0, address).is_err());
        server.join().expect("no panic");
    }
}
