// SPDX-License-Identifier: GPL-2.0

//! Does for one device what its [`Life`] decides, with what its driver supplies.

use abi::connection::{
    Attempts,
    Awaits,
    Backoff,
    Input,
    Life,
    Phase,
    State,
    Step, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};
use linux::{
    new_delayed_call,
    workqueue::delayed::DelayedCall, //
};

use super::{
    driver::Driver,
    publication::Publication, //
};
use crate::{
    bus::{
        device::Device,
        node::Instance, //
    },
    store::error::is_transient, //
};

/// How long a backend has for each of the two steps of closing a connection. The toolstack waits for 10 s.
const BACKEND_MS: u64 = 10_000;

/// How long a driver that leaves a device waits for it in all, with a xenstore that does not answer.
const REMOVE_MS: u64 = 60_000;

/// Steps taken in one go, at most; a connection that ends and begins anew needs seven.
const STEPS_MAX: u32 = 32;

/// A driver's hold on a device.
pub(crate) struct Engine<T: Driver> {
    dev: Device,
    driver: Arc<T>,
    life: Life,
    retired: Option<T::Retired>,
    attempts: Attempts,
    backoff: Backoff,
    /// When a step that failed is taken again.
    again_at: Option<u64>,
    /// What is waited for, and until when.
    awaited: Option<(Awaits, u64)>,
    /// An error is in the store.
    reported: bool,
    /// Whether the connection got along with few keys, when xenstored had no room for all.
    short: Option<bool>,
    born: Instant<Monotonic>,
    timer: Pin<KBox<DelayedCall<Device>>>,
}

impl<T: Driver> Engine<T> {
    pub(crate) fn bind(dev: &Device) -> Result<KBox<dyn Instance>> {
        let driver = T::probe(dev)?;
        let timer = new_timer()?;
        timer.start(Arc::new(dev.clone(), GFP_KERNEL)?);
        let instance: KBox<dyn Instance> = KBox::new(
            Self {
                dev: dev.clone(),
                driver,
                life: Life::new(dev.state(), T::PUBLISHED),
                retired: None,
                attempts: Attempts::new(),
                backoff: Backoff::new(),
                again_at: None,
                awaited: None,
                reported: false,
                short: None,
                born: Instant::now(),
                timer,
            },
            GFP_KERNEL,
        )?;
        Ok(instance)
    }

    fn now(&self) -> u64 {
        self.born.elapsed().as_millis().try_into().unwrap_or(0)
    }

    /// Takes in what has happened.
    fn observe(&mut self) {
        let now = self.now();
        let signal = self.dev.signal();
        if signal.has_vanished() {
            self.life.input(Input::Vanished);
        }
        if signal.take_resumed() {
            self.life.input(Input::Resumed);
            // The toolstack has ended the former connection, no fault has.
            self.attempts = Attempts::new();
            self.again_at = None;
        }
        if let Some(fault) = signal.take_fault() {
            dev_err!(
                self.dev.as_ref(),
                "{}; the connection is replaced\n",
                fault.text()
            );
            self.life.input(Input::Broken);
        }
        if signal.take_renewal() {
            // No fault of the backend's: it is not counted.
            self.attempts = Attempts::new();
            self.life.input(Input::Broken);
        }
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
        }
        self.observe_backend(now);
        match self.awaited {
            Some((awaits, until)) if until <= now && self.life.awaits() == Some(awaits) => {
                self.awaited = None;
                self.give_up_waiting(awaits);
            }
            _ => {}
        }
    }

    fn observe_backend(&mut self, now: u64) {
        // A device that is not there has no backend; a store that does not answer is given time.
        let signal = self.dev.signal();
        if self.life.has_vanished()
            || signal.is_lost()
            || self.again_at.is_some()
            || !signal.take_changed()
        {
            return;
        }
        match self.dev.read_otherend() {
            Ok((state, online)) => self.life.input(Input::Otherend { state, online }),
            Err(error) if is_transient(error) => {
                self.dev.signal().put_changed_back();
                self.try_again_later(now);
            }
            Err(_) => self.life.input(Input::Garbled),
        }
    }

    fn give_up_waiting(&mut self, awaits: Awaits) {
        match awaits {
            Awaits::Rest => self.life.input(Input::Rested),
            Awaits::Backend(_) => {
                dev_warn!(
                    self.dev.as_ref(),
                    "the backend stays in state {} and does not follow; what it has mapped is kept until it lets go\n",
                    self.dev.otherend_state().name()
                );
                self.life.input(Input::Overdue);
            }
        }
    }

    fn try_again_later(&mut self, now: u64) {
        self.again_at = Some(now.saturating_add(self.backoff.pause()));
    }

    /// Takes steps until there is something to wait for.
    fn advance(&mut self) {
        for _ in 0..STEPS_MAX {
            let step = self.life.next();
            let needs_store = matches!(
                step,
                Step::Publish | Step::Attach | Step::Write(_) | Step::Begin
            );
            if step == Step::Wait || (needs_store && self.again_at.is_some()) {
                break;
            }
            if step == Step::Begin && !self.may_begin() {
                continue;
            }
            match self.take(step) {
                Ok(()) => {
                    if needs_store {
                        self.backoff.succeeded();
                    }
                    self.life.done(step);
                }
                Err(error) => self.failed(step, error),
            }
        }
        self.update();
        self.set_timer();
    }

    /// Has the driver change its keys, if it wants to.
    fn update(&mut self) {
        let signal = self.dev.signal();
        let may = self.life.phase() == Phase::Attached && self.again_at.is_none();
        if !may || signal.has_vanished() || !signal.take_update() {
            return;
        }
        match self.driver.update(&self.dev) {
            Ok(()) => self.backoff.succeeded(),
            Err(error) if is_transient(error) => {
                self.dev.signal().put_update_back();
                let now = self.now();
                self.try_again_later(now);
            }
            Err(error) => dev_dbg!(self.dev.as_ref(), "update failed: {:?}\n", error),
        }
    }

    fn take(&mut self, step: Step) -> Result {
        let dev = &self.dev;
        match step {
            Step::Wait => {}
            Step::Publish => return self.publish(),
            Step::Attach => {
                self.driver.attach(dev)?;
                if core::mem::take(&mut self.reported) {
                    dev.unreport();
                }
            }
            Step::Refresh => self.driver.refresh(dev),
            Step::Write(state) => return dev.write_state(state, |_| Ok(())),
            Step::Flush => self.driver.flush(dev),
            Step::Retire => self.retired = self.driver.retire(dev),
            Step::Shut => {
                if let Some(retired) = self.retired.take() {
                    self.driver.shut(dev, retired);
                }
            }
            Step::End => self.driver.end(dev),
            Step::Begin => return dev.write_state(State::Initialising, |_| Ok(())),
        }
        Ok(())
    }

    /// Makes a connection and tells the backend. When that fails, the backend knows nothing of it.
    fn publish(&mut self) -> Result {
        let written = self.publish_keys(Publication::new(false))?;
        if written != Err(ENOSPC) {
            self.short = None;
            return written;
        }
        let written = self.publish_keys(Publication::new(true))?;
        let short = Some(written.is_ok());
        let told = self.short == short;
        match written {
            Ok(()) if !told => dev_warn!(
                self.dev.as_ref(),
                "xenstored has no room for all keys of the device: it has one queue and small rings\n"
            ),
            Err(ENOSPC) if !told => dev_err!(
                self.dev.as_ref(),
                "xenstored has no room for the keys of the device: it waits until the guest has fewer nodes there or may have more\n"
            ),
            Err(error) if error != ENOSPC => return written,
            _ => {}
        }
        self.short = short;
        written
    }

    /// Has the driver make a connection and writes its keys.
    ///
    /// # Errors
    ///
    /// Those of the driver; within, those of the store.
    fn publish_keys(&mut self, mut keys: Publication) -> Result<Result> {
        let made = self.driver.publish(&self.dev, &mut keys);
        let written = made.map(|()| {
            self.dev
                .write_state(T::PUBLISHED, |node| keys.write(node, T::is_own_key))
        });
        if written != Ok(Ok(())) {
            if let Some(retired) = self.driver.retire(&self.dev) {
                self.driver.shut(&self.dev, retired);
            }
        }
        written
    }

    /// Counts a connection that is about to begin; false when there were too many.
    fn may_begin(&mut self) -> bool {
        let may = self.attempts.another(self.now());
        if !may {
            dev_err!(
                self.dev.as_ref(),
                "gives up for a minute after {} connections within {} s\n",
                Attempts::MOST,
                Attempts::WINDOW_MS / 1000
            );
            self.life.input(Input::TooOften);
        }
        may
    }

    fn failed(&mut self, step: Step, error: Error) {
        if self.dev.signal().has_vanished() {
            self.life.input(Input::Vanished);
            return;
        }
        let final_steps = matches!(step, Step::Publish | Step::Attach);
        if final_steps && !is_transient(error) {
            self.dev.report(
                error,
                format_args!("the connection could not be made and is tried again in a minute"),
            );
            self.reported = true;
            self.life.input(Input::Failed);
            return;
        }
        dev_dbg!(self.dev.as_ref(), "{:?} failed: {:?}\n", step, error);
        let now = self.now();
        self.try_again_later(now);
    }

    /// Has the device looked at when the next thing that is waited for is due.
    fn set_timer(&mut self) {
        let now = self.now();
        let awaits = self.life.awaits();
        if self.awaited.map(|(awaited, _)| awaited) != awaits {
            self.awaited = awaits.map(|awaits| {
                let limit = match awaits {
                    Awaits::Backend(_) => BACKEND_MS,
                    Awaits::Rest => Attempts::REST_MS,
                };
                (awaits, now.saturating_add(limit))
            });
        }
        if let Some(at) = self.due() {
            let left = at.saturating_sub(now).saturating_add(1);
            self.timer.schedule(left.try_into().unwrap_or(u32::MAX));
        }
    }

    /// Returns when something is due, if anything is.
    fn due(&self) -> Option<u64> {
        let until = self.awaited.map(|(_, until)| until);
        match (until, self.again_at) {
            (Some(until), Some(again)) => Some(until.min(again)),
            (until, again) => until.or(again),
        }
    }
}

impl<T: Driver> Instance for Engine<T> {
    fn run(&mut self) {
        self.observe();
        self.advance();
    }

    fn remove(&mut self) {
        let limit = self.now().saturating_add(REMOVE_MS);
        self.life.input(Input::Remove);
        loop {
            let seen = self.dev.signal().count();
            self.run();
            if self.life.is_over() {
                break;
            }
            let now = self.now();
            if now >= limit {
                dev_warn!(
                    self.dev.as_ref(),
                    "the xenstore does not answer; the device is left without a word\n"
                );
                self.life.input(Input::Vanished);
                continue;
            }
            let until = self.due().unwrap_or(limit).min(limit);
            let left = until.saturating_sub(now).saturating_add(1);
            self.dev.signal().wait(
                seen,
                Delta::from_millis(left.try_into().unwrap_or(i64::MAX)),
            );
        }
        self.timer.stop();
        self.driver.remove(&self.dev);
    }
}

/// Not generic: its function stays in this module.
fn new_timer() -> Result<Pin<KBox<DelayedCall<Device>>>> {
    new_delayed_call!("oxen_xenbus_life", |dev: &Device| {
        dev.signal().kick();
        None
    })
}
