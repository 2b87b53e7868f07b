// SPDX-License-Identifier: GPL-2.0

//! The agent's streams: virtual serial ports, and pipes between two streams.

use anyhow::{bail, Context, Result};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for a virtual serial port that the kernel has not found yet.
const PORT_WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks at a port that has no other end.
const IDLE: Duration = Duration::from_millis(30);

/// The device of the virtual serial port called `name`.
pub fn virtio_port(name: &str) -> Result<String> {
    let deadline = Instant::now() + PORT_WAIT;
    loop {
        for entry in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
            .flatten()
        {
            let found = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if found.trim() == name {
                return Ok(format!("/dev/{}", entry.file_name().to_string_lossy()));
            }
        }
        if Instant::now() > deadline {
            bail!("agent: no virtual serial port is called {name}");
        }
        thread::sleep(IDLE);
    }
}

/// A port as two independent ends.
pub fn open_port(path: &str) -> Result<(Port, Port)> {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("agent: open {path}"))?;
    Ok((Port(file.try_clone()?), Port(file)))
}

/// A virtual serial port. It has no end of file: without a client it is only silent.
pub struct Port(File);

impl Read for Port {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buf) {
                Ok(0) => thread::sleep(IDLE),
                other => return other,
            }
        }
    }
}

impl Write for Port {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies both ways between `client` and the socket or device at `path`, until one side ends.
pub fn tunnel(path: &str, client: &TcpStream, ready: impl FnOnce() -> Result<()>) -> Result<()> {
    let is_socket = {
        use std::os::unix::fs::FileTypeExt;
        fs::metadata(path)
            .with_context(|| format!("agent: {path}"))?
            .file_type()
            .is_socket()
    };
    if is_socket {
        let socket = UnixStream::connect(path).with_context(|| format!("agent: connect {path}"))?;
        ready()?;
        let (mut from, mut to) = (client.try_clone()?, socket.try_clone()?);
        thread::spawn(move || {
            io::copy(&mut from, &mut to).ok();
            to.shutdown(Shutdown::Both).ok();
        });
        io::copy(&mut &socket, &mut &*client).ok();
    } else {
        let mut device = File::options().read(true).write(true).open(path)?;
        ready()?;
        let (mut from, mut to) = (client.try_clone()?, device.try_clone()?);
        thread::spawn(move || {
            io::copy(&mut from, &mut to).ok();
        });
        io::copy(&mut device, &mut &*client).ok();
    }
    client.shutdown(Shutdown::Both).ok();
    Ok(())
}
