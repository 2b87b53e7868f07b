// SPDX-License-Identifier: GPL-2.0

//! Polling of one queue (C header: `include/linux/netdevice.h`, NAPI).
//!
//! A queue of a driver lives inside its [`Napi`], so that code with the one can schedule the other. An interrupt
//! handler schedules the poll; the poll works up to a budget and either asks to be polled again or is complete, and only
//! then the queue may ask for interrupts again. Completion is the wrapper's business: a poll cannot forget it.

use super::{
    page_pool::{
        RxPage,
        PAGE_SIZE, //
    },
    queue::TxQueue,
    skb::{
        Checksum,
        RxSkb, //
    },
    xdp::program::{
        Place,
        Program, //
    },
};
use crate::{
    bindings,
    sync::lock_class::lock_class, //
};
use core::{
    marker::PhantomData,
    ops::Deref,
    ptr,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    types::Opaque, //
};

/// What a poll leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// There is more to do: poll again soon.
    Again,
    /// Nothing is left; so many packets were received.
    Done(usize),
}

/// A queue that is polled.
pub trait Poll: Send + Sync + Sized + 'static {
    /// Works off what has come. Runs in softirq context, never twice at a time for a queue.
    fn poll(napi: &Napi<Self>, context: &PollContext<'_>) -> Polled;

    /// The poll is complete: the queue may ask for interrupts again.
    fn completed(napi: &Napi<Self>);
}

/// A polled queue of a device.
///
/// # Invariants
///
/// - While `state.dev` is not null it points to a live device, and `napi` is on its list.
/// - `napi` is either zeroed or initialised by `netif_napi_add`; `retry` is initialised.
#[pin_data(PinnedDrop)]
pub struct Napi<Q: Poll> {
    #[pin]
    napi: Opaque<bindings::napi_struct>,
    #[pin]
    retry: Opaque<bindings::timer_list>,
    index: u32,
    /// What received packets go through.
    program: Place,
    #[pin]
    state: Mutex<State>,
    #[pin]
    queue: Q,
}

struct State {
    dev: *mut bindings::net_device,
    enabled: bool,
}

// SAFETY: The device pointer is used under the mutex only, and a device may be used from any thread.
unsafe impl Send for State {}
// SAFETY: The C structures synchronise themselves; the rest is `Sync`.
unsafe impl<Q: Poll> Sync for Napi<Q> {}
// SAFETY: Nothing in it is bound to a thread.
unsafe impl<Q: Poll> Send for Napi<Q> {}

impl<Q: Poll> Napi<Q> {
    /// Makes the polled form of a queue, and enters it into a device.
    ///
    /// # Safety
    ///
    /// `dev` is valid until [`detach`](Self::detach) has been called.
    pub(super) unsafe fn new(
        dev: *mut bindings::net_device,
        index: u32,
        queue: impl PinInit<Q, Error>,
    ) -> Result<Arc<Self>> {
        let (name, key) = lock_class!(c"oxen_napi");
        let this = Arc::pin_init(
            try_pin_init!(Self {
                napi <- Opaque::zeroed(),
                retry <- Opaque::zeroed(),
                index,
                program: Place::new(),
                state <- Mutex::new(
                    State {
                        dev: ptr::null_mut(),
                        enabled: false,
                    },
                    name,
                    key
                ),
                queue <- queue,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The timer is pinned in the `Arc` and shut down when it is dropped.
        unsafe { bindings::timer_setup(this.retry.get(), Some(Self::retry_callback)) };
        // SAFETY: The device is valid; `napi` is zeroed, pinned in the `Arc`, and taken off the list before it is
        // dropped.
        unsafe { bindings::netif_napi_add(dev, this.napi.get(), Some(Self::poll_callback)) };
        // INVARIANT: It is on the list of the device, which the caller keeps valid.
        this.state.lock().dev = dev;
        Ok(this)
    }

    /// The queue's number.
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// Has received packets go through a program, or through none. A poll that runs may go on with the former one.
    pub(super) fn put_program(&self, program: Option<Program>) {
        self.program.put(program);
    }

    /// Lets polls run, whether the device is up or not. Process context. Does nothing if they do already, or the device is gone.
    pub fn enable(&self) {
        let mut state = self.state.lock();
        if state.dev.is_null() || state.enabled {
            return;
        }
        // SAFETY: By the invariants it is on the list of a live device; it is disabled.
        unsafe { bindings::napi_enable(self.napi.get()) };
        state.enabled = true;
    }

    /// Waits for a running poll and lets no more run. Process context.
    pub fn disable(&self) {
        let mut state = self.state.lock();
        if state.enabled {
            // SAFETY: By the invariants it is on the list of a live device; it is enabled.
            unsafe { bindings::napi_disable(self.napi.get()) };
            state.enabled = false;
        }
    }

    /// Takes the queue off its device. It is never polled again.
    pub(super) fn detach(&self) {
        self.disable();
        // SAFETY: The timer is initialised by the invariants. It cannot be armed again.
        unsafe { bindings::timer_shutdown_sync(self.retry.get()) };
        let mut state = self.state.lock();
        if !state.dev.is_null() {
            // SAFETY: By the invariants it is on the list of a live device, and it is disabled.
            unsafe { bindings::netif_napi_del(self.napi.get()) };
            // INVARIANT: It is off the list.
            state.dev = ptr::null_mut();
        }
    }

    /// Has the queue polled soon. Interrupt or softirq context; elsewhere with a [lock](super::lock::SpinLockBh) held,
    /// or the poll may wait for the next interrupt.
    pub fn schedule(&self) {
        // SAFETY: It is initialised. While it is disabled or off its device this only sets a flag.
        unsafe { bindings::napi_schedule(self.napi.get()) }
    }

    /// Has the queue polled after a while, because memory was short.
    pub fn schedule_later(&self, milliseconds: u32) {
        // SAFETY: The timer is initialised by the invariants; once shut down it does not start.
        unsafe { bindings::mod_timer_ms(self.retry.get(), milliseconds) }
    }

    /// Called by the timer.
    ///
    /// # Safety
    ///
    /// `timer` is the `retry` of a live `Self`.
    unsafe extern "C" fn retry_callback(timer: *mut bindings::timer_list) {
        // SAFETY: By the safety requirements.
        let this = unsafe { &*kernel::container_of!(Opaque::cast_from(timer), Self, retry) };
        this.schedule();
    }

    /// Called by NAPI.
    ///
    /// # Safety
    ///
    /// `napi` is the `napi` of a live `Self` on the list of a live device, and is being polled.
    unsafe extern "C" fn poll_callback(napi: *mut bindings::napi_struct, budget: i32) -> i32 {
        // SAFETY: By the safety requirements.
        let this = unsafe { &*kernel::container_of!(Opaque::cast_from(napi), Self, napi) };
        let context = PollContext {
            napi,
            // SAFETY: By the safety requirements; `dev` does not change while it is on the list.
            dev: unsafe { (*napi).dev },
            index: this.index,
            // CAST: Not negative.
            budget: budget as usize,
            program: this.program.get(),
            poll: PhantomData,
        };
        match Q::poll(this, &context) {
            Polled::Done(work) if work < context.budget => {
                // SAFETY: It is being polled. CAST: Less than the budget.
                if unsafe { bindings::napi_complete_done(napi, work as i32) } {
                    Q::completed(this);
                }
                work as i32
            }
            // A poll without budget must not receive and cannot complete.
            _ => budget,
        }
    }
}

impl<Q: Poll> Deref for Napi<Q> {
    type Target = Q;

    fn deref(&self) -> &Q {
        &self.queue
    }
}

#[pinned_drop]
impl<Q: Poll> PinnedDrop for Napi<Q> {
    fn drop(self: Pin<&mut Self>) {
        self.detach();
    }
}

/// What a running poll may use of its device.
///
/// # Invariants
///
/// `napi` is being polled for the device `dev`, both valid for `'a`, and so is `program`, if there is one.
pub struct PollContext<'a> {
    napi: *mut bindings::napi_struct,
    pub(super) dev: *mut bindings::net_device,
    index: u32,
    budget: usize,
    pub(super) program: Option<NonNull<bindings::bpf_prog>>,
    poll: PhantomData<&'a ()>,
}

impl PollContext<'_> {
    /// Most packets to receive now. 0 if only transmissions are to be completed.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// The transmit queue of the same number.
    pub fn tx_queue(&self) -> TxQueue<'_> {
        // SAFETY: The device is valid by the type invariant, and has as many transmit queues as polled ones.
        unsafe { TxQueue::of(self.dev, self.index) }
    }

    /// Whether the device is up: only then packets may be received.
    pub fn running(&self) -> bool {
        // SAFETY: The device is valid by the type invariant.
        unsafe { bindings::netif_running(self.dev) }
    }

    /// Bytes of the headers of a packet that begins at `offset` in a page with so many bytes of it; not more than these.
    pub fn header_len(&self, page: &RxPage, offset: usize, len: usize) -> usize {
        let len = len.min(PAGE_SIZE.saturating_sub(offset));
        // SAFETY: The device is valid by the type invariant, and the bytes are inside the page, which is mapped.
        // CAST: At most a page.
        unsafe {
            let data = bindings::page_address(page.raw()).byte_add(offset.min(PAGE_SIZE));
            bindings::eth_get_headlen(self.dev, data, len as u32) as usize
        }
    }

    /// Makes a packet with room for `head` bytes in its head.
    pub fn alloc_skb(&self, head: usize) -> Option<RxSkb> {
        // SAFETY: The poll runs, by the type invariant.
        let skb = unsafe { bindings::napi_alloc_skb(self.napi, head as u32) };
        // SAFETY: It is new and ours.
        NonNull::new(skb).map(|skb| unsafe { RxSkb::from_raw(skb) })
    }

    /// Makes a packet of `len` bytes from `offset` on in a page, of which `meta` bytes before them are for the stack. The page
    /// becomes its head.
    ///
    /// Returns `None` if there is no memory, or no room in the page for what belongs to a head.
    pub fn skb_in_page(
        &self,
        page: RxPage,
        offset: usize,
        len: usize,
        meta: usize,
    ) -> Option<RxSkb> {
        // SAFETY: The function has no requirements.
        let tail = unsafe { bindings::xdp_tail() as usize };
        let end = offset.checked_add(len)?.checked_add(tail)?;
        if end > PAGE_SIZE || meta > offset {
            return None;
        }
        // SAFETY: The poll runs, by the type invariant. The page is ours, and the packet lies in it with room behind.
        // CAST: At most a page.
        let skb = unsafe {
            bindings::build_skb_in_page(page.raw(), offset as u32, len as u32, meta as u32)
        };
        let skb = NonNull::new(skb)?;
        page.into_raw();
        // SAFETY: It is new and ours, and has taken over the page.
        Some(unsafe { RxSkb::from_raw(skb) })
    }

    /// Passes a packet up, merged with others if possible. Returns its length with the Ethernet header.
    ///
    /// # Errors
    ///
    /// The packet is dropped if its head holds no Ethernet header or its checksum cannot be settled.
    pub fn receive(&self, skb: RxSkb, checksum: Checksum) -> Result<usize> {
        let len = skb.len();
        // CAST: Queues are few.
        let skb = skb.complete(self.dev, self.index as u16, checksum)?;
        // SAFETY: The poll runs, by the type invariant; the packet is handed over.
        unsafe { bindings::napi_gro_receive(self.napi, skb.into_raw()) };
        Ok(len)
    }
}
