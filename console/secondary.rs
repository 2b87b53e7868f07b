// SPDX-License-Identifier: GPL-2.0

//! Further consoles, which the toolstack calls channels: what the connection of one is made of; the bus decides when.

use crate::{
    counters::Source,
    line::{
        Line,
        Link, //
    }, //
};
use abi::{
    connection::State,
    console::{
        keys,
        Ring, //
    }, //
};
use evtchn::{
    Channel,
    Listener, //
};
use grant_table::GrantedPages;
use kernel::{
    debugfs,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
    time::Delta, //
};
use linux::{
    fmt::Shown,
    hvc::{
        Terminal,
        MAX_TERMINALS, //
    }, //
};
use xenbus::{
    Device,
    Publication, //
};

type SecondaryLine = Line<GrantedPages>;

/// How long the backend has for the last output of a console that is detached. The toolstack waits for 10 s.
const GRACE: Delta = Delta::from_secs(2);

/// A console.
#[pin_data]
pub(crate) struct Frontend {
    number: u32,
    line: Arc<SecondaryLine>,
    #[pin]
    inner: Mutex<Inner>,
    counters: Option<Pin<KBox<debugfs::File<Source<SecondaryLine>>>>>,
}

/// What only the callbacks of the bus use.
struct Inner {
    /// It outlives the connections: a program that has it open notices nothing of a backend that is started anew.
    terminal: Option<Terminal>,
    listener: Option<Listener<SecondaryLine>>,
    /// The ring until the backend has connected.
    ring: Option<Ring<GrantedPages>>,
    /// The log was told that the terminal's device is taken.
    told: bool,
}

/// A connection that is not used any more.
pub(crate) struct Retired {
    /// Declared first: no event comes any more when the ring is taken down.
    _listener: Option<Listener<SecondaryLine>>,
    _ring: Option<Ring<GrantedPages>>,
    _link: Option<Link<GrantedPages>>,
}

impl Frontend {
    /// Makes the terminal, unless there is one.
    fn open(&self, device: &Device, inner: &mut Inner) -> Result {
        if inner.terminal.is_some() {
            return Ok(());
        }
        match Terminal::new(self.number, self.line.clone()) {
            Ok(terminal) => inner.terminal = Some(terminal),
            Err(error) => {
                if error == EBUSY && !core::mem::replace(&mut inner.told, true) {
                    dev_warn!(
                        device.as_ref(),
                        "waits for hvc{}, which another driver has, or a program that has not closed it since the last console\n",
                        self.number
                    );
                }
                return Err(error);
            }
        }
        inner.told = false;
        match device.read(keys::NAME) {
            Ok(name) => dev_info!(
                device.as_ref(),
                "hvc{} is channel {}\n",
                self.number,
                Shown(keys::Name(name.as_bytes()))
            ),
            Err(_) => dev_info!(device.as_ref(), "hvc{} has no name\n", self.number),
        }
        Ok(())
    }
}

impl xenbus::Driver for Frontend {
    const NAME: &'static CStr = c"oxen_console";
    const DEVICE_TYPES: &'static [&'static CStr] = &[c"console"];
    const PUBLISHED: State = State::Initialised;
    type Retired = Retired;

    fn is_own_key(key: &[u8]) -> bool {
        keys::is_frontend_key(key)
    }

    fn probe(device: &Device) -> Result<Arc<Self>> {
        let number = device.id()?;
        if number == 0 || usize::try_from(number)? >= MAX_TERMINALS {
            dev_err!(
                device.as_ref(),
                "there is no terminal for it: consoles are numbered from 1 to {}\n",
                MAX_TERMINALS.saturating_sub(1)
            );
            return Err(ENODEV);
        }
        let line = Arc::pin_init(Line::new(number), GFP_KERNEL)?;
        let counters = counters(number, &line);
        Arc::pin_init(
            pin_init!(Self {
                number,
                line,
                inner <- new_mutex!(Inner {
                    terminal: None,
                    listener: None,
                    ring: None,
                    told: false,
                }),
                counters,
            }),
            GFP_KERNEL,
        )
    }

    fn publish(&self, device: &Device, publication: &mut Publication) -> Result {
        let backend = device.otherend_id();
        let listener = Listener::new(
            Channel::alloc_unbound(backend)?,
            fmt!("oxen-console-{}", self.number),
            self.line.clone(),
        )?;
        let page = GrantedPages::new(backend, 1)?;
        publication.add(keys::RING_REF, page.grefs().first().ok_or(EINVAL)?)?;
        publication.add(keys::PORT, listener.port())?;
        let mut inner = self.inner.lock();
        inner.ring = Some(Ring::attach(page).ok_or(EINVAL)?);
        inner.listener = Some(listener);
        Ok(())
    }

    fn attach(&self, device: &Device) -> Result {
        let mut inner = self.inner.lock();
        let port = inner.listener.as_ref().ok_or(EINVAL)?.port();
        if let Some(ring) = inner.ring.take() {
            self.line.connect(Link::new(ring, port));
        }
        self.open(device, &mut inner)
    }

    fn flush(&self, _device: &Device) {
        self.line.drain(GRACE);
    }

    fn retire(&self, _device: &Device) -> Option<Retired> {
        let mut inner = self.inner.lock();
        Some(Retired {
            _listener: inner.listener.take(),
            _ring: inner.ring.take(),
            _link: self.line.disconnect(),
        })
    }

    fn shut(&self, _device: &Device, retired: Retired) {
        drop(retired);
    }

    fn end(&self, _device: &Device) {
        let terminal = self.inner.lock().terminal.take();
        // Hangs it up.
        drop(terminal);
    }
}

/// Makes `oxen/console-N/counters` in debugfs. A console does without it if that fails.
fn counters(
    number: u32,
    line: &Arc<SecondaryLine>,
) -> Option<Pin<KBox<debugfs::File<Source<SecondaryLine>>>>> {
    let name = CString::try_from_fmt(fmt!("console-{number}")).ok()?;
    let dir = xen_core::debugfs_dir(&name)?;
    KBox::pin_init(
        dir.read_only_file(c"counters", Source(line.clone())),
        GFP_KERNEL,
    )
    .ok()
}
