// SPDX-License-Identifier: GPL-2.0

//! The client's end of a session with an agent.

use agent::{line, Data, Reply, Request, CHUNK};
use anyhow::{bail, Context, Result};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// How often a greeting is repeated to an agent that has not answered.
const GREETING: Duration = Duration::from_secs(5);

/// How often a job looks after the session that it ends with.
const LOOK: Duration = Duration::from_millis(500);

/// What becomes of a job.
#[derive(Debug)]
pub enum JobEvent {
    /// Output: file descriptor and bytes.
    Out(u8, Vec<u8>),
    /// The program's exit code.
    Exit(i32),
    /// It could not be started.
    Failed(String),
}

struct Routes {
    jobs: HashMap<u64, Sender<JobEvent>>,
    /// When a job was started or the agent was heard, whichever was last.
    heard: Instant,
    greeted: Option<(String, Sender<()>)>,
    closed: bool,
    /// Why, when it is known.
    why: Option<String>,
}

impl Routes {
    fn why(&self) -> &str {
        self.why
            .as_deref()
            .unwrap_or("the agent's connection broke")
    }
}

/// A session with one agent. Clones share it.
#[derive(Clone)]
pub struct Link {
    stream: Arc<Mutex<TcpStream>>,
    routes: Arc<Mutex<Routes>>,
    next: Arc<AtomicU64>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Link {
    /// A session with the agent of dom0, whose TCP port is forwarded to `port` here.
    ///
    /// # Errors
    ///
    /// When no agent answers within `limit`.
    pub fn dom0(port: u16, limit: Duration) -> Result<Link> {
        Self::greet(dial(port)?, limit, || None)
    }

    /// A session with the agent of a guest, through the UNIX socket `path` in dom0.
    ///
    /// # Errors
    ///
    /// When dom0 has no such socket, or the guest's agent does not answer within `limit` or before `ended` says why it
    /// will not.
    pub(crate) fn guest(
        port: u16,
        path: &str,
        limit: Duration,
        ended: impl Fn() -> Option<String>,
    ) -> Result<Link> {
        let mut stream = dial(port)?;
        stream.write_all(&line(&Request::Tunnel { path: path.into() }))?;
        stream.set_read_timeout(Some(limit))?;
        // Byte by byte: what follows this answer already belongs to the guest.
        loop {
            let mut answer = Vec::new();
            let mut byte = [0];
            while !answer.ends_with(b"\n") {
                if stream
                    .read(&mut byte)
                    .context("no answer to a tunnel request")?
                    == 0
                {
                    bail!("dom0's agent closed the connection");
                }
                answer.push(byte[0]);
            }
            match serde_json::from_slice(&answer) {
                Ok(Reply::Tunnelled) => break,
                Ok(Reply::Failed { why, .. }) => bail!("{why}"),
                _ => continue,
            }
        }
        stream.set_read_timeout(None)?;
        Self::greet(stream, limit, ended)
    }

    fn greet(
        stream: TcpStream,
        limit: Duration,
        ended: impl Fn() -> Option<String>,
    ) -> Result<Link> {
        let reader = stream.try_clone()?;
        let nonce = format!("{}-{:?}", std::process::id(), Instant::now());
        let (greeted, answer) = mpsc::channel();
        let link = Link {
            stream: Arc::new(Mutex::new(stream)),
            routes: Arc::new(Mutex::new(Routes {
                jobs: HashMap::new(),
                heard: Instant::now(),
                greeted: Some((nonce.clone(), greeted)),
                closed: false,
                why: None,
            })),
            next: Arc::new(AtomicU64::new(1)),
        };
        let routes = link.routes.clone();
        thread::spawn(move || receive(reader, &routes));
        let deadline = Instant::now() + limit;
        loop {
            link.send(&Request::Hello {
                nonce: nonce.clone(),
            })?;
            let left = deadline.saturating_duration_since(Instant::now());
            match answer.recv_timeout(left.min(GREETING)) {
                Ok(()) => return Ok(link),
                Err(RecvTimeoutError::Disconnected) => bail!("the agent closed the connection"),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    bail!("the agent did not answer within {} s", limit.as_secs())
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(why) = ended() {
                bail!("{why}");
            }
        }
    }

    fn send(&self, request: &Request) -> Result<()> {
        locked(&self.stream)
            .write_all(&line(request))
            .context("the agent's connection is gone")
    }

    /// Whether the other end has gone.
    pub fn is_closed(&self) -> bool {
        locked(&self.routes).closed
    }

    /// How long no job has started nor anything been heard while there are jobs.
    pub(crate) fn silent_for(&self) -> Duration {
        let routes = locked(&self.routes);
        if routes.jobs.is_empty() {
            return Duration::ZERO;
        }
        routes.heard.elapsed()
    }

    /// Why the session has ended, if it has.
    pub(crate) fn ended(&self) -> Option<String> {
        let routes = locked(&self.routes);
        routes.closed.then(|| routes.why().into())
    }

    /// Starts a program; with `pty` on a terminal of its own.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn spawn(&self, argv: &[String], pty: bool) -> Result<Job> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = mpsc::channel();
        {
            let mut routes = locked(&self.routes);
            if routes.closed {
                bail!("{}", routes.why());
            }
            routes.jobs.insert(id, sender);
            routes.heard = Instant::now();
        }
        self.send(&Request::Exec {
            id,
            argv: argv.to_vec(),
            pty,
        })?;
        Ok(Job {
            id,
            link: self.clone(),
            beside: None,
            events: Mutex::new(events),
        })
    }

    /// Ends the session, and says why to what still waits.
    pub(crate) fn end(&self, why: &str) {
        locked(&self.routes).why = Some(why.into());
        self.close();
    }

    /// Ends the session.
    pub fn close(&self) {
        locked(&self.stream).shutdown(Shutdown::Both).ok();
    }
}

/// A program that an agent runs.
pub struct Job {
    id: u64,
    link: Link,
    /// Another session, after whose end nothing is waited for any more.
    beside: Option<Link>,
    events: Mutex<Receiver<JobEvent>>,
}

impl Job {
    /// From now on nobody waits for the job any more when the session `other` has ended.
    pub(crate) fn ends_with(&mut self, other: Link) {
        self.beside = Some(other);
    }

    /// The next thing that happens to it, or `None` when nothing does within `limit`.
    ///
    /// # Errors
    ///
    /// When the connection is gone, or the session that it ends with.
    pub fn next(&self, limit: Duration) -> Result<Option<JobEvent>> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let look = if self.beside.is_some() { LOOK } else { left };
            match locked(&self.events).recv_timeout(left.min(look)) {
                Ok(event) => return Ok(Some(event)),
                Err(RecvTimeoutError::Disconnected) => bail!("{}", locked(&self.link.routes).why()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(why) = self.beside.as_ref().and_then(Link::ended) {
                bail!("{why}");
            }
            if left <= look {
                return Ok(None);
            }
        }
    }

    /// Feeds its input.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(CHUNK) {
            self.link.send(&Request::In {
                id: self.id,
                data: Data(chunk.to_vec()),
            })?;
        }
        Ok(())
    }

    /// Ends its input.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn eof(&self) -> Result<()> {
        self.link.send(&Request::Eof { id: self.id })
    }

    /// Kills it, with all its children.
    pub fn kill(&self) {
        self.link.send(&Request::Kill { id: self.id }).ok();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        locked(&self.link.routes).jobs.remove(&self.id);
    }
}

fn dial(port: u16) -> Result<TcpStream> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))
        .context("the companion does not answer: is it running?")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn receive(reader: TcpStream, routes: &Mutex<Routes>) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(1..) => {}
            _ => break,
        }
        let Ok(reply) = serde_json::from_slice::<Reply>(&line) else {
            continue;
        };
        let mut routes = locked(routes);
        routes.heard = Instant::now();
        match reply {
            Reply::Hello { nonce } => {
                if let Some((ours, greeted)) = &routes.greeted {
                    if *ours == nonce {
                        greeted.send(()).ok();
                    }
                }
            }
            // Until our greeting is answered this is the tail of an earlier session, but its ids
            // are then not in `jobs` either.
            Reply::Out { id, fd, data } => {
                if let Some(job) = routes.jobs.get(&id) {
                    job.send(JobEvent::Out(fd, data.0)).ok();
                }
            }
            Reply::Exit { id, code } => {
                if let Some(job) = routes.jobs.remove(&id) {
                    job.send(JobEvent::Exit(code)).ok();
                }
            }
            Reply::Failed { id, why } => {
                if let Some(job) = routes.jobs.remove(&id) {
                    job.send(JobEvent::Failed(why)).ok();
                }
            }
            Reply::Tunnelled => {}
        }
    }
    let mut routes = locked(routes);
    routes.closed = true;
    routes.jobs.clear();
    routes.greeted = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A session with an agent that greets and does nothing else.
    fn silent() -> Link {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let mut lines = BufReader::new(stream.try_clone()?).lines();
            while let Some(Ok(text)) = lines.next() {
                if let Ok(Request::Hello { nonce }) = serde_json::from_str(&text) {
                    stream.write_all(&line(&Reply::Hello { nonce }))?;
                }
            }
            std::io::Result::Ok(())
        });
        Link::dom0(port, Duration::from_secs(30)).expect("a session")
    }

    #[test]
    fn a_job_ends_with_the_session_beside_it() {
        let (dom0, guest) = (silent(), silent());
        let mut job = dom0.spawn(&["sleep".into()], false).expect("started");
        job.ends_with(guest.clone());
        assert!(matches!(job.next(Duration::from_millis(1)), Ok(None)));
        guest.end("the guest is at its end: Kernel panic");
        let why = job.next(Duration::from_secs(60)).expect_err("given up");
        assert_eq!(why.to_string(), "the guest is at its end: Kernel panic");
        assert_eq!(dom0.ended(), None);
    }
}
