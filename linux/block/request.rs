// SPDX-License-Identifier: GPL-2.0

//! Requests, and the driver that owns them.
//!
//! A request belongs to the block layer until it calls `queue_rq`, which starts it and makes it a
//! [`Request`]. It returns to the block layer in exactly one way:
//!
//! - [`Request::complete`]: it is done or has failed, also from an interrupt;
//! - [`Request::requeue`]: the block layer is to offer it again;
//! - [`Request::reject`], within `queue_rq` only: the driver cannot take it now;
//! - dropping it, which completes it with an error.

use super::{
    hw_queue::HwQueue,
    segments::Segments, //
};
use crate::{
    bindings,
    module::OwnModule, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// A driver of one kind of block device.
pub trait Operations: Sized + 'static {
    /// The module that holds the driver: it cannot be unloaded while a disk is open.
    type OwnerModule: OwnModule;

    /// What all queues of a disk share.
    type Data: Send + Sync + 'static;

    /// The driver's part of each request.
    type Pdu: Send + Sync;

    /// Makes the driver's part of a request; may sleep.
    ///
    /// # Errors
    ///
    /// Making the disk fails with the error.
    fn new_pdu(data: &Self::Data) -> Result<Self::Pdu>;

    /// Takes a request. `last` tells that no other follows at once: the device is to be notified now.
    ///
    /// Does not sleep.
    ///
    /// # Errors
    ///
    /// The request, when it cannot be taken.
    fn queue_rq(
        data: &Self::Data,
        queue: HwQueue<'_>,
        request: Request<Self>,
        last: bool,
    ) -> Result<(), Rejected<Self>>;

    /// Notifies the device of requests that were taken with `last` false.
    fn commit_rqs(data: &Self::Data, queue: HwQueue<'_>);

    /// A request has been with the driver for the time limit; the limit starts again afterwards.
    ///
    /// The request may end meanwhile, so only its queue and tag are told.
    fn timed_out(data: &Self::Data, queue: u32, tag: u32);
}

/// How a request ends, or why it cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// The device cannot do this.
    NotSupported = 1,
    /// Something is exhausted; the block layer tries again in a few milliseconds.
    Resource = 9,
    /// It failed.
    IoError = 10,
    /// The device is busy; the block layer tries again when a request ends or the queue is started.
    DeviceResource = 13,
    /// The device is gone.
    Offline = 16,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read sectors.
    Read,
    /// Write sectors.
    Write,
    /// Make completed writes durable.
    Flush,
    /// Forget sectors.
    Discard,
    /// Forget sectors unrecoverably.
    SecureErase,
    /// Anything else (`REQ_OP_*`), which the queue's limits exclude.
    Other(u8),
}

/// What follows a request in memory.
#[repr(C)]
pub(super) struct Pdu<P> {
    /// How the request ended, between completion and end.
    pub(super) status: u8,
    /// The driver's part.
    pub(super) data: P,
}

/// A started request, owned by the driver.
///
/// # Invariants
///
/// `rq` is a started request of a tag set of `T`, which nobody else ends or requeues as long as this value
/// lives. Its [`Pdu`] is initialised, and nobody else refers to it.
pub struct Request<T: Operations> {
    rq: NonNull<bindings::request>,
    _operations: PhantomData<T>,
}

// SAFETY: A request belongs to no thread; its pdu is `Send` by the bound in `Operations`.
unsafe impl<T: Operations> Send for Request<T> {}
// SAFETY: A shared reference only reads fields that do not change while the driver owns the request, and
// the pdu, which is `Sync` by the bound in `Operations`.
unsafe impl<T: Operations> Sync for Request<T> {}

/// A request on its way back out of `queue_rq`, and why.
pub struct Rejected<T: Operations> {
    pub(super) rq: Request<T>,
    pub(super) status: Status,
}

impl<T: Operations> Request<T> {
    /// # Safety
    ///
    /// `rq` must be a started request of a tag set of `T`, and ownership of it passes to the value.
    pub(super) unsafe fn from_raw(rq: NonNull<bindings::request>) -> Self {
        // INVARIANT: by the safety requirements. The tag set initialised the pdu.
        Self {
            rq,
            _operations: PhantomData,
        }
    }

    /// Gives up ownership without telling the block layer.
    pub(super) fn into_raw(self) -> NonNull<bindings::request> {
        ManuallyDrop::new(self).rq
    }

    pub(super) fn raw(&self) -> NonNull<bindings::request> {
        self.rq
    }

    fn pdu_ptr(&self) -> NonNull<Pdu<T::Pdu>> {
        // SAFETY: The request is valid; tag sets of `T` allocate room for the pdu behind it.
        let pdu = unsafe { bindings::blk_mq_rq_to_pdu(self.rq.as_ptr()) };
        // SAFETY: It is an address behind a valid request.
        unsafe { NonNull::new_unchecked(pdu.cast()) }
    }

    /// What it asks for.
    pub fn op(&self) -> Op {
        // SAFETY: The request is valid by the type invariants.
        match unsafe { (*self.rq.as_ptr()).cmd_flags } & 0xff {
            0 => Op::Read,
            1 => Op::Write,
            2 => Op::Flush,
            3 => Op::Discard,
            5 => Op::SecureErase,
            other => Op::Other(other as u8),
        }
    }

    /// First sector on the disk, in units of 512 bytes.
    pub fn sector(&self) -> u64 {
        // SAFETY: The request is valid by the type invariants.
        unsafe { (*self.rq.as_ptr()).__sector }
    }

    /// Bytes that are still to be transferred or forgotten.
    pub fn bytes(&self) -> u32 {
        // SAFETY: The request is valid by the type invariants.
        unsafe { (*self.rq.as_ptr()).__data_len }
    }

    /// The CPU that it came from.
    pub fn cpu(&self) -> u32 {
        // SAFETY: The request is valid by the type invariants.
        unsafe { bindings::blk_mq_rq_cpu(self.rq.as_ptr()) }
    }

    /// The driver's part of the request. It keeps its value from one use of the request to the next.
    pub fn pdu(&self) -> &T::Pdu {
        // SAFETY: Initialised and not referred to elsewhere by the type invariants.
        unsafe { &(*self.pdu_ptr().as_ptr()).data }
    }

    /// The driver's part of the request, to change.
    pub fn pdu_mut(&mut self) -> &mut T::Pdu {
        // SAFETY: Initialised and not referred to elsewhere by the type invariants.
        unsafe { &mut (*self.pdu_ptr().as_ptr()).data }
    }

    /// The data that is still to be transferred.
    pub fn segments(&self) -> Segments<'_> {
        // SAFETY: The request is ours while it is borrowed.
        unsafe { Segments::new(self.rq.as_ptr()) }
    }

    /// Both the data and the driver's part.
    pub fn parts(&mut self) -> (Segments<'_>, &mut T::Pdu) {
        // SAFETY: The request is ours while it is borrowed, and the pdu is no part of its data.
        let segments = unsafe { Segments::new(self.rq.as_ptr()) };
        // SAFETY: Initialised and not referred to elsewhere by the type invariants.
        let pdu = unsafe { &mut (*self.pdu_ptr().as_ptr()).data };
        (segments, pdu)
    }

    /// Notes that the first `bytes` bytes are transferred. Returns whether that was all.
    ///
    /// What is left can be requeued; [`sector`](Self::sector) and [`segments`](Self::segments) then begin
    /// there.
    pub fn advance(&mut self, bytes: u32) -> bool {
        if bytes >= self.bytes() {
            // The end is left to `complete`, which also ends requests without data.
            return true;
        }
        // SAFETY: The request is ours, and fewer bytes than it has are taken off.
        unsafe { !bindings::blk_update_request(self.rq.as_ptr(), Status::Ok as u8, bytes) }
    }

    /// Ends the request, on the CPU that submitted it where possible. Also from an interrupt.
    pub fn complete(self, status: Status) {
        // SAFETY: Initialised and not referred to elsewhere by the type invariants.
        unsafe { (*self.pdu_ptr().as_ptr()).status = status as u8 };
        let rq = self.into_raw();
        // SAFETY: The request is started and ownership passes to the block layer, which calls the
        // `complete` operation.
        unsafe { bindings::blk_mq_complete_request(rq.as_ptr()) };
    }

    /// Lets the block layer offer the request again. Also from an interrupt.
    pub fn requeue(self) {
        let rq = self.into_raw();
        // SAFETY: The request is started and ownership passes to the block layer.
        unsafe { bindings::blk_mq_requeue_request(rq.as_ptr(), true) };
    }

    /// Gives the request back out of `queue_rq`.
    ///
    /// [`Status::Resource`] and [`Status::DeviceResource`] have it offered again, the others end it.
    pub fn reject(self, status: Status) -> Rejected<T> {
        Rejected { rq: self, status }
    }
}

impl<T: Operations> Drop for Request<T> {
    fn drop(&mut self) {
        // SAFETY: Initialised and not referred to elsewhere by the type invariants.
        unsafe { (*self.pdu_ptr().as_ptr()).status = Status::IoError as u8 };
        // SAFETY: The request is started, and ownership passes to the block layer with the last use here.
        unsafe { bindings::blk_mq_complete_request(self.rq.as_ptr()) };
    }
}
