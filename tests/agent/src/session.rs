// SPDX-License-Identifier: GPL-2.0

//! A client's session: requests in, jobs started, replies out.

use crate::job::{send, Job, Out};
use crate::stream;
use agent::{Reply, Request};
use anyhow::Result;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

/// Serves one stream until it ends. What is still running then is killed.
pub fn serve(
    reader: Box<dyn Read + Send>,
    writer: Box<dyn Write + Send>,
    tcp: Option<TcpStream>,
) -> Result<()> {
    let mut session = Session {
        out: Arc::new(Mutex::new(writer)),
        jobs: HashMap::new(),
        nonce: String::new(),
    };
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        // A line that is no request is the rest of a client that died: skip it.
        let Ok(request) = serde_json::from_slice(&line) else {
            continue;
        };
        if let (Request::Tunnel { path }, Some(tcp)) = (&request, &tcp) {
            let out = session.out.clone();
            let done = stream::tunnel(path, tcp, || Ok(send(&out, &Reply::Tunnelled)?));
            if let Err(why) = done {
                send(
                    &session.out,
                    &Reply::Failed {
                        id: 0,
                        why: why.to_string(),
                    },
                )?;
                continue;
            }
            break;
        }
        session.answer(request)?;
    }
    Ok(())
}

struct Session {
    out: Out,
    jobs: HashMap<u64, Job>,
    nonce: String,
}

impl Session {
    fn answer(&mut self, request: Request) -> Result<()> {
        match request {
            Request::Hello { nonce } => {
                // A client that has to wait repeats its greeting.
                if nonce != self.nonce {
                    self.end_jobs();
                    self.nonce = nonce.clone();
                }
                send(&self.out, &Reply::Hello { nonce })?;
            }
            Request::Exec { id, argv, pty } => match Job::start(id, &argv, pty, &self.out) {
                Ok(job) => {
                    self.jobs.insert(id, job);
                }
                Err(why) => send(
                    &self.out,
                    &Reply::Failed {
                        id,
                        why: why.to_string(),
                    },
                )?,
            },
            Request::In { id, data } => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.write(&data.0);
                }
            }
            Request::Eof { id } => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.eof();
                }
            }
            Request::Kill { id } => {
                if let Some(job) = self.jobs.remove(&id) {
                    job.kill();
                }
            }
            Request::Tunnel { .. } => {
                let why = "agent: a tunnel needs a TCP connection".to_string();
                send(&self.out, &Reply::Failed { id: 0, why })?;
            }
        }
        Ok(())
    }

    fn end_jobs(&mut self) {
        for (_, job) in self.jobs.drain() {
            job.kill();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end_jobs();
    }
}
