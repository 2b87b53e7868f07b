// SPDX-License-Identifier: GPL-2.0

//! Memory that we have in common with Xen and the toolstack, and who owns it.
//!
//! [`XenFrames`] are Xen's frames put in the place of our RAM, [`EventPage`] is RAM of ours that Xen writes to, and
//! [`ToolstackPage`] is a frame that the toolstack put beside our RAM.

use crate::hypercall::{
    hvm,
    memory, //
};
use abi::{
    hypercall::{
        hvm::Param,
        memory::Space, //
    },
    shared::RawMemory,
    types::Gfn,
};
use core::{
    mem::ManuallyDrop,
    ops::Deref, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
};
use linux::mm::{
    memremap::MappedFrame,
    pages::OwnedPages, //
};

/// Frames of Xen, reached through the kernel's own mapping of the RAM pages that they replace.
///
/// Dropping them gives the frames back to Xen and good RAM back to the kernel.
///
/// # Invariants
///
/// The first `replaced` frames of `ram` are Xen's, the others are plain RAM or, if Xen had none left, nothing.
pub struct XenFrames {
    ram: ManuallyDrop<OwnedPages>,
    replaced: Atomic<usize>,
}

impl XenFrames {
    /// Maps `count` frames of `space` from `index` on.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the space has no such frames, `ENOMEM`.
    pub fn new(space: Space, index: u64, count: usize) -> Result<Self> {
        let frames = Self::plain(count)?;
        let result = (index..)
            .zip(frames.ram.gfns())
            .try_for_each(|(index, gfn)| {
                // SAFETY: The frame is ours, holds nothing yet, and is reached only as shared memory.
                unsafe { memory::add_to_physmap(space, index, gfn) }?;
                // INVARIANT: One more is Xen's, also if the next one fails.
                frames.replaced.add(1, Relaxed);
                Ok(())
            });
        result.map(|()| frames)
    }

    /// RAM of which nothing is Xen's; tests need no more.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn plain(count: usize) -> Result<Self> {
        Ok(Self {
            ram: ManuallyDrop::new(OwnedPages::new(count)?),
            replaced: Atomic::new(0),
        })
    }

    /// Gives the frames back to Xen: what is reached here is RAM from then on. May be called more than once.
    ///
    /// # Errors
    ///
    /// What Xen says. There may be no memory behind the frames then.
    pub fn give_back(&self) -> Result {
        let replaced = self.replaced.xchg(0, Full);
        self.ram.gfns().take(replaced).try_for_each(|gfn| {
            // SAFETY: The frame is reached only through this value and only as shared memory, whose values mean nothing
            // while there is none.
            unsafe { memory::remove_from_physmap(gfn) }?;
            match memory::populate_physmap(&mut [gfn])? {
                0 => Err(ENOMEM),
                _ => Ok(()),
            }
        })
    }

    /// The frames as shared memory.
    #[inline]
    pub fn memory(&self) -> &RawMemory {
        self.ram.memory()
    }

    /// Puts the frames of `space` from `index` on in place again, after the domain was restored elsewhere.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn remap(&self, space: Space, index: u64) -> Result {
        for (index, gfn) in (index..).zip(self.ram.gfns()) {
            // SAFETY: As in `new`.
            unsafe { memory::add_to_physmap(space, index, gfn) }?;
        }
        Ok(())
    }
}

impl Drop for XenFrames {
    fn drop(&mut self) {
        let returned = self.give_back();
        // SAFETY: The field is not used after this.
        let ram = unsafe { ManuallyDrop::take(&mut self.ram) };
        if let Err(error) = returned {
            // There may be no memory behind it: nobody may get it.
            pr_warn!("A frame could not be made RAM again ({error:?}): it is lost until the next boot.\n");
            ram.leak();
        }
    }
}

/// Tells whether Xen keeps references to event pages.
static XEN_HAS_EVENT_PAGES: Atomic<i32> = Atomic::new(0);

/// A page of ours that Xen reads and writes in the FIFO ABI of event channels.
///
/// Xen keeps it until the event channels are reset; a page that is dropped earlier is never given to anybody else.
pub struct EventPage(ManuallyDrop<OwnedPages>);

impl EventPage {
    /// Allocates a zeroed page.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        Ok(Self(ManuallyDrop::new(OwnedPages::new(1)?)))
    }

    /// The page as shared memory.
    #[inline]
    pub fn memory(&self) -> &RawMemory {
        self.0.memory()
    }

    pub(crate) fn gfn(&self) -> Gfn {
        self.0.gfns().next().unwrap_or_default()
    }

    pub(crate) fn given_to_xen() {
        XEN_HAS_EVENT_PAGES.store(1, Relaxed);
    }

    pub(crate) fn released_by_xen() {
        let _ = XEN_HAS_EVENT_PAGES.xchg(0, Full);
    }
}

impl Drop for EventPage {
    fn drop(&mut self) {
        // SAFETY: The field is not used after this.
        let ram = unsafe { ManuallyDrop::take(&mut self.0) };
        if XEN_HAS_EVENT_PAGES.load(Relaxed) != 0 {
            pr_warn!("A page of event words was dropped before the event channels were reset: it is lost.\n");
            ram.leak();
        }
    }
}

impl Deref for EventPage {
    type Target = RawMemory;

    fn deref(&self) -> &RawMemory {
        self.memory()
    }
}

/// A page that the toolstack made: that of the xenstore or of the console.
pub struct ToolstackPage(MappedFrame);

impl ToolstackPage {
    /// The page as shared memory.
    #[inline]
    pub fn memory(&self) -> &RawMemory {
        self.0.memory()
    }
}

/// Maps the page whose frame number `param` tells.
///
/// # Errors
///
/// `ENODEV` when the toolstack made none.
pub fn toolstack_page(param: Param) -> Result<ToolstackPage> {
    if !matches!(param, Param::StorePfn | Param::ConsolePfn) {
        return Err(EINVAL);
    }
    let gfn = hvm::param(param)?;
    if gfn == 0 || gfn >= u64::MAX >> 12 {
        return Err(ENODEV);
    }
    // SAFETY: The toolstack puts these pages where the memory map shows none of our RAM.
    unsafe { MappedFrame::new(Gfn(gfn)) }.map(ToolstackPage)
}
