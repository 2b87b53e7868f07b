// SPDX-License-Identifier: GPL-2.0

//! A further console: its keys, its page, and the words that steer it. Output goes to a file, input comes from files that
//! it is told of.

use crate::life::{Front, Service};
use crate::node::Keys;
use crate::xen::events::{Events, Port};
use crate::xen::grants::{Grants, Mapping};
use abi::console::keys;
use anyhow::{Context, Result};
use backend::console::script::Hostile;
use backend::console::BackConsole;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;

/// A console that a guest uses.
pub(crate) struct Channel {
    grants: Grants,
    events: Rc<Events>,
    domain: u16,
    output: File,
    link: Option<(BackConsole<Mapping>, Port)>,
    /// Input that has found no room yet.
    typed: VecDeque<u8>,
    /// Neither direction is served.
    hung: bool,
    received: u64,
    sent: u64,
    acts: u64,
}

impl Channel {
    /// Appends to the file `output`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub(crate) fn new(
        grants: Grants,
        events: Rc<Events>,
        domain: u16,
        output: &Path,
    ) -> Result<Self> {
        let output = File::options()
            .append(true)
            .create(true)
            .open(output)
            .with_context(|| format!("{}", output.display()))?;
        Ok(Self {
            grants,
            events,
            domain,
            output,
            link: None,
            typed: VecDeque::new(),
            hung: false,
            received: 0,
            sent: 0,
            acts: 0,
        })
    }

    /// Serves both directions.
    fn serve(&mut self) -> Result<()> {
        let Some((console, port)) = self.link.as_mut().filter(|_| !self.hung) else {
            return Ok(());
        };
        let taken = console.take();
        let put = console.put(self.typed.make_contiguous());
        self.typed.drain(..put);
        if !taken.is_empty() || put > 0 {
            self.events.notify(*port);
        }
        self.received += taken.len() as u64;
        self.sent += put as u64;
        self.output.write_all(&taken).context("the output file")
    }
}

impl Service for Channel {
    fn offer(&self) -> Keys {
        Vec::new()
    }

    fn described(&self) -> Keys {
        Vec::new()
    }

    fn connect(&mut self, front: &Front<'_>) -> Result<()> {
        let page = self.grants.map(&[front.needed(keys::RING_REF)?], true)?;
        let port = self.events.bind(self.domain, front.needed(keys::PORT)?)?;
        self.link = Some((BackConsole::new(page)?, port));
        self.serve()
    }

    fn disconnect(&mut self) {
        if let Some((_, port)) = self.link.take() {
            self.events.unbind(port);
        }
    }

    fn event(&mut self, _port: Port) -> Result<()> {
        self.serve()
    }

    fn ports(&self) -> Vec<Port> {
        self.link.iter().map(|(_, port)| *port).collect()
    }

    fn command(&mut self, words: &[&str]) -> Result<bool> {
        match *words {
            ["hang"] => self.hung = true,
            ["resume"] => {
                self.hung = false;
                self.serve()?;
            }
            // What a file has is typed.
            ["type", file] => {
                self.typed
                    .extend(std::fs::read(file).with_context(|| file.to_string())?);
                self.serve()?;
            }
            ["hostile", name] => {
                let hostile =
                    Hostile::by_name(name).with_context(|| format!("there is no script {name}"))?;
                let (console, port) = self.link.as_mut().context("no connection")?;
                console.act(hostile);
                self.events.notify(*port);
                self.acts += 1;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn counts(&self) -> String {
        format!(
            "received={} sent={} waiting={} acts={}",
            self.received,
            self.sent,
            self.typed.len(),
            self.acts
        )
    }
}
