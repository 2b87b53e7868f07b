// SPDX-License-Identifier: GPL-2.0

//! A device whose line ends in itself: what becomes of packets, polls and pages between the stack and a driver.
//!
//! Its packets have a protocol of their own. Others, such as those with which IPv6 looks for neighbours, are dropped.

use super::{
    device::{
        Config,
        Device,
        Driver,
        Stats,
        Xmit, //
    },
    features::Features,
    lock::SpinLockBh,
    napi::{
        Napi,
        Poll,
        PollContext,
        Polled, //
    },
    page_pool::{
        PagePool,
        RxPage, //
    },
    queue::TxQueue,
    registration::Registration,
    rx_mode::RxMode,
    skb::{
        Checksum,
        SkBuff,
        ETHERNET_HEADER, //
    },
    xdp::{
        frame::Frames,
        program::Program,
        reason::Reason,
        run::RxInfo, //
    },
};
use crate::{
    bindings,
    sync::wait::Woken,
    testing::Steps, //
};
use core::{
    ops::{
        Deref,
        DerefMut, //
    },
    ptr,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    faux,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

mod programs;
mod receiver;
mod suite;

/// Address of the device, of the range for local use.
const MAC: [u8; 6] = [2, 0, 0, 0, 0x88, 0xb5];

/// A group of the range for local use.
const GROUP: [u8; 6] = [3, 0, 0, 0, 0x88, 0xb5];

/// Protocol of the test's packets: IEEE 802's local experimental one.
const PROTOCOL: [u8; 2] = [0x88, 0xb5];

/// Milliseconds to wait for what has to happen.
const LONG: i64 = 20_000;

const QUEUES: u32 = 2;

/// The byte of a packet at `offset`.
fn pattern(offset: usize) -> u8 {
    match offset {
        0..6 => MAC.get(offset).copied().unwrap_or(0),
        12 => PROTOCOL[0],
        13 => PROTOCOL[1],
        // CAST: The remainder fits.
        _ => (offset % 251) as u8,
    }
}

/// What a poll is to try; tells whether all came as it should.
type Task = fn(&mut Supply, &PollContext<'_>) -> bool;

/// Pages, and what a program is told of them.
struct Supply {
    pages: PagePool,
    info: Option<RxInfo>,
}

impl Deref for Supply {
    type Target = PagePool;

    fn deref(&self) -> &PagePool {
        &self.pages
    }
}

impl DerefMut for Supply {
    fn deref_mut(&mut self) -> &mut PagePool {
        &mut self.pages
    }
}

struct Inner {
    pool: Supply,
    line: Option<SkBuff>,
    task: Option<Task>,
    /// How many more packets to leave with the stack.
    busy: u32,
    /// How many more polls are not enough.
    again: u32,
}

#[pin_data]
struct Queue {
    #[pin]
    inner: SpinLockBh<Inner>,
    offered: Arc<Steps>,
    polled: Arc<Steps>,
    completed: Arc<Steps>,
    wrong: Atomic<u32>,
}

impl Queue {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            inner <- super::lock::new_spinlock_bh!(Inner {
                pool: Supply {
                    pages: PagePool::new(64)?,
                    info: None,
                },
                line: None,
                task: None,
                busy: 0,
                again: 0,
            }, "oxen_test_queue"),
            offered: Steps::new()?,
            polled: Steps::new()?,
            completed: Steps::new()?,
            wrong: Atomic::new(0),
        })
    }

    /// Counts what does not hold.
    fn expect(&self, holds: bool) {
        if !holds {
            self.wrong.add(1, Relaxed);
        }
    }

    fn wrong(&self) -> u32 {
        self.wrong.load(Relaxed)
    }

    /// Has it polled from process context.
    fn schedule(napi: &Napi<Self>) {
        let guard = napi.inner.lock();
        napi.schedule();
        drop(guard);
    }

    fn transmit(&self, skb: SkBuff, queue: TxQueue<'_>) -> Result<(), SkBuff> {
        let mut inner = self.inner.lock();
        self.offered.step();
        if inner.busy > 0 {
            inner.busy -= 1;
            queue.stop();
            return Err(skb);
        }
        let whole: usize = skb.runs(0).map(|run| run.len).sum();
        let behind: usize = skb.runs(ETHERNET_HEADER).map(|run| run.len).sum();
        self.expect(whole == skb.len() && behind == skb.len() - ETHERNET_HEADER);
        self.expect(skb.fragment(skb.fragments()).is_none() && skb.gso().is_none());
        // The stack's reference ends here, ours keeps the memory.
        inner.line = Some(skb.hold());
        skb.consume(0);
        Ok(())
    }
}

impl Poll for Queue {
    fn poll(napi: &Napi<Self>, context: &PollContext<'_>) -> Polled {
        let mut guard = napi.inner.lock();
        let inner = &mut *guard;
        if let Some(task) = inner.task.take() {
            napi.expect(task(&mut inner.pool, context));
        }
        let again = inner.again > 0;
        inner.again = inner.again.saturating_sub(1);
        let came = inner.line.take();
        let page = came.is_some().then(|| inner.pool.alloc()).flatten();
        drop(guard);
        let mut received = 0;
        if let Some((skb, page)) = came.zip(page) {
            napi.expect(bounce(context, skb, page).is_some());
            received = 1;
        }
        napi.polled.step();
        if again {
            Polled::Again
        } else {
            Polled::Done(received)
        }
    }

    fn completed(napi: &Napi<Self>) {
        napi.completed.step();
    }
}

/// Receives what was sent, some of it in the head and the rest as a page.
fn bounce(context: &PollContext<'_>, skb: SkBuff, page: RxPage) -> Option<()> {
    let len = skb.len();
    let raw = skb.into_raw();
    // SAFETY: The packet is ours and not longer than the page, which is ours too.
    let copied = unsafe {
        let to = bindings::page_address(page.raw());
        bindings::skb_copy_bits(raw, 0, to, len as i32)
    };
    // SAFETY: We have just taken it out.
    unsafe { SkBuff::from_raw(NonNull::new(raw)?) }.consume(context.budget());
    let mut packet = context.alloc_skb(64)?;
    let head = packet.append_to_head(&page, 0, len.min(64));
    packet.append_page(page, head, len - head).ok()?;
    let received = context.receive(packet, Checksum::Unknown).ok()?;
    (copied == 0 && received == len).then_some(())
}

#[pin_data]
struct Loop {
    refuses_to_open: Atomic<u32>,
    max_mtu: Atomic<u32>,
    wanted_queues: Atomic<u32>,
    features: Atomic<u64>,
    modes: Arc<Steps>,
    groups: Atomic<u32>,
    all: Atomic<bool>,
}

impl Driver for Loop {
    const NAME: &'static CStr = c"oxen_test_loop";
    const QUEUE_STATS: &'static [&'static CStr] = &[c"offered", c"polled"];

    type Queue = Queue;

    fn open(&self, dev: &Device<Self>) -> Result {
        if self.refuses_to_open.load(Relaxed) != 0 {
            return Err(ENODEV);
        }
        dev.carrier_on();
        dev.wake_queues();
        Ok(())
    }

    fn stop(&self, dev: &Device<Self>) {
        dev.carrier_off();
    }

    fn start_xmit(napi: &Napi<Queue>, queue: TxQueue<'_>, mut skb: SkBuff, _more: bool) -> Xmit {
        if protocol(&skb) != PROTOCOL {
            return Xmit::Done;
        }
        skb.timestamp();
        match napi.transmit(skb, queue) {
            Ok(()) => {
                napi.schedule();
                Xmit::Done
            }
            Err(skb) => Xmit::Busy(skb),
        }
    }

    fn tx_timeout(&self, _dev: &Device<Self>, _queue: usize) {}

    fn fix_features(&self, _dev: &Device<Self>, wanted: Features) -> Features {
        wanted & Features::from_bits(self.features.load(Relaxed))
    }

    fn set_features(&self, _dev: &Device<Self>, _features: Features) {}

    fn set_rx_mode(&self, _dev: &Device<Self>, mode: &RxMode<'_>) {
        let ours = mode.groups().filter(|group| *group == GROUP).count();
        // CAST: One at most.
        self.groups.store(ours as u32, Relaxed);
        self.all.store(mode.wants_all(), Relaxed);
        self.modes.step();
    }

    const HASH_KEY: usize = 4;
    const HASH_TABLE: usize = 4;

    fn hash(
        &self,
        _dev: &Device<Self>,
        _key: Option<&mut [u8]>,
        _table: Option<&mut [u32]>,
    ) -> bool {
        false
    }

    fn set_hash(&self, _dev: &Device<Self>, _key: Option<&[u8]>, _table: Option<&[u32]>) -> Result {
        Ok(())
    }

    const RING_SLOTS: u32 = 64;

    fn max_queues(&self, _dev: &Device<Self>) -> u32 {
        QUEUES
    }

    fn set_queues(&self, _dev: &Device<Self>, count: u32) -> Result {
        self.wanted_queues.store(count, Relaxed);
        Ok(())
    }

    fn set_program(
        &self,
        dev: &Device<Self>,
        program: Option<Program>,
        _why: Reason<'_>,
    ) -> Result {
        dev.put_program(program);
        Ok(())
    }

    fn xmit_frames(_napi: &Napi<Queue>, _queue: TxQueue<'_>, _frames: &mut Frames<'_>) {}

    fn max_mtu(&self, _dev: &Device<Self>) -> u32 {
        self.max_mtu.load(Relaxed)
    }

    fn stats(&self, _dev: &Device<Self>) -> Stats {
        Stats {
            rx_packets: 1,
            rx_bytes: 2,
            rx_errors: 3,
            rx_dropped: 4,
            tx_packets: 5,
            tx_bytes: 6,
            tx_errors: 7,
            tx_dropped: 8,
        }
    }

    fn queue_stat(queue: &Queue, index: usize) -> u64 {
        match index {
            0 => queue.offered.count().into(),
            _ => 1000,
        }
    }
}

/// Protocol in a packet's Ethernet header; zeros if there is none.
fn protocol(skb: &SkBuff) -> [u8; 2] {
    let mut protocol = [0; 2];
    let raw = skb.hold().into_raw();
    // SAFETY: The packet is held; the copy has room.
    unsafe { bindings::skb_copy_bits(raw, 12, protocol.as_mut_ptr().cast(), 2) };
    if let Some(raw) = NonNull::new(raw) {
        // SAFETY: It was taken out above.
        unsafe { SkBuff::from_raw(raw) }.consume(0);
    }
    protocol
}

/// Makes a packet with so many bytes in its head and in fragments.
fn packet(head: usize, paged: usize) -> Result<SkBuff> {
    let mut bytes = KVec::with_capacity(head + paged, GFP_KERNEL)?;
    for offset in 0..head + paged {
        bytes.push(pattern(offset), GFP_KERNEL)?;
    }
    let mut error = 0;
    // SAFETY: A packet is made, filled and handed over.
    unsafe {
        let gfp = kernel::bindings::GFP_KERNEL;
        let skb = bindings::alloc_skb_with_frags(head, paged, 0, &mut error, gfp);
        let raw = NonNull::new(skb).ok_or(ENOMEM)?;
        let skb = raw.as_ptr();
        bindings::skb_put(skb, head as u32);
        (*skb).len += paged as u32;
        (*skb).data_len = paged as u32;
        bindings::skb_store_bits(skb, 0, bytes.as_ptr().cast(), (head + paged) as i32);
        Ok(SkBuff::from_raw(raw))
    }
}

/// Runs `f` with the lock of the network's configuration held.
fn with_rtnl<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: Called in process context, without other locks.
    unsafe { bindings::rtnl_lock() };
    let result = f();
    // SAFETY: Locked above.
    unsafe { bindings::rtnl_unlock() };
    result
}

/// A registered device, and its parent.
struct Fixture {
    dev: Registration<Loop>,
    _parent: faux::Registration,
}

impl Fixture {
    fn new() -> Result<Self> {
        let parent = faux::Registration::new(c"oxen-test-net", None)?;
        let config = Config {
            queues: QUEUES,
            mtu: 1500,
            mac: MAC,
            hw_features: Features::SG | Features::IP_CSUM,
            off_features: Features::NONE,
            fixed_features: Features::RXCSUM,
            tso_max_size: 0xffff,
            tx_timeout: 60_000,
        };
        let driver = try_pin_init!(Loop {
            refuses_to_open: Atomic::new(0),
            max_mtu: Atomic::new(9000),
            wanted_queues: Atomic::new(0),
            features: Atomic::new(u64::MAX),
            modes: Steps::new()?,
            groups: Atomic::new(0),
            all: Atomic::new(false),
        });
        let dev = Registration::new(parent.as_ref().as_ref(), &config, driver, |_| Queue::new())?;
        Ok(Self {
            dev,
            _parent: parent,
        })
    }

    fn up(&self) -> Result {
        // SAFETY: The device is registered, and the lock is held.
        to_result(with_rtnl(|| unsafe {
            bindings::dev_open(self.dev.raw(), ptr::null_mut())
        }))
    }

    fn down(&self) {
        // SAFETY: The device is registered, and the lock is held.
        with_rtnl(|| unsafe { bindings::dev_close(self.dev.raw()) });
    }

    fn opened() -> Result<Self> {
        let this = Self::new()?;
        this.up()?;
        Ok(this)
    }

    /// The first queue.
    fn queue(&self) -> Result<Arc<Napi<Queue>>> {
        self.dev.queues().first().cloned().ok_or(ENODEV)
    }

    /// Sends a packet with so many bytes in its head and in fragments, on the first queue.
    fn send(&self, head: usize, paged: usize) -> Result {
        let skb = packet(head, paged)?.into_raw();
        // SAFETY: The packet is ours and handed over. The device is registered.
        unsafe {
            // This says where it goes, too, and takes the header off.
            bindings::skb_set_protocol(skb, self.dev.raw());
            bindings::skb_push(skb, ETHERNET_HEADER as u32);
            bindings::skb_record_rx_queue(skb, 0);
            to_result(bindings::__dev_queue_xmit(skb, ptr::null_mut()))
        }
    }

    /// Has a poll try something, and tells whether all came as it should.
    fn attempt(&self, task: Task) -> Result<bool> {
        let napi = self.queue()?;
        let before = (napi.wrong(), napi.polled.count());
        napi.inner.lock().task = Some(task);
        Queue::schedule(&napi);
        if napi.polled.wait(before.1 + 1, LONG) != Woken::Ready {
            return Err(ETIMEDOUT);
        }
        Ok(napi.wrong() == before.0)
    }
}
