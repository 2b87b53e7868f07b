// SPDX-License-Identifier: GPL-2.0

//! The first console, which the toolstack makes for every guest: its page and port are parameters of the domain.

use crate::{
    counters::Source,
    line::{
        Line,
        Link, //
    }, //
};
use abi::{
    console::Ring,
    shared::RawMemory,
    types::Port, //
};
use core::ops::Deref;
use evtchn::{
    Channel,
    Listener, //
};
use kernel::{
    debugfs, new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use linux::hvc::{
    self,
    Terminal, //
};
use xen_core::{
    hypercall,
    resume::{
        Registration,
        Resume,
        Stage,
        Wake, //
    },
    Param,
    ToolstackPage, //
};

/// The toolstack's page as the memory of a ring.
struct ConsolePage(ToolstackPage);

impl Deref for ConsolePage {
    type Target = RawMemory;

    fn deref(&self) -> &RawMemory {
        self.0.memory()
    }
}

type PrimaryLine = Line<ConsolePage>;

/// The event channel, of the present domain.
#[pin_data]
struct Wire {
    line: Arc<PrimaryLine>,
    #[pin]
    listener: Mutex<Option<Listener<PrimaryLine>>>,
}

impl Wire {
    fn new(line: Arc<PrimaryLine>) -> Result<Arc<Self>> {
        let listener = listen(&line)?;
        Arc::pin_init(
            pin_init!(Self {
                line,
                listener <- new_mutex!(Some(listener), "oxen_console_wire"),
            }),
            GFP_KERNEL,
        )
    }
}

impl Resume for Wire {
    /// Messages of the kernel go out from here on.
    fn resume(&self, wake: Wake) {
        if wake == Wake::Resumed {
            // Nothing hears of messages without one.
            self.line.renew(port().unwrap_or(Port(0)));
        }
    }

    fn late(&self, wake: Wake) {
        if wake == Wake::Resumed {
            let former = self.listener.lock().take();
            drop(former);
            self.line.release_event();
            match listen(&self.line) {
                Ok(listener) => *self.listener.lock() = Some(listener),
                Err(error) => pr_err!(
                    "the console has no event channel any more ({error:?}): it takes no input\n"
                ),
            }
            hvc::kick();
        }
    }
}

/// The port that the toolstack has made.
///
/// # Errors
///
/// `ENODEV` if it made none.
fn port() -> Result<Port> {
    match u32::try_from(hypercall::hvm::param(Param::ConsoleEvtchn)?) {
        Ok(port @ 1..) => Ok(Port(port)),
        _ => Err(ENODEV),
    }
}

fn listen(line: &Arc<PrimaryLine>) -> Result<Listener<PrimaryLine>> {
    Listener::new(Channel::adopt(port()?)?, fmt!("oxen-console"), line.clone())
}

/// The primary console, up. Drop hangs up its users; the page keeps what was not read yet.
#[pin_data(PinnedDrop)]
pub(crate) struct Primary {
    _again: Registration,
    /// First to go, and then the terminal: after that nothing uses the page.
    _wire: Arc<Wire>,
    _terminal: Terminal,
    #[pin]
    _counters: debugfs::File<Source<PrimaryLine>>,
    _dir: debugfs::Dir,
    line: Arc<PrimaryLine>,
}

#[pinned_drop]
impl PinnedDrop for Primary {
    fn drop(self: Pin<&mut Self>) {
        // The port is unmasked before it is left, for its next user.
        drop(self.line.disconnect());
    }
}

impl Primary {
    /// Takes the console up; kernel messages so far are printed on it if it is the console.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the toolstack made none.
    pub(crate) fn new() -> Result<Pin<KBox<Self>>> {
        let page = ConsolePage(xen_core::toolstack_page(Param::ConsolePfn)?);
        let port = port()?;
        let ring = Ring::attach(page).ok_or(EINVAL)?;
        let line = Arc::pin_init(Line::new(0), GFP_KERNEL)?;
        line.connect(Link::new(ring, port));
        let terminal = Terminal::new(0, line.clone())?;
        let wire = Wire::new(line.clone())?;
        KBox::pin_init(
            try_pin_init!(Self {
                _again: Registration::new(Stage::Devices, wire.clone())?,
                _wire: wire,
                _terminal: terminal,
                _dir: xen_core::debugfs_dir(c"console").ok_or(ENODEV)?,
                _counters <- _dir.read_only_file(c"primary", Source(line.clone())),
                line,
            }? Error),
            GFP_KERNEL,
        )
    }
}
