// SPDX-License-Identifier: GPL-2.0

//! A sample frontend, to begin a driver with: a device of type `echo` whose backend gets back what it sends.
//!
//! Built only with `OXEN_TESTS=1`, never installed. Everything that a frontend has is here once: a key of its own, an event
//! channel, a granted page, and a peer that is not believed.
//!
//! The page has, as 4-byte words, the number of the backend's message (0), its length (4) and the number that was
//! answered last (8); the message is at 1024, the answer at 2048. A message has 1 to 256 bytes. The backend writes a message,
//! its length and then a new number, and notifies; the answer is there when its number is answered.

use abi::{
    connection::State,
    shared::Memory, //
};
use evtchn::{
    Channel,
    Event,
    Handler,
    Listener,
    Notifier, //
};
use grant_table::GrantedPages;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc,
        Mutex,
        SetOnce, //
    },
};
use xenbus::{
    Device,
    Publication, //
};

const NUMBER: usize = 0;
const LENGTH: usize = 4;
const ANSWERED: usize = 8;
const MESSAGE: usize = 1024;
const ANSWER: usize = 2048;

/// Most bytes of a message.
const MAX_LENGTH: usize = 256;

/// What the interrupt needs.
struct Echo {
    device: Device,
    page: GrantedPages,
    /// Set once the port is listened to.
    notifier: SetOnce<Notifier>,
    retired: Atomic<bool>,
}

impl Echo {
    /// Answers the backend's message, if there is a new one.
    ///
    /// # Errors
    ///
    /// The length, when it is none.
    fn answer(&self) -> Result<bool, u32> {
        // The number before what it announces. Each word is read once: the backend may change it at any time.
        let number = self.page.load_acquire_u32(NUMBER);
        if number == self.page.load_u32(ANSWERED) {
            return Ok(false);
        }
        let length = self.page.load_u32(LENGTH);
        let mut copy = [0; MAX_LENGTH];
        let copy = usize::try_from(length)
            .ok()
            .filter(|&length| length > 0)
            .and_then(|length| copy.get_mut(..length))
            .ok_or(length)?;
        self.page.read(MESSAGE, copy);
        self.page.write(ANSWER, copy);
        self.page.store_release_u32(ANSWERED, number);
        Ok(true)
    }
}

impl Handler for Echo {
    fn event(&self, event: Event) {
        if self.retired.load(Relaxed) {
            return;
        }
        match self.answer() {
            Ok(true) => {
                if let Some(notifier) = self.notifier.as_ref() {
                    notifier.notify();
                }
            }
            Ok(false) => event.spurious(),
            // The bus makes the connection anew, and says so in the log.
            Err(length) => self
                .device
                .broken(format_args!("a message has {length} bytes")),
        }
    }
}

/// An echo device.
#[pin_data]
struct Frontend {
    #[pin]
    listener: Mutex<Option<Listener<Echo>>>,
}

impl xenbus::Driver for Frontend {
    const NAME: &'static CStr = c"oxen_echo";
    const DEVICE_TYPES: &'static [&'static CStr] = &[c"echo"];
    const PUBLISHED: State = State::Initialised;
    type Retired = Listener<Echo>;

    fn is_own_key(key: &[u8]) -> bool {
        matches!(key, b"ring-ref" | b"event-channel" | b"max-length")
    }

    fn probe(_dev: &Device) -> Result<Arc<Self>> {
        let listener = new_mutex!(None, "oxen_echo");
        Arc::pin_init(pin_init!(Self { listener <- listener }), GFP_KERNEL)
    }

    fn publish(&self, dev: &Device, keys: &mut Publication) -> Result {
        let page = GrantedPages::new(dev.otherend_id(), 1)?;
        let gref = page.grefs().first().ok_or(EINVAL)?.0;
        let echo = Echo {
            device: dev.clone(),
            page,
            notifier: SetOnce::new(),
            retired: Atomic::new(false),
        };
        let listener = Listener::new(
            Channel::alloc_unbound(dev.otherend_id())?,
            fmt!("oxen-echo"),
            Arc::new(echo, GFP_KERNEL)?,
        )?;
        listener.handler().notifier.populate(listener.notifier());
        keys.add("ring-ref", gref)?;
        keys.add("event-channel", listener.port().0)?;
        keys.add("max-length", MAX_LENGTH)?;
        *self.listener.lock() = Some(listener);
        Ok(())
    }

    fn attach(&self, _dev: &Device) -> Result {
        // A message may have come before there was anyone to hear it.
        if let Some(listener) = &*self.listener.lock() {
            listener.poke();
        }
        Ok(())
    }

    fn retire(&self, _dev: &Device) -> Option<Listener<Echo>> {
        let listener = self.listener.lock().take()?;
        listener.handler().retired.store(true, Relaxed);
        Some(listener)
    }

    fn shut(&self, _dev: &Device, listener: Listener<Echo>) {
        // The port and the page end here, after the backend has let go of them: the page waits for a backend that has not.
        drop(listener);
    }
}

xenbus::module_xenbus_driver! {
    type: Frontend,
    name: "echo_sample",
    authors: ["Oxen developers"],
    description: "Sample of a Xen frontend",
    license: "GPL",
    alias: ["oxen:echo"],
}
