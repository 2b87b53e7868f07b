// SPDX-License-Identifier: GPL-2.0

//! The C functions that have a driver do its operations.

use super::{
    hw_queue::HwQueue,
    request::{
        Operations,
        Pdu,
        Rejected,
        Request,
        Status, //
    }, //
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
    }, //
};

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
                HwQueue::new(NonNull::new_unchecked(hctx)),
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
        let queue = unsafe { HwQueue::new(NonNull::new_unchecked(hctx)) };
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
