// SPDX-License-Identifier: GPL-2.0

//! The first console, which the toolstack makes for every guest: its page and port are parameters of the domain.

use crate::line::Line;
use abi::{
    console::Ring,
    shared::RawMemory,
    types::Port, //
};
use core::ops::Deref;
use evtchn::{
    Channel,
    Event,
    Handler,
    Listener, //
};
use kernel::{
    debugfs,
    fmt,
    prelude::*,
    sync::Arc, //
};
use linux::hvc::{
    self,
    Terminal, //
};
use xen_core::{
    hypercall,
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

/// What the event channel calls.
struct OnEvent {
    line: Arc<PrimaryLine>,
    terminal: Terminal,
}

impl Handler for OnEvent {
    fn event(&self, event: Event) {
        if self.line.event(event) {
            hvc::kick(&self.terminal);
        }
    }
}

/// The primary console, up. Drop hangs up its users; the page keeps what was not read yet.
#[pin_data(PinnedDrop)]
pub(crate) struct Primary {
    /// First to go, and the terminal with it: after that nothing uses the page.
    _listener: Listener<OnEvent>,
    #[pin]
    _counters: debugfs::File<Arc<PrimaryLine>>,
    _dir: debugfs::Dir,
    line: Arc<PrimaryLine>,
}

#[pinned_drop]
impl PinnedDrop for Primary {
    fn drop(self: Pin<&mut Self>) {
        // The port is unmasked before it is left, for whoever uses it next.
        self.line.release_event();
    }
}

fn show(line: &Arc<PrimaryLine>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    line.show(f)
}

impl Primary {
    /// Takes the console up; kernel messages so far are printed on it if it is the console.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the toolstack made none.
    pub(crate) fn new() -> Result<Pin<KBox<Self>>> {
        let page = ConsolePage(xen_core::toolstack_page(Param::ConsolePfn)?);
        let port = hypercall::hvm::param(Param::ConsoleEvtchn)?;
        let port = u32::try_from(port).map_err(|_| ENODEV)?;
        if port == 0 {
            return Err(ENODEV);
        }
        let port = Port(port);
        let channel = Channel::adopt(port)?;
        let ring = Ring::attach(page).ok_or(EINVAL)?;
        let line = Arc::pin_init(Line::new(ring, port), GFP_KERNEL)?;
        let terminal = Terminal::new(0, line.clone())?;
        let handler = OnEvent {
            line: line.clone(),
            terminal,
        };
        let listener = Listener::new(
            channel,
            fmt!("oxen-console"),
            Arc::new(handler, GFP_KERNEL)?,
        )?;
        KBox::pin_init(
            try_pin_init!(Self {
                _listener: listener,
                _dir: xen_core::debugfs_dir(c"console").ok_or(ENODEV)?,
                _counters <- _dir.read_callback_file(c"primary", line.clone(), &show),
                line,
            }? Error),
            GFP_KERNEL,
        )
    }
}
