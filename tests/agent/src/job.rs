// SPDX-License-Identifier: GPL-2.0

//! One program that the agent runs for its client.

use agent::{line, Data, Reply, CHUNK};
use anyhow::Result;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// The one way out to the client, shared by all jobs of a session.
pub type Out = Arc<Mutex<Box<dyn Write + Send>>>;

/// Sends one message, whole.
pub fn send(out: &Out, reply: &Reply) -> io::Result<()> {
    let mut out = out.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    out.write_all(&line(reply))?;
    out.flush()
}

/// A running program: its process group, and the way into it.
pub struct Job {
    group: i32,
    input: Option<Box<dyn Write + Send>>,
}

impl Job {
    /// Starts `argv`; its output and its end are reported to `out` under `id`.
    pub fn start(id: u64, argv: &[String], pty: bool, out: &Out) -> Result<Job> {
        let Some((program, args)) = argv.split_first() else {
            anyhow::bail!("agent: empty command");
        };
        let mut command = Command::new(program);
        command.args(args);
        if pty {
            Self::on_terminal(id, command, out)
        } else {
            Self::on_pipes(id, command, out)
        }
    }

    fn on_pipes(id: u64, mut command: Command, out: &Out) -> Result<Job> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let input = child
            .stdin
            .take()
            .map(|pipe| Box::new(pipe) as Box<dyn Write + Send>);
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(forward(id, 1, pipe, out));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(forward(id, 2, pipe, out));
        }
        Ok(Self::watched(id, child, input, readers, out))
    }

    fn on_terminal(id: u64, mut command: Command, out: &Out) -> Result<Job> {
        let (master, slave) = open_pty()?;
        command
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave);
        // SAFETY: Between fork and exec the closure makes only the two system calls setsid and
        // ioctl, both async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            })
        };
        let child = command.spawn()?;
        // The command object holds the slave side open: the terminal would never hang up.
        drop(command);
        let reader = forward(id, 1, master.try_clone()?, out);
        Ok(Self::watched(
            id,
            child,
            Some(Box::new(master)),
            vec![reader],
            out,
        ))
    }

    fn watched(
        id: u64,
        mut child: Child,
        input: Option<Box<dyn Write + Send>>,
        readers: Vec<JoinHandle<()>>,
        out: &Out,
    ) -> Job {
        let group = child.id() as i32;
        let out = out.clone();
        thread::spawn(move || {
            let status = child.wait();
            // What a daemon left behind holds the pipe open: do not wait for it for ever.
            for _ in 0..40 {
                if readers.iter().all(JoinHandle::is_finished) {
                    break;
                }
                thread::sleep(std::time::Duration::from_millis(25));
            }
            let code = match status {
                Ok(status) => status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
                Err(_) => 255,
            };
            send(&out, &Reply::Exit { id, code }).ok();
        });
        Job { group, input }
    }

    /// Bytes for the program. A program that has closed its input loses them, as in a pipe.
    pub fn write(&mut self, data: &[u8]) {
        if let Some(input) = &mut self.input {
            if input.write_all(data).and_then(|()| input.flush()).is_err() {
                self.input = None;
            }
        }
    }

    /// End of input.
    pub fn eof(&mut self) {
        self.input = None;
    }

    /// Kills the program and its children.
    pub fn kill(&self) {
        // SAFETY: kill() takes two numbers and touches no memory.
        unsafe { libc::kill(-self.group, libc::SIGKILL) };
    }
}

fn forward(id: u64, fd: u8, mut from: impl Read + Send + 'static, out: &Out) -> JoinHandle<()> {
    let out = out.clone();
    thread::spawn(move || {
        let mut buf = vec![0; CHUNK];
        while let Ok(n @ 1..) = from.read(&mut buf) {
            let data = Data(buf.get(..n).unwrap_or_default().to_vec());
            if send(&out, &Reply::Out { id, fd, data }).is_err() {
                break;
            }
        }
    })
}

fn open_pty() -> Result<(File, OwnedFd)> {
    let master = File::options().read(true).write(true).open("/dev/ptmx")?;
    let mut number: libc::c_int = 0;
    let unlock: libc::c_int = 0;
    // SAFETY: Both requests take a pointer to an int that lives through the call.
    let done = unsafe {
        libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &unlock) == 0
            && libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &mut number) == 0
    };
    if !done {
        return Err(io::Error::last_os_error().into());
    }
    let name = std::ffi::CString::new(format!("/dev/pts/{number}"))?;
    // SAFETY: `name` is a NUL-terminated string that lives through the call.
    let slave = unsafe {
        libc::open(
            name.as_ptr(),
            libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC,
        )
    };
    if slave < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: `slave` was just opened and nobody else owns it.
    Ok((master, unsafe { OwnedFd::from_raw_fd(slave) }))
}
