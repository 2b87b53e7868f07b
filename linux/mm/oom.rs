// SPDX-License-Identifier: GPL-2.0

//! A word with the OOM killer before it kills.
//!
//! C header: `include/linux/oom.h`

use core::{
    ffi::c_void,
    mem::offset_of, //
};

use kernel::{
    error::to_result,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

use crate::bindings;

/// Something that can give the kernel memory when there is none left.
pub trait Relief: Send + Sync + 'static {
    /// Frees memory; returns how many pages. If it is any, nobody is killed.
    ///
    /// May sleep, but must not wait for an allocation that may end in the OOM killer.
    fn relieve(&self) -> usize;
}

/// Has a [`Relief`] asked, until it is dropped.
///
/// # Invariants
///
/// `block` is registered until `drop`.
#[pin_data(PinnedDrop)]
pub struct Notifier<T: Relief> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    target: Arc<T>,
}

// SAFETY: A notifier may be unregistered from any thread; the target can be sent and shared.
unsafe impl<T: Relief> Send for Notifier<T> {}
// SAFETY: As above; a shared reference gives nothing away.
unsafe impl<T: Relief> Sync for Notifier<T> {}

impl<T: Relief> Notifier<T> {
    /// Registers it. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(target: Arc<T>) -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            try_pin_init!(Self {
                target,
                // INVARIANT: Registered here.
                block <- Opaque::try_ffi_init(|slot: *mut bindings::notifier_block| {
                    let block = bindings::notifier_block {
                        notifier_call: Some(Self::call),
                        ..pin_init::zeroed()
                    };
                    // SAFETY: The slot is valid for writes.
                    unsafe { slot.write(block) };
                    // SAFETY: The block is complete, pinned, and unregistered before it goes away.
                    to_result(unsafe { bindings::register_oom_notifier(slot) })
                }),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// # Safety
    ///
    /// Called by the kernel for the block of a `Notifier<T>`, with a pointer to a number of pages.
    unsafe extern "C" fn call(
        block: *mut bindings::notifier_block,
        _action: c_ulong,
        freed: *mut c_void,
    ) -> c_int {
        // SAFETY: The block is part of a `Notifier<T>`, which unregisters it before it goes away.
        let this = unsafe { &*block.byte_sub(offset_of!(Self, block)).cast::<Self>() };
        let pages = this.target.relieve();
        // SAFETY: By the safety requirements; those asked are asked one after the other.
        let freed = unsafe { &mut *freed.cast::<c_ulong>() };
        *freed = freed.saturating_add(pages);
        bindings::NOTIFY_OK as c_int
    }
}

#[pinned_drop]
impl<T: Relief> PinnedDrop for Notifier<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants. Waits until nobody calls it any more.
        unsafe { bindings::unregister_oom_notifier(self.block.get()) };
    }
}

#[kunit_tests(oxen_oom)]
mod tests {
    use super::*;

    struct Seven;

    impl Relief for Seven {
        fn relieve(&self) -> usize {
            7
        }
    }

    #[test]
    fn what_was_freed_is_added() -> Result {
        let notifier = Notifier::new(Arc::new(Seven, GFP_KERNEL)?)?;
        let mut freed: c_ulong = 3;
        // SAFETY: The block is the notifier's, and the number of pages is writable.
        let said =
            unsafe { Notifier::<Seven>::call(notifier.block.get(), 0, (&raw mut freed).cast()) };
        assert_eq!((said, freed), (bindings::NOTIFY_OK as c_int, 10));
        freed = c_ulong::MAX - 1;
        // SAFETY: As above.
        unsafe { Notifier::<Seven>::call(notifier.block.get(), 0, (&raw mut freed).cast()) };
        assert_eq!(freed, c_ulong::MAX);
        Ok(())
    }

    #[test]
    fn it_can_be_taken_away_and_set_again() -> Result {
        for _ in 0..2 {
            let target = Arc::new(Seven, GFP_KERNEL)?;
            drop(Notifier::new(target.clone())?);
            assert!(Arc::into_unique_or_drop(target).is_some());
        }
        Ok(())
    }
}
