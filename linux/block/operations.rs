// SPDX-License-Identifier: GPL-2.0

//! What a blk-mq driver does, and the C functions that have it done.

use super::request::{
    Pdu,
    Rejected,
    Request,
    Status, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::from_result,
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    prelude::*,
    ModuleMetadata, //
};

/// A driver of one kind of block device.
pub trait Operations: Sized + 'static {
    /// The module that holds the driver: it cannot be unloaded while a disk is open.
    type OwnerModule: ModuleMetadata;

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

/// The hardware queue that an operation is called for.
pub struct HwQueue<'a> {
    hctx: NonNull<bindings::blk_mq_hw_ctx>,
    _operation: PhantomData<&'a ()>,
}

impl HwQueue<'_> {
    /// Which of the disk's queues it is.
    pub fn index(&self) -> u32 {
        // SAFETY: Valid during the operation.
        unsafe { (*self.hctx.as_ptr()).queue_num }
    }

    /// Stops the queue: no request is offered before
    /// [`QueueRef::start_stopped`](super::QueueRef::start_stopped).
    pub fn stop(&self) {
        // SAFETY: Valid during the operation.
        unsafe { bindings::blk_mq_stop_hw_queue(self.hctx.as_ptr()) };
    }
}

/// The operations of `T` for C.
pub(super) struct Table<T>(PhantomData<T>);

impl<T: Operations> Table<T> {
    pub(super) const OPS: bindings::blk_mq_ops = bindings::blk_mq_ops {
        queue_rq: Some(Self::queue_rq),
        commit_rqs: Some(Self::commit_rqs),
        complete: Some(Self::complete),
        timeout: Some(Self::timeout),
        init_request: Some(Self::init_request),
        exit_request: Some(Self::exit_request),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `set` must be a tag set that `TagSet<T>` made.
    unsafe fn data<'a>(set: *mut bindings::blk_mq_tag_set) -> &'a T::Data {
        // SAFETY: The tag set was made with a pointer to the data, which it keeps until it is freed;
        // there are no operations after that.
        unsafe { &*(*set).driver_data.cast::<T::Data>() }
    }

    /// # Safety
    ///
    /// Called by blk-mq for queues and requests of a `TagSet<T>`.
    unsafe extern "C" fn queue_rq(
        hctx: *mut bindings::blk_mq_hw_ctx,
        bd: *const bindings::blk_mq_queue_data,
    ) -> bindings::blk_status_t {
        // SAFETY: blk-mq passes valid pointers.
        let (rq, last) = unsafe { ((*bd).rq, (*bd).last) };
        // SAFETY: The queue of a hardware queue has the tag set that it was made with.
        let data = unsafe { Self::data((*(*hctx).queue).tag_set) };
        // SAFETY: The request was not started yet.
        unsafe { bindings::blk_mq_start_request(rq) };
        // SAFETY: Neither pointer is null; the request is started and now the driver's.
        let (queue, request) = unsafe {
            (
                HwQueue {
                    hctx: NonNull::new_unchecked(hctx),
                    _operation: PhantomData,
                },
                Request::<T>::from_raw(NonNull::new_unchecked(rq)),
            )
        };
        match T::queue_rq(data, queue, request, last) {
            Ok(()) => Status::Ok as u8,
            Err(Rejected {
                rq: request,
                status,
            }) => {
                if request.raw().as_ptr() != rq || status == Status::Ok {
                    // Some other request, or no rejection at all: this call's request is taken.
                    request.requeue();
                    return Status::Ok as u8;
                }
                let _ = request.into_raw();
                status as u8
            }
        }
    }

    /// # Safety
    ///
    /// Called by blk-mq for queues of a `TagSet<T>`.
    unsafe extern "C" fn commit_rqs(hctx: *mut bindings::blk_mq_hw_ctx) {
        // SAFETY: The queue of a hardware queue has the tag set that it was made with.
        let data = unsafe { Self::data((*(*hctx).queue).tag_set) };
        // SAFETY: blk-mq passes a valid pointer.
        let hctx = unsafe { NonNull::new_unchecked(hctx) };
        let queue = HwQueue {
            hctx,
            _operation: PhantomData,
        };
        T::commit_rqs(data, queue);
    }

    /// # Safety
    ///
    /// Called by blk-mq once for each request that [`Request::complete`] gave up.
    unsafe extern "C" fn complete(rq: *mut bindings::request) {
        // SAFETY: The request is valid and has a pdu; nobody else uses it now.
        let status = unsafe { (*bindings::blk_mq_rq_to_pdu(rq).cast::<Pdu<T::Pdu>>()).status };
        // SAFETY: The request is complete and ends once.
        unsafe { bindings::blk_mq_end_request(rq, status) };
    }

    /// # Safety
    ///
    /// Called by blk-mq for started requests of a `TagSet<T>`.
    unsafe extern "C" fn timeout(rq: *mut bindings::request) -> bindings::blk_eh_timer_return {
        // SAFETY: blk-mq holds a reference to the request during the call; these fields do not change.
        let (queue, tag, set) = unsafe {
            (
                (*(*rq).mq_hctx).queue_num,
                (*rq).tag,
                (*(*rq).q).tag_set, //
            )
        };
        // SAFETY: As in `queue_rq`.
        let data = unsafe { Self::data(set) };
        T::timed_out(data, queue, u32::try_from(tag).unwrap_or(0));
        bindings::blk_eh_timer_return_BLK_EH_RESET_TIMER
    }

    /// # Safety
    ///
    /// Called by blk-mq for requests of a `TagSet<T>`, once after their allocation.
    unsafe extern "C" fn init_request(
        set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _hctx: c_uint,
        _node: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: As the caller promises.
            let data = T::new_pdu(unsafe { Self::data(set) })?;
            // SAFETY: There is room for the pdu behind the request.
            let pdu = unsafe { bindings::blk_mq_rq_to_pdu(rq) }.cast::<Pdu<T::Pdu>>();
            // SAFETY: As above; it is aligned, which `TagSet` checks.
            unsafe { pdu.write(Pdu { status: 0, data }) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by blk-mq for requests that `init_request` was called for, once before they are freed.
    unsafe extern "C" fn exit_request(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _hctx: c_uint,
    ) {
        // SAFETY: The pdu is initialised and not used any more.
        unsafe {
            core::ptr::drop_in_place(
                bindings::blk_mq_rq_to_pdu(rq)
                    .cast::<c_void>()
                    .cast::<Pdu<T::Pdu>>(),
            )
        };
    }
}
