// SPDX-License-Identifier: GPL-2.0

//! A server of the tests at the other end of the page.

use abi::{
    shared::{
        Memory,
        RawMemory, //
    },
    xenstore::{
        shares::User,
        stream::Assembler,
        wire::{
            Header,
            Kind,
            PAYLOAD_MAX, //
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
    error::EPROTO,
    mm::pages::OwnedPages,
    new_wait_queue, //
    sync::wait::{
        Sleep,
        WaitQueue,
        Woken, //
    },
    workqueue::kthread::{
        self,
        Thread, //
    },
};

use crate::store::{
    client::Client,
    doorbell::Doorbell,
    pump::Pump,
    Store, //
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
pub(crate) const LONG: usize = 4000;

/// The quota of a server at which each commit collides.
pub(crate) const COLLIDING: u32 = 99;

/// What client and server share: the page, and what wakes the server.
#[pin_data]
pub(crate) struct Desk {
    page: OwnedPages,
    rung: Atomic<bool>,
    #[pin]
    wait: WaitQueue,
    /// Requests that the server keeps back.
    pub(crate) held: Atomic<u32>,
    /// Transactions that the server allows at once.
    pub(crate) quota: Atomic<u32>,
    /// Transactions that are open, and the most that were at once.
    pub(crate) open: Atomic<u32>,
    pub(crate) most: Atomic<u32>,
    /// Transactions that were ended by an F.
    pub(crate) aborted: Atomic<u32>,
    /// Requests that have come.
    pub(crate) served: Atomic<u32>,
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
                quota: Atomic::new(10),
                open: Atomic::new(0),
                most: Atomic::new(0),
                aborted: Atomic::new(0),
                served: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// The server is one that cannot start the rings anew.
    pub(super) fn takes_no_new_start(&self) {
        self.page.memory().store_u32(FEATURES, 0);
    }

    fn ring(&self) {
        self.rung.store(true, Relaxed);
        self.wait.wake_all();
    }

    /// Waits until `condition` holds; tells whether it came to that.
    pub(crate) fn comes_to(&self, mut condition: impl FnMut() -> bool) -> bool {
        let limit = Some(Delta::from_secs(20));
        self.wait.wait(Sleep::Killable, limit, &mut condition) == Woken::Ready
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
    /// The number of the last transaction.
    transaction: u32,
    /// The body of the last request for a watch, which is also that of its event.
    watch: KVec<u8>,
}

impl Server {
    fn memory(&self) -> &RawMemory {
        self.desk.page.memory()
    }

    fn run(mut self) -> Result {
        let mut assembler = Assembler::new(KVec::from_elem(0, PAYLOAD_MAX, GFP_KERNEL)?);
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
        let number = header.request;
        self.desk.served.add(1, Relaxed);
        self.desk.wait.wake_all();
        let Some(kind) = Kind::from_number(header.kind) else {
            self.say(Kind::Error, number, b"ENOSYS\0");
            return Ok(());
        };
        let path = body.split(|byte| *byte == 0).next().unwrap_or_default();
        match (kind, path) {
            (Kind::Read, b"value") => self.say(kind, number, b"42"),
            (Kind::Read, b"text") => self.say(kind, number, b"42x"),
            (Kind::Read, b"long") => {
                let long = KVec::from_elem(b'l', LONG, GFP_KERNEL)?;
                self.say(kind, number, &long);
            }
            (Kind::Read, b"later") => return self.keep(header),
            (Kind::Read, b"halves") => {
                // Once the ring is full of the next request, its rest is with the client.
                let (desk, consumer) = (self.desk.clone(), self.req_cons);
                desk.wait(|| {
                    let producer = desk.page.memory().load_acquire_u32(REQ_PROD);
                    producer.wrapping_sub(consumer) == 1024
                });
                self.tear();
            }
            (Kind::TransactionStart, b"later") => {
                return self.keep(header);
            }
            (Kind::TransactionStart, _) => self.start(number)?,
            (Kind::TransactionEnd, how) => {
                self.desk.open.add(u32::MAX, Relaxed);
                match how {
                    b"F" => self.desk.aborted.add(1, Relaxed),
                    _ if self.desk.quota.load(Relaxed) == COLLIDING => {
                        self.say(Kind::Error, number, b"EAGAIN\0");
                        return Ok(());
                    }
                    _ => {}
                }
                self.say(kind, number, b"OK\0");
                self.desk.wait.wake_all();
            }
            (Kind::Read, b"mismatch") => self.say(Kind::Write, number, b"42"),
            (Kind::Read, b"stray") => {
                self.say(kind, number ^ 0x4000_0000, b"41");
                self.say(kind, number, b"42");
            }
            (Kind::Read, b"torn") => self.tear(),
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
            if held.kind == Kind::TransactionStart.number() {
                self.start(held.request)?;
            } else {
                self.say(Kind::Read, held.request, b"44");
            }
        }
        Ok(())
    }

    /// Keeps a request back until the next one was served.
    fn keep(&mut self, header: Header) -> Result {
        self.held = Some(header);
        self.desk.held.add(1, Relaxed);
        self.desk.wait.wake_all();
        Ok(())
    }

    /// Moves the index of the replies too far.
    fn tear(&mut self) {
        self.rsp_prod = self.rsp_prod.wrapping_add(5000);
        self.memory().store_release_u32(RSP_PROD, self.rsp_prod);
        self.client.doorbell().ring();
    }

    /// Opens a transaction.
    fn start(&mut self, number: u32) -> Result {
        let open = self.desk.open.load(Relaxed);
        if open >= self.desk.quota.load(Relaxed) {
            self.say(Kind::Error, number, b"ENOSPC\0");
            return Ok(());
        }
        self.desk.open.store(open + 1, Relaxed);
        if self.desk.most.load(Relaxed) <= open {
            self.desk.most.store(open + 1, Relaxed);
        }
        self.transaction += 1;
        let mut text = KVec::new();
        let mut rest = self.transaction;
        while rest > 0 {
            text.push(b'0' + (rest % 10) as u8, GFP_KERNEL)?;
            rest /= 10;
        }
        text.reverse();
        text.push(0, GFP_KERNEL)?;
        self.say(Kind::TransactionStart, number, &text);
        Ok(())
    }

    /// The client asked for empty rings.
    fn start_anew(&mut self) {
        (self.req_cons, self.rsp_prod) = (7, 7);
        self.desk.open.store(0, Relaxed);
        for index in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] {
            self.memory().store_u32(index, 7);
        }
        self.memory().store_release_u32(CONNECTION, 0);
        self.client.doorbell().ring();
    }
}

/// A client that is connected to a server.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) client: Arc<Client>,
    pub(crate) desk: Arc<Desk>,
    _pump: Thread,
    _server: Thread,
}

impl Fixture {
    pub(crate) fn new() -> Result<Self> {
        Self::with_limit(Delta::from_secs(30))
    }

    /// As [`Self::new`], with requests that may take `limit`.
    pub(crate) fn with_limit(limit: Delta) -> Result<Self> {
        let desk = Desk::new()?;
        let doorbell = Arc::pin_init(Doorbell::new(), GFP_KERNEL)?;
        let client = Client::new(doorbell, limit)?;
        let server = Server {
            desk: desk.clone(),
            client: client.clone(),
            req_cons: desk.page.memory().load_u32(REQ_CONS),
            rsp_prod: desk.page.memory().load_u32(RSP_PROD),
            held: None,
            transaction: 0,
            watch: KVec::new(),
        };
        let bell = desk.clone();
        let pump = Pump::new(client.clone(), Shared(desk.clone()), move || bell.ring())?;
        Ok(Self {
            store: Store::new(client.clone(), User::Kernel),
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

    pub(crate) fn read(&self, path: &str) -> Result<KVec<u8>> {
        let value = self.store.read(path)?;
        let mut bytes = KVec::new();
        bytes.extend_from_slice(value.as_bytes(), GFP_KERNEL)?;
        Ok(bytes)
    }

    pub(crate) fn faults(&self) -> u32 {
        self.client.counters.violations.load(Relaxed)
    }
}
