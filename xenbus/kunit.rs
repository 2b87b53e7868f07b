// SPDX-License-Identifier: GPL-2.0

//! The client and its thread, with a server of the tests at the other end of the page.

use abi::{
    shared::{
        Memory,
        RawMemory, //
    },
    xenstore::{
        stream::Assembler,
        wire::{
            Header,
            Kind, //
        },
    },
};
use core::ops::Deref;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Full,
                Relaxed, //
            },
            Atomic, //
        },
        Arc, //
    },
    time::Delta,
};
use linux::{
    kthread::{
        self,
        Thread, //
    },
    new_wait_queue,
    pages::OwnedPages,
    wait::{
        Sleep,
        WaitQueue,
        Woken, //
    },
};

use crate::{
    client::Client,
    doorbell::Doorbell,
    pump::Pump,
    store::Store,
    watch::WatchHandler, //
};

/// Offsets in `struct xenstore_domain_interface`.
const REPLIES: usize = 1024;
const REQ_CONS: usize = 2048;
const REQ_PROD: usize = 2052;
const RSP_CONS: usize = 2056;
const RSP_PROD: usize = 2060;
const FEATURES: usize = 2064;
const CONNECTION: usize = 2068;

/// Bytes in the longest value that is read and written here: more than a ring holds.
const LONG: usize = 4000;

/// What client and server share: the page, and what wakes the server.
#[pin_data]
struct Desk {
    page: OwnedPages,
    rung: Atomic<bool>,
    #[pin]
    wait: WaitQueue,
    /// Requests that the server keeps back.
    held: Atomic<u32>,
}

impl Desk {
    fn new() -> Result<Arc<Self>> {
        let page = OwnedPages::new(1)?;
        // Indices that are about to wrap.
        for index in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] {
            page.memory().store_u32(index, u32::MAX - 99);
        }
        page.memory().store_u32(FEATURES, 1);
        Arc::pin_init(
            pin_init!(Self {
                page,
                rung: Atomic::new(false),
                wait <- new_wait_queue!("xenbus::kunit"),
                held: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    fn ring(&self) {
        self.rung.store(true, Relaxed);
        self.wait.wake_all();
    }

    fn wait(&self, mut condition: impl FnMut() -> bool) {
        let _ = self
            .wait
            .wait(Sleep::Idle, None, || condition() || kthread::should_stop());
    }
}

/// Lets the client's ring share the page.
struct Shared(Arc<Desk>);

impl Deref for Shared {
    type Target = RawMemory;

    fn deref(&self) -> &Self::Target {
        self.0.page.memory()
    }
}

/// The server. What it does with a request, its first string says.
struct Server {
    desk: Arc<Desk>,
    client: Arc<Client>,
    req_cons: u32,
    rsp_prod: u32,
    held: Option<Header>,
    /// The body of the last request for a watch, which is also that of its event.
    watch: KVec<u8>,
}

impl Server {
    fn memory(&self) -> &RawMemory {
        self.desk.page.memory()
    }

    fn run(mut self) -> Result {
        let mut assembler = Assembler::new();
        while !kthread::should_stop() {
            if self.memory().load_acquire_u32(CONNECTION) != 0 {
                self.start_anew();
                assembler.reset();
            }
            let mut body = KVec::new();
            let message = assembler.step(|into| self.take(into)).map_err(|_| EPROTO)?;
            let Some(message) = message else {
                let desk = self.desk.clone();
                desk.wait(|| desk.rung.xchg(false, Full));
                continue;
            };
            let header = message.header;
            body.extend_from_slice(message.body, GFP_KERNEL)?;
            self.serve(header, body)?;
        }
        Ok(())
    }

    fn take(&mut self, into: &mut [u8]) -> usize {
        let producer = self.memory().load_acquire_u32(REQ_PROD);
        let mut got = 0;
        for byte in into {
            if self.req_cons == producer {
                break;
            }
            let at = self.req_cons as usize % 1024;
            self.memory().read(at, core::slice::from_mut(byte));
            self.req_cons = self.req_cons.wrapping_add(1);
            got += 1;
        }
        self.memory().store_release_u32(REQ_CONS, self.req_cons);
        // There is room for the rest of what the client sends.
        if got != 0 {
            self.client.doorbell().ring();
        }
        got
    }

    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let (desk, producer) = (self.desk.clone(), self.rsp_prod);
            desk.wait(|| {
                let consumer = desk.page.memory().load_acquire_u32(RSP_CONS);
                producer.wrapping_sub(consumer) < 1024
            });
            let at = REPLIES + producer as usize % 1024;
            self.memory().write(at, core::slice::from_ref(byte));
            self.rsp_prod = producer.wrapping_add(1);
            self.memory().store_release_u32(RSP_PROD, self.rsp_prod);
            if self.rsp_prod % 1024 == 0 {
                self.client.doorbell().ring();
            }
        }
    }

    fn say(&mut self, kind: Kind, request: u32, body: &[u8]) {
        let header = Header {
            kind: kind.number(),
            request,
            transaction: 0,
            length: body.len() as u32,
        };
        self.put(&header.encode());
        self.put(body);
        self.client.doorbell().ring();
    }

    fn serve(&mut self, header: Header, body: KVec<u8>) -> Result {
        let kind = Kind::from_number(header.kind).ok_or(EPROTO)?;
        let number = header.request;
        let path = body.split(|byte| *byte == 0).next().unwrap_or_default();
        match (kind, path) {
            (Kind::Read, b"value") => self.say(kind, number, b"42"),
            (Kind::Read, b"text") => self.say(kind, number, b"42x"),
            (Kind::Read, b"long") => {
                let long = KVec::from_elem(b'l', LONG, GFP_KERNEL)?;
                self.say(kind, number, &long);
            }
            (Kind::Read, b"later") => {
                self.held = Some(header);
                self.desk.held.add(1, Relaxed);
                self.desk.wait.wake_all();
                return Ok(());
            }
            (Kind::Read, b"mismatch") => self.say(Kind::Write, number, b"42"),
            (Kind::Read, b"stray") => {
                self.say(kind, number ^ 0x4000_0000, b"41");
                self.say(kind, number, b"42");
            }
            (Kind::Read, b"torn") => {
                let far = self.rsp_prod.wrapping_add(5000);
                self.memory().store_release_u32(RSP_PROD, far);
                self.client.doorbell().ring();
            }
            (Kind::Read, _) => self.say(Kind::Error, number, b"ENOENT\0"),
            (Kind::Watch, _) => {
                self.say(kind, number, b"OK\0");
                self.say(Kind::WatchEvent, 0, &body);
                self.watch = body;
            }
            (Kind::Write, b"watched") => {
                self.say(kind, number, b"OK\0");
                let event = core::mem::take(&mut self.watch);
                self.say(Kind::WatchEvent, 0, &event);
                self.watch = event;
            }
            (Kind::Write, _) if body.len() != LONG + b"long\0".len() => {
                self.say(Kind::Error, number, b"EINVAL\0");
            }
            _ => self.say(kind, number, b"OK\0"),
        }
        if let Some(held) = self.held.take() {
            self.say(Kind::Read, held.request, b"44");
        }
        Ok(())
    }

    /// The client asked for empty rings.
    fn start_anew(&mut self) {
        (self.req_cons, self.rsp_prod) = (7, 7);
        for index in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] {
            self.memory().store_u32(index, 7);
        }
        self.memory().store_release_u32(CONNECTION, 0);
        self.client.doorbell().ring();
    }
}

/// A client that is connected to a server.
struct Fixture {
    store: Store,
    client: Arc<Client>,
    desk: Arc<Desk>,
    _pump: Thread,
    _server: Thread,
}

impl Fixture {
    fn new() -> Result<Self> {
        let desk = Desk::new()?;
        let doorbell = Arc::pin_init(Doorbell::new(), GFP_KERNEL)?;
        let client = Client::new(doorbell)?;
        let server = Server {
            desk: desk.clone(),
            client: client.clone(),
            req_cons: desk.page.memory().load_u32(REQ_CONS),
            rsp_prod: desk.page.memory().load_u32(RSP_PROD),
            held: None,
            watch: KVec::new(),
        };
        let bell = desk.clone();
        let pump = Pump::new(client.clone(), Shared(desk.clone()), move || bell.ring());
        Ok(Self {
            store: Store::new(client.clone()),
            client,
            desk,
            _pump: Thread::spawn(c"oxen_test_pump", move || pump.run())?,
            _server: Thread::spawn(c"oxen_test_server", move || {
                if let Err(error) = server.run() {
                    pr_err!("the server of the tests gave up: {:?}\n", error);
                }
            })?,
        })
    }

    fn read(&self, path: &str) -> Result<KVec<u8>> {
        let value = self.store.read(path)?;
        let mut bytes = KVec::new();
        bytes.extend_from_slice(value.as_bytes(), GFP_KERNEL)?;
        Ok(bytes)
    }

    fn faults(&self) -> u32 {
        self.client.counters.violations.load(Relaxed)
    }
}

/// Counts what it is told, for those who wait for it.
#[pin_data]
struct Told {
    count: Atomic<u32>,
    #[pin]
    wait: WaitQueue,
}

impl Told {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                count: Atomic::new(0),
                wait <- new_wait_queue!("xenbus::kunit::told"),
            }),
            GFP_KERNEL,
        )
    }

    fn times(&self, count: u32) -> bool {
        let limit = Some(Delta::from_secs(20));
        let enough = || self.count.load(Relaxed) >= count;
        self.wait.wait(Sleep::Killable, limit, enough) == Woken::Ready
    }
}

impl WatchHandler for Told {
    fn changed(&self, _path: &[u8]) {
        self.count.add(1, Relaxed);
        self.wait.wake_all();
    }
}

#[kunit_tests(oxen_xenbus_client)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_size_go_both_ways() -> Result {
        let test = Fixture::new()?;
        assert_eq!(test.store.number::<u32>("value")?, Some(42));
        let long = test.read("long")?;
        assert!(long.len() == LONG && long.iter().all(|byte| *byte == b'l'));
        test.store.write_bytes("long", &long)?;
        assert_eq!(test.store.write_bytes("long", b"short"), Err(EINVAL));
        let too_long = KVec::from_elem(b'l', 4096, GFP_KERNEL)?;
        assert_eq!(test.store.write_bytes("long", &too_long), Err(E2BIG));
        assert_eq!(test.faults(), 0);
        Ok(())
    }

    #[test]
    fn what_is_missing_or_no_number_is_told_apart() -> Result {
        let test = Fixture::new()?;
        assert_eq!(test.read("nothing").err(), Some(ENOENT));
        assert_eq!(test.store.number::<u32>("nothing")?, None);
        assert!(!test.store.exists("nothing")?);
        assert_eq!(test.store.number::<u32>("text"), Err(EINVAL));
        assert_eq!(test.read("no path").err(), Some(EINVAL));
        Ok(())
    }

    #[test]
    fn a_later_request_may_be_answered_first() -> Result {
        let test = Fixture::new()?;
        let answer = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let (store, into) = (test.store.clone(), answer.clone());
        let thread = Thread::spawn(c"oxen_test_reader", move || {
            let value = store.number::<u32>("later").ok().flatten();
            into.store(value.unwrap_or(1), Relaxed);
        })?;
        let desk = &test.desk;
        desk.wait(|| desk.held.load(Relaxed) == 1);
        assert_eq!(answer.load(Relaxed), 0);
        assert_eq!(test.read("value")?.as_slice(), b"42");
        drop(thread);
        assert_eq!(answer.load(Relaxed), 44);
        Ok(())
    }

    #[test]
    fn four_callers_at_once_each_get_their_own() -> Result {
        let test = Fixture::new()?;
        let good = Told::new()?;
        let mut threads = KVec::new();
        for number in 0..4 {
            let (store, good) = (test.store.clone(), good.clone());
            let thread = Thread::spawn(c"oxen_test_reader", move || {
                for _ in 0..100 {
                    let right = match number {
                        0 => store.exists("nothing") == Ok(false),
                        1 => store.read("long").is_ok_and(|v| v.as_bytes().len() == LONG),
                        _ => store.number::<u32>("value") == Ok(Some(42)),
                    };
                    if right {
                        good.changed(b"");
                    }
                }
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        assert!(good.times(400));
        drop(threads);
        assert_eq!(test.client.state().lock().outstanding.usage(), (0, 0));
        assert_eq!(test.faults(), 0);
        Ok(())
    }

    #[test]
    fn wrong_replies_are_counted_and_hurt_only_whom_they_are_for() -> Result {
        let test = Fixture::new()?;
        assert_eq!(test.read("mismatch").err(), Some(EPROTO));
        assert_eq!(test.faults(), 1);
        assert_eq!(test.read("stray")?.as_slice(), b"42");
        assert_eq!(test.faults(), 2);
        Ok(())
    }

    #[test]
    fn a_watch_fires_at_once_and_at_changes_until_it_ends() -> Result {
        let test = Fixture::new()?;
        let told = Told::new()?;
        let watch = test.store.watch("watched", told.clone())?;
        assert!(told.times(1));
        test.store.write("watched", "x")?;
        assert!(told.times(2));
        drop(watch);
        test.store.write("watched", "y")?;
        // Replies and events keep their order, so by now the event is known for a stray.
        assert_eq!(test.read("value")?.as_slice(), b"42");
        assert_eq!(told.count.load(Relaxed), 2);
        assert_eq!(test.client.counters.strays.load(Relaxed), 1);
        assert_eq!((test.client.watches().count(), test.faults()), (0, 0));
        Ok(())
    }

    #[test]
    fn rings_that_do_not_fit_are_started_anew_with_their_watches() -> Result {
        let test = Fixture::new()?;
        let told = Told::new()?;
        let _watch = test.store.watch("watched", told.clone())?;
        assert!(told.times(1));
        assert_eq!(test.read("torn").err(), Some(ECONNRESET));
        // What was asked for in the meantime fails as well.
        let value = loop {
            match test.read("value") {
                Err(ECONNRESET) => continue,
                value => break value?,
            }
        };
        assert_eq!(value.as_slice(), b"42");
        assert!(told.times(2));
        assert_eq!(test.client.counters.reconnects.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn a_closed_client_sends_nothing() -> Result {
        let test = Fixture::new()?;
        test.client.close();
        assert_eq!(test.read("value").err(), Some(ENODEV));
        Ok(())
    }
}
