// SPDX-License-Identifier: GPL-2.0

//! The hardware queues of a disk, as its driver sees them.

use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// The hardware queue that an operation is called for.
pub struct HwQueue<'a> {
    hctx: NonNull<bindings::blk_mq_hw_ctx>,
    _operation: PhantomData<&'a ()>,
}

impl HwQueue<'_> {
    /// # Safety
    ///
    /// The queue must be valid as long as the value lives.
    pub(super) unsafe fn new(hctx: NonNull<bindings::blk_mq_hw_ctx>) -> Self {
        Self {
            hctx,
            _operation: PhantomData,
        }
    }

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
