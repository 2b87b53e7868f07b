// SPDX-License-Identifier: GPL-2.0

//! How a test steers a backend that runs: one line of words to a UNIX socket, one text back.

use anyhow::{bail, Context, Result};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long a client waits for the socket to be there, and for the answer.
const LIMIT: Duration = Duration::from_secs(80);

/// The socket.
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// Somebody who waits for an answer.
pub(crate) struct Asker(UnixStream);

impl Control {
    /// Makes the socket; one that is there already belongs to a backend that died.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        std::fs::remove_file(path).ok();
        let listener = UnixListener::bind(path).with_context(|| format!("{}", path.display()))?;
        Ok(Self {
            listener,
            path: path.into(),
        })
    }

    /// Becomes readable when somebody asks.
    pub(crate) fn fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// Takes one question.
    ///
    /// # Errors
    ///
    /// When the asker is gone.
    pub(crate) fn take(&self) -> Result<(Vec<String>, Asker)> {
        let (stream, _) = self.listener.accept()?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        let words = line.split_whitespace().map(String::from).collect();
        Ok((words, Asker(stream)))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

impl Asker {
    /// Answers: with a text, or with what went wrong.
    pub(crate) fn answer(mut self, answer: &Result<String>) {
        let text = match answer {
            Ok(text) => format!("ok {text}\n"),
            Err(why) => format!("no {why:#}\n"),
        };
        // Who does not wait for it does not get it.
        self.0.write_all(text.as_bytes()).ok();
    }
}

/// Asks the backend at the socket.
///
/// # Errors
///
/// When there is none for a while, and what it answers when it does not do it.
pub(crate) fn tell(path: &Path, words: &[String]) -> Result<String> {
    let deadline = Instant::now() + LIMIT;
    let mut stream = loop {
        match UnixStream::connect(path) {
            Ok(stream) => break stream,
            Err(why) if Instant::now() > deadline => {
                return Err(why).with_context(|| format!("no backend at {}", path.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    };
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("{}\n", words.join(" ")).as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", text)) => Ok(text.into()),
        Some(("no", why)) => bail!("{why}"),
        _ => bail!("the backend has ended: {answer:?}"),
    }
}
