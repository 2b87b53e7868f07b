// SPDX-License-Identifier: GPL-2.0

//! A panic: its last words on the console, then Xen is told.

use abi::{
    console::{
        patience::Patience,
        Ring,
        OUT_SIZE, //
    },
    hypercall::sched::Reason,
    shared::Memory,
    types::Port, //
};
use kernel::prelude::*;
use linux::{
    hvc,
    power::panic::{
        self,
        AtPanic, //
    },
};
use xen_core::{
    hypercall::{
        event,
        hvm,
        sched, //
    },
    Param,
    ToolstackPage, //
};

/// Bytes of the log that go to a console which the kernel does not print on: a panic with its call trace takes half of it.
const LAST_WORDS: usize = 4096;

/// What is done at the end of a panic.
pub(crate) struct Crash {
    console: Option<ToolstackPage>,
    buffer: KVec<u8>,
}

impl Crash {
    /// Takes the memory that is needed then.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            // A toolstack need not make a console.
            console: xen_core::toolstack_page(Param::ConsolePfn).ok(),
            buffer: KVec::from_elem(0, LAST_WORDS, GFP_KERNEL)?,
        })
    }
}

impl AtPanic for Crash {
    fn end(&mut self) {
        if let Some(page) = &self.console {
            // The index that a driver keeps is in the page, too, and no CPU is left to change it.
            if let Some(ring) = Ring::attach(page.memory()) {
                let mut console = Console {
                    ring,
                    patience: Patience::new(),
                };
                if !panic::is_printed_on(c"hvc") {
                    for line in panic::last_lines(&mut self.buffer).split(|byte| *byte == b'\n') {
                        console.write(line);
                        console.write(b"\r\n");
                    }
                }
                console.drain();
            }
        }
        let _ = sched::shutdown(Reason::Crash);
    }
}

/// The primary console, for somebody who cannot wait for an event.
struct Console<M> {
    ring: Ring<M>,
    patience: Patience,
}

impl<M: Memory> Console<M> {
    /// Writes, as long as the backend makes room.
    fn write(&mut self, mut bytes: &[u8]) {
        while let (false, Ok(written)) = (bytes.is_empty(), self.ring.write(bytes)) {
            self.patience.written(written.try_into().unwrap_or(0));
            bytes = bytes.get(written..).unwrap_or_default();
            if written == 0 && !self.pause() {
                break;
            }
        }
    }

    /// Waits until all is read: the toolstack may destroy the domain as soon as it knows.
    fn drain(&mut self) {
        while self.ring.room().is_ok_and(|room| room < OUT_SIZE) && self.pause() {}
    }

    /// Has the backend look, and waits a little; tells whether to go on.
    fn pause(&mut self) -> bool {
        if !self.patience.is_left() || !self.ring.is_served() {
            return false;
        }
        let start = hvc::clock();
        let port = hvm::param(Param::ConsoleEvtchn);
        if let Some(port) = port.ok().and_then(|port| u32::try_from(port).ok()) {
            let _ = event::send(Port(port));
        }
        sched::yield_cpu();
        let waited = hvc::clock().saturating_sub(start) / 1000;
        self.patience.waited(waited.max(1));
        true
    }
}
