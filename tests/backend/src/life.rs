// SPDX-License-Identifier: GPL-2.0

//! The life of a backend: offers, connects when the frontend has published, closes when it closes, and leaves when it
//! is told to. It can be told to do otherwise, too.

use crate::control::{Asker, Control};
use crate::node::{key, write_all, Keys, Node};
use crate::xen::events::{Events, Port};
use crate::xen::store::Store;
use abi::connection::State;
use anyhow::{bail, Context, Result};
use std::os::fd::RawFd;
use std::process;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a frontend has to close.
const GRACE: Duration = Duration::from_secs(60);

/// The program's exit code when it dies as a script says.
pub(crate) const DIED: i32 = 9;

/// Texts that are no states.
const NO_STATES: [&str; 8] = ["9", "banana", "", "-1", "4 ", "0x4", "99999999999", "+4"];

/// The frontend's keys, and what it was offered.
pub(crate) struct Front<'a> {
    store: &'a Store,
    folder: String,
    backend: String,
}

impl Front<'_> {
    /// Reads a key.
    ///
    /// # Errors
    ///
    /// Those of xenstored.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>> {
        self.store.now().read(&format!("{}/{name}", self.folder))
    }

    /// Reads a number.
    ///
    /// # Errors
    ///
    /// Those of xenstored, and when it is none.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>> {
        self.store.now().number(&format!("{}/{name}", self.folder))
    }

    /// Whether the backend has offered a feature: it may have been told to offer other ones than it has, and what is no
    /// number is no offer.
    ///
    /// # Errors
    ///
    /// Those of xenstored.
    pub(crate) fn was_offered(&self, name: &str) -> Result<bool> {
        let offered = self.store.now().read(&format!("{}/{name}", self.backend))?;
        Ok(offered.as_deref() == Some("1"))
    }

    /// Reads a number that has to be there.
    ///
    /// # Errors
    ///
    /// As [`Front::number`], and when it is not.
    pub(crate) fn needed(&self, name: &str) -> Result<u32> {
        self.number(name)?
            .with_context(|| format!("the frontend has no {name}"))
    }
}

/// What the kinds of devices do each in their own way.
pub(crate) trait Service {
    /// What is offered before the frontend publishes.
    fn offer(&self) -> Keys;
    /// What is told with the connection.
    fn described(&self) -> Keys;
    /// Takes up the rings that the frontend has published.
    fn connect(&mut self, front: &Front<'_>) -> Result<()>;
    /// Lets go of them.
    fn disconnect(&mut self);
    /// A port has fired.
    fn event(&mut self, port: Port) -> Result<()>;
    /// Ports of the connection.
    fn ports(&self) -> Vec<Port>;
    /// Another descriptor to watch.
    fn fd(&self) -> Option<RawFd> {
        None
    }
    /// It is readable.
    fn readable(&mut self) -> Result<()> {
        Ok(())
    }
    /// Does what is asked for. Returns whether it knows the word.
    fn command(&mut self, words: &[&str]) -> Result<bool>;
    /// What it has counted, as `NAME=NUMBER` words.
    fn counts(&self) -> String;
}

/// A backend and its device.
pub(crate) struct Life<S> {
    store: Store,
    events: Rc<Events>,
    control: Control,
    node: Node,
    service: S,
    state: State,
    /// Keys that differ from what the service offers or tells; without a value they are left out.
    overrides: Vec<(String, Option<String>)>,
    connections: u64,
    /// What the frontend's state was as we began anew: it says nothing about the new connection.
    stale: Option<State>,
    /// Closes, and then offers again.
    renew: bool,
    /// The frontend's state is not looked at.
    deaf: bool,
    storm: Option<Instant>,
    leaving: Option<(Instant, Asker)>,
}

impl<S: Service> Life<S> {
    pub(crate) fn new(
        store: Store,
        events: Rc<Events>,
        control: Control,
        node: Node,
        service: S,
        overrides: &[String],
    ) -> Result<Self> {
        let mut life = Self {
            store,
            events,
            control,
            node,
            service,
            state: State::Initialising,
            overrides: Vec::new(),
            connections: 0,
            stale: None,
            renew: false,
            deaf: false,
            storm: None,
            leaving: None,
        };
        life.change(overrides)?;
        Ok(life)
    }

    /// Serves the device to its end. With `adopt` the device is there already, left by a backend that died.
    ///
    /// # Errors
    ///
    /// When Xen or the xenstore fails.
    pub(crate) fn run(mut self, front: &Keys, back: &Keys, adopt: bool) -> Result<()> {
        if adopt {
            self.begin_anew()?;
        } else {
            self.node.create(&self.store, front, back)?;
            self.offer()?;
        }
        self.store
            .watch(&format!("{}/state", self.node.frontend()))?;
        loop {
            let [store, events, control, other] = self.wait()?;
            if store {
                while self.store.changed() {}
                if self.look()? {
                    return Ok(());
                }
            }
            if events {
                let port = self.events.take()?;
                if let Err(why) = self.service.event(port) {
                    eprintln!("backend: the frontend breaks the rules: {why:#}");
                }
            }
            if other {
                self.service.readable()?;
            }
            if control {
                match self.control.take() {
                    Ok((words, asker)) => {
                        self.obey(&words, asker);
                        // The frontend may have closed before.
                        if self.leaving.is_some() && self.look()? {
                            return Ok(());
                        }
                    }
                    Err(why) => eprintln!("backend: a question was lost: {why:#}"),
                }
            }
            self.blow();
            if self.is_overdue() {
                return self.leave(Err("the frontend does not close"));
            }
        }
    }

    /// Waits for something to do: in the store, a port, a question, the service's own.
    fn wait(&self) -> Result<[bool; 4]> {
        let fds = [
            self.store.fd(),
            self.events.fd(),
            self.control.fd(),
            // One that is negative is left out.
            self.service.fd().unwrap_or(-1),
        ];
        let mut polled = fds.map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
        let timeout = match (&self.storm, &self.leaving) {
            (Some(_), _) => 0,
            (_, Some(_)) => 1000,
            _ => -1,
        };
        // SAFETY: There are as many descriptors as said, and they outlive the call.
        let count =
            unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
        if count < 0 {
            return Err(std::io::Error::last_os_error()).context("poll");
        }
        Ok(polled.map(|fd| fd.revents != 0))
    }

    /// Events without work, while the storm lasts.
    fn blow(&mut self) {
        if let Some(end) = self.storm {
            for port in self.service.ports() {
                self.events.notify(port);
            }
            if Instant::now() > end {
                self.storm = None;
            }
        }
    }

    fn back(&self, name: &str) -> String {
        format!("{}/{name}", self.node.backend())
    }

    fn write_state(&mut self, state: State) -> Result<()> {
        self.state = state;
        self.store.now().write(&self.back("state"), state.as_text())
    }

    /// What is offered or told, as it was changed. Overrides that are in neither list go with the offer.
    fn changed(&self, keys: Keys, rest: bool) -> Keys {
        let told: Vec<String> = self
            .service
            .described()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let mut keys = keys;
        for (name, value) in &self.overrides {
            let known = keys.iter().any(|(known, _)| known == name);
            keys.retain(|(known, _)| known != name);
            if let Some(value) = value {
                if known || (rest && !told.contains(name)) {
                    keys.push(key(name, value));
                }
            }
        }
        keys
    }

    /// Offers, and waits for the frontend.
    fn offer(&mut self) -> Result<()> {
        let keys = self.changed(self.service.offer(), true);
        let left_out: Vec<String> = self
            .overrides
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| self.back(name))
            .collect();
        let folder = self.node.backend();
        self.store.transaction(|view| {
            left_out.iter().try_for_each(|name| view.remove(name))?;
            write_all(view, &folder, &keys)
        })?;
        self.write_state(State::InitWait)
    }

    /// As a backend that was just started, with a frontend that may still be connected to the one before.
    fn begin_anew(&mut self) -> Result<()> {
        self.stale = self.front_state()?;
        self.write_state(State::Initialising)?;
        self.offer()
    }

    /// The frontend's state; `None` when there is none, or nothing that is one.
    fn front_state(&self) -> Result<Option<State>> {
        let path = format!("{}/state", self.node.frontend());
        let text = self.store.now().read(&path)?;
        Ok(text.and_then(|text| State::parse(text.as_bytes()).ok()))
    }

    /// Takes up what the frontend has published.
    fn connect(&mut self) -> Result<()> {
        let front = Front {
            store: &self.store,
            folder: self.node.frontend(),
            backend: self.node.backend(),
        };
        if let Err(why) = self.service.connect(&front) {
            eprintln!("backend: no connection: {why:#}");
            self.service.disconnect();
            return self.write_state(State::Closing);
        }
        self.tell()?;
        self.connections += 1;
        self.write_state(State::Connected)
    }

    /// Writes what is told with a connection.
    fn tell(&self) -> Result<()> {
        let keys = self.changed(self.service.described(), false);
        let folder = self.node.backend();
        self.store
            .transaction(|view| write_all(view, &folder, &keys))
    }

    /// Follows the frontend's state. Returns whether this is the end.
    fn look(&mut self) -> Result<bool> {
        if self.deaf {
            return Ok(false);
        }
        let Some(state) = self.front_state()? else {
            // The toolstack took the device away, or the guest is gone.
            self.leave(Ok("the frontend was gone"))?;
            return Ok(true);
        };
        if self.stale == Some(state) && state != State::Initialising {
            return Ok(false);
        }
        self.stale = None;
        if self.renew && matches!(state, State::Initialising | State::Closed) {
            self.renew = false;
            self.stale = Some(state);
            self.write_state(State::Closed)?;
            self.offer()?;
            return Ok(false);
        }
        match (self.state, state) {
            (State::InitWait, State::Initialised | State::Connected) => self.connect()?,
            (State::InitWait | State::Connected, State::Closing) => {
                self.write_state(State::Closing)?;
            }
            (_, State::Closed) if self.leaving.is_some() => {
                self.leave(Ok("gone"))?;
                return Ok(true);
            }
            (State::InitWait | State::Connected | State::Closing, State::Closed) => {
                self.service.disconnect();
                self.write_state(State::Closed)?;
            }
            (State::Closed, State::Initialising) if self.leaving.is_none() => self.offer()?,
            _ => {}
        }
        Ok(false)
    }

    fn is_overdue(&self) -> bool {
        matches!(self.leaving, Some((deadline, _)) if Instant::now() > deadline)
    }

    /// Lets go of everything and removes the device.
    fn leave(&mut self, how: std::result::Result<&str, &'static str>) -> Result<()> {
        self.service.disconnect();
        self.node.remove(&self.store)?;
        if let Some((_, asker)) = self.leaving.take() {
            asker.answer(&how.map(String::from).map_err(anyhow::Error::msg));
        }
        Ok(())
    }

    fn obey(&mut self, words: &[String], asker: Asker) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if words == ["detach"] {
            let begun = self
                .store
                .now()
                .write(&self.back("online"), "0")
                .and_then(|()| self.write_state(State::Closing));
            match begun {
                Ok(()) => {
                    self.deaf = false;
                    self.leaving = Some((Instant::now() + GRACE, asker));
                }
                Err(why) => asker.answer(&Err(why)),
            }
            return;
        }
        if words == ["die"] {
            asker.answer(&Ok("dead".into()));
            process::exit(DIED);
        }
        asker.answer(&self.command(&words));
    }

    fn command(&mut self, words: &[&str]) -> Result<String> {
        let known = self.service.command(words)?;
        match *words {
            _ if known => {}
            ["status"] => {}
            // A key of ours, whatever the state.
            ["set", name, ref value @ ..] => {
                self.store.now().write(&self.back(name), &value.join(" "))?;
            }
            ["unset", name] => self.store.now().remove(&self.back(name))?,
            // A key of the frontend's that the toolstack writes.
            ["set-front", name, ref value @ ..] => {
                let path = format!("{}/{name}", self.node.frontend());
                self.store.now().write(&path, &value.join(" "))?;
            }
            // What is told with a connection once more, as after a change of size.
            ["tell"] => {
                self.tell()?;
                self.write_state(self.state)?;
            }
            // One value of a key after the other, each announced.
            ["announce", name, ref values @ ..] => {
                for value in values {
                    self.store.now().write(&self.back(name), value)?;
                    self.write_state(self.state)?;
                }
            }
            // States in any order, of which some are none. Then it begins anew.
            ["states", seed, count] => {
                self.wild_states(seed.parse()?, count.parse()?)?;
                self.service.disconnect();
                self.write_state(State::Closing)?;
                self.renew = true;
                self.look()?;
            }
            // As a backend that was started anew: with other features.
            ["restart", ref keys @ ..] => {
                let keys: Vec<String> = keys.iter().map(|key| (*key).into()).collect();
                self.change(&keys)?;
                self.service.disconnect();
                self.begin_anew()?;
            }
            ["storm", seconds] => {
                let lasts = Duration::from_secs_f32(seconds.parse()?);
                self.storm = Some(Instant::now() + lasts);
            }
            ["deaf"] => self.deaf = true,
            ["hear"] => {
                self.deaf = false;
                self.look()?;
            }
            _ => bail!("unknown: {}", words.join(" ")),
        }
        Ok(format!(
            "state={} connections={} {}",
            self.state.number(),
            self.connections,
            self.service.counts()
        ))
    }

    /// Overrides, as `KEY=VALUE` or `KEY` for one that is left out.
    fn change(&mut self, keys: &[String]) -> Result<()> {
        for text in keys {
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (text.as_str(), None),
            };
            anyhow::ensure!(!name.is_empty(), "{text:?} names no key");
            self.overrides.retain(|(known, _)| known != name);
            self.overrides.push((name.into(), value));
        }
        Ok(())
    }

    fn wild_states(&mut self, seed: u32, count: u32) -> Result<()> {
        let mut number = seed;
        for _ in 0..count {
            // The generator of Numerical Recipes; only its upper bits are any good.
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let chosen = (number >> 16) as usize;
            let text = match chosen % 12 {
                state @ 0..=8 => State::ALL[state].as_text(),
                _ => NO_STATES[(chosen / 12) % NO_STATES.len()],
            };
            self.store.now().write(&self.back("state"), text)?;
        }
        Ok(())
    }
}
