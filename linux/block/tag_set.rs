// SPDX-License-Identifier: GPL-2.0

//! Tag sets: the requests of a disk.

use super::{
    operations::Table,
    request::{
        Operations,
        Pdu, //
    },
};
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::{
        align_of,
        size_of, //
    },
    pin::Pin,
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// All requests of one disk, with the data that its operations work on.
///
/// # Invariants
///
/// `set` is an allocated tag set with the operations of `T`, whose `driver_data` is `data`.
#[pin_data(PinnedDrop)]
pub(super) struct TagSet<T: Operations> {
    #[pin]
    set: Opaque<bindings::blk_mq_tag_set>,
    data: Arc<T::Data>,
    _operations: PhantomData<T>,
}

// SAFETY: blk-mq locks tag sets itself; the data is `Send` and `Sync`.
unsafe impl<T: Operations> Send for TagSet<T> {}
// SAFETY: As above.
unsafe impl<T: Operations> Sync for TagSet<T> {}

impl<T: Operations> TagSet<T> {
    /// Allocates `depth` requests for each of `queues` hardware queues.
    pub(super) fn new(data: Arc<T::Data>, queues: u32, depth: u32) -> Result<Pin<KBox<Self>>> {
        const {
            assert!(
                align_of::<Pdu<T::Pdu>>() <= align_of::<bindings::request>(),
                "the pdu follows a request directly"
            )
        };
        let driver_data = core::ptr::from_ref::<T::Data>(&data).cast_mut();
        let raw = bindings::blk_mq_tag_set {
            ops: &Table::<T>::OPS,
            nr_maps: 1,
            nr_hw_queues: queues,
            queue_depth: depth,
            cmd_size: size_of::<Pdu<T::Pdu>>().try_into()?,
            numa_node: -1,
            driver_data: driver_data.cast(),
            ..pin_init::zeroed()
        };
        KBox::try_pin_init(
            try_pin_init!(Self {
                // INVARIANT: allocated here, or the value does not come to be.
                set <- Opaque::try_ffi_init(|slot: *mut bindings::blk_mq_tag_set| {
                    // SAFETY: `slot` is room for a tag set, which does not move any more.
                    unsafe { slot.write(raw) };
                    // SAFETY: The tag set is filled in as blk-mq wants it.
                    to_result(unsafe { bindings::blk_mq_alloc_tag_set(slot) })
                }),
                data,
                _operations: PhantomData,
            }? Error),
            GFP_KERNEL,
        )
    }

    pub(super) fn raw(&self) -> *mut bindings::blk_mq_tag_set {
        self.set.get()
    }

    /// Which hardware queue takes the requests of `cpu`.
    pub(super) fn queue_of(&self, cpu: u32) -> Option<u32> {
        let index = usize::try_from(cpu).ok()?;
        if !crate::cpu::possible().any(|possible| possible == cpu) {
            return None;
        }
        // SAFETY: Allocated by the type invariants; the map has an entry for each possible CPU and changes only with the
        // number of queues, which stays.
        Some(unsafe { *(*self.set.get()).map[0].mq_map.add(index) })
    }

    pub(super) fn data(&self) -> &Arc<T::Data> {
        &self.data
    }
}

#[pinned_drop]
impl<T: Operations> PinnedDrop for TagSet<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Allocated by the type invariants. The disk that used it is gone: `Disk` drops it first.
        unsafe { bindings::blk_mq_free_tag_set(self.set.get()) };
    }
}
