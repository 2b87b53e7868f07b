// SPDX-License-Identifier: GPL-2.0

//! The page that every domain shares with Xen: pending events, the time, the wall clock.

use crate::{
    frame::XenFrames,
    resume::{
        Resume,
        Wake, //
    },
};
use abi::{
    hypercall::memory::Space,
    shared::RawMemory, //
};
use core::ops::Deref;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::power::shutdown::Shutdown;

/// The shared info page, which is `abi::shared::Memory`.
///
/// It goes away with the last clone, at the latest when this module is unloaded.
pub struct SharedInfo {
    /// Beside its owner: whoever reads the time or events is spared a look there.
    memory: RawMemory,
    frames: Arc<XenFrames>,
}

impl SharedInfo {
    fn new(frames: Arc<XenFrames>) -> Self {
        Self {
            // SAFETY: The frames stay mapped as long as they are owned, here too.
            memory: unsafe { frames.memory().again() },
            frames,
        }
    }
}

impl Clone for SharedInfo {
    fn clone(&self) -> Self {
        Self::new(self.frames.clone())
    }
}

kernel::sync::global_lock! {
    // SAFETY: Initialised at the start of the module's `init`.
    pub(crate) unsafe(uninit) static PAGE: Mutex<Option<SharedInfo>> = None;
}

impl Deref for SharedInfo {
    type Target = RawMemory;

    #[inline]
    fn deref(&self) -> &RawMemory {
        &self.memory
    }
}

/// Returns the shared info page.
///
/// # Errors
///
/// `ENODEV` when this module is not in use.
pub fn shared_info() -> Result<SharedInfo> {
    PAGE.lock().clone().ok_or(ENODEV)
}

/// Maps the page.
pub(crate) fn map() -> Result<SharedInfo> {
    let frames = XenFrames::new(Space::SharedInfo, 0, 1)
        .inspect_err(|error| pr_err!("Xen does not map its shared info page ({error:?}).\n"))?;
    Ok(SharedInfo::new(Arc::new(frames, GFP_KERNEL)?))
}

impl Shutdown for SharedInfo {
    /// The next kernel takes the page for RAM. Nobody here reads the time or events any more.
    fn shutdown(&self) {
        if let Err(error) = self.frames.give_back() {
            pr_err!("Xen does not take its shared info page back ({error:?}).\n");
        }
    }
}

impl Resume for SharedInfo {
    fn resume(&self, wake: Wake) {
        if wake == Wake::Resumed {
            if let Err(error) = self.frames.remap(Space::SharedInfo, 0) {
                pr_err!("Xen does not map its shared info page again ({error:?}).\n");
            }
        }
    }
}
