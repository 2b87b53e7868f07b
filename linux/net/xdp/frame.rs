// SPDX-License-Identifier: GPL-2.0

//! A packet to send that is not one of the stack's (C header: `include/net/xdp.h`).
//!
//! A frame lies in one piece, of a page of a pool or of whatever the device that it came in on has. It holds no reference of
//! its own to that: it *is* the reference, and ends when the frame is returned.

use crate::{
    bindings,
    mm::page::PageRef,
    net::skb::{
        PageCopy,
        Run, //
    }, //
};
use core::ptr::NonNull;

/// A frame. Dropping it gives its memory back to where it came from.
///
/// # Invariants
///
/// `raw` is a valid frame in one piece, and ours. Its data lies in the kernel's linear mapping.
pub struct Frame {
    raw: NonNull<bindings::xdp_frame>,
}

// SAFETY: A frame is not bound to a thread.
unsafe impl Send for Frame {}
// SAFETY: Through a shared reference the frame is only read.
unsafe impl Sync for Frame {}

impl Frame {
    /// Takes over a frame.
    ///
    /// # Safety
    ///
    /// The frame is in one piece, and the caller gives it away.
    pub(super) unsafe fn from_raw(raw: NonNull<bindings::xdp_frame>) -> Self {
        // INVARIANT: By the safety requirements.
        Self { raw }
    }

    /// Where the frame lies.
    pub fn run(&self) -> Run {
        let (mut offset, mut len) = (0, 0);
        // SAFETY: Valid by the type invariant.
        let pfn = unsafe { bindings::xdp_frame_pfn(self.raw.as_ptr(), &mut offset, &mut len) };
        Run {
            pfn: pfn as u64,
            offset: offset as usize,
            len: len as usize,
        }
    }

    /// Copies bytes of the frame from `offset` on. Returns `None` if it has fewer.
    pub fn copy(&self, offset: usize, into: &mut [u8]) -> Option<()> {
        let end = offset.checked_add(into.len())?;
        if end > self.run().len {
            return None;
        }
        // SAFETY: The frame is valid by the type invariant, and has these bytes. CAST: It is far below 4 GiB.
        unsafe {
            bindings::xdp_frame_copy(
                self.raw.as_ptr(),
                offset as u32,
                into.as_mut_ptr().cast(),
                into.len() as u32,
            );
        }
        Some(())
    }

    /// Copies bytes of the frame from `offset` on to the front of a page of their own, and as much as there is room for;
    /// the rest of the page is zero. Returns `None` if there is no memory, or no byte at `offset`.
    pub fn copy_page(&self, offset: usize) -> Option<PageCopy> {
        let left = self.run().len.checked_sub(offset)?;
        PageCopy::with(left, |to, len| {
            // SAFETY: The frame is valid by the type invariant and has these bytes, and there is room for them.
            // CAST: At most a page.
            unsafe {
                bindings::xdp_frame_copy(self.raw.as_ptr(), offset as u32, to, len as u32);
            }
            Some(())
        })
    }

    /// A reference to the page of a byte of the frame, to keep its memory. `None` if the frame has no such byte.
    pub fn hold(&self, offset: usize) -> Option<PageRef> {
        if offset >= self.run().len {
            return None;
        }
        // SAFETY: The frame is valid by the type invariant, and has the byte. It holds its page for the time of the call.
        unsafe {
            let page = bindings::xdp_frame_page(self.raw.as_ptr(), offset as u32);
            PageRef::get(NonNull::new(page)?)
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: The frame is ours by the type invariant.
        unsafe { bindings::xdp_return_frame(self.raw.as_ptr()) }
    }
}

/// Frames that another device hands over to be sent. What is not taken stays that device's.
///
/// # Invariants
///
/// `frames` has `count` pointers to frames, of which those from `taken` on are not ours yet.
pub struct Frames<'a> {
    frames: &'a [*mut bindings::xdp_frame],
    taken: usize,
}

impl<'a> Frames<'a> {
    /// # Safety
    ///
    /// The frames are valid, and the caller gives those away that are taken.
    pub(super) unsafe fn new(frames: &'a [*mut bindings::xdp_frame]) -> Self {
        // INVARIANT: By the safety requirements.
        Self { frames, taken: 0 }
    }

    /// How many were taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let raw = NonNull::new(*self.frames.get(self.taken)?)?;
        // The stack asks before it sends frames of several pieces to a device that does not say that it takes them.
        // SAFETY: The frame is valid by the type invariant.
        if !unsafe { bindings::xdp_frame_is_one_piece(raw.as_ptr()) } {
            return None;
        }
        // INVARIANT: From here on the frame is ours.
        self.taken = self.taken.saturating_add(1);
        // SAFETY: The frame is in one piece, and was given away by taking it.
        Some(unsafe { Frame::from_raw(raw) })
    }
}
