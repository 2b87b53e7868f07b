// SPDX-License-Identifier: GPL-2.0

//! Packets as owned values (C header: `include/linux/skbuff.h`).
//!
//! [`SkBuff`] is a packet to send, [`RxSkb`] one that is being received.

use super::page_pool::{
    RxPage,
    PAGE_SIZE, //
};
use crate::bindings;
use core::{
    mem,
    num::NonZeroU16,
    ptr::NonNull, //
};
use kernel::{
    alloc::flags::*,
    error::to_result,
    ffi::c_void,
    page::Page,
    prelude::*, //
};

/// Most fragments of a packet besides its head.
pub const MAX_FRAGS: usize = bindings::MAX_SKB_FRAGS as usize;

/// Bytes of an Ethernet header.
pub const ETHERNET_HEADER: usize = bindings::ETH_HLEN as usize;

/// Protocol of a packet that stands for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoType {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
}

/// What is known about a packet's transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing.
    Unknown,
    /// It is right.
    Validated,
    /// It has yet to be filled in; the field holds the sum of the pseudo header.
    Blank,
    /// It has yet to be filled in, and so has the sum of the pseudo header. Only for received packets.
    Rebuild,
}

/// A run of bytes of a packet in memory. It can be longer than a page; the pages follow each other.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Frame of the page that `offset` counts from.
    pub pfn: u64,
    /// Offset of the first byte. Can exceed a page.
    pub offset: usize,
    /// Number of bytes.
    pub len: usize,
}

/// A packet to send. Dropping it counts as a packet lost; see [`SkBuff::consume`].
///
/// # Invariants
///
/// `raw` is a valid packet to which this value holds a reference.
pub struct SkBuff {
    raw: NonNull<bindings::sk_buff>,
}

// SAFETY: A packet is not bound to a thread.
unsafe impl Send for SkBuff {}
// SAFETY: Through a shared reference the packet is only read.
unsafe impl Sync for SkBuff {}

impl SkBuff {
    /// Takes over a packet.
    ///
    /// # Safety
    ///
    /// The caller gives its reference to the packet away.
    pub(super) unsafe fn from_raw(raw: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: By the safety requirements.
        Self { raw }
    }

    /// Gives the packet back to C.
    pub(super) fn into_raw(self) -> *mut bindings::sk_buff {
        let raw = self.raw.as_ptr();
        mem::forget(self);
        raw
    }

    fn get(&self) -> &bindings::sk_buff {
        // SAFETY: Valid by the type invariant. Its owner changes it only through `&mut`.
        unsafe { self.raw.as_ref() }
    }

    /// Bytes of the packet.
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.get().len as usize
    }

    /// Bytes of its head, which lie in one piece.
    pub fn head_len(&self) -> usize {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::skb_headlen(self.raw.as_ptr()) as usize }
    }

    /// Where the head lies.
    pub fn head(&self) -> Run {
        let mut offset = 0;
        // SAFETY: Valid by the type invariant; heads of packets lie in the kernel's linear mapping.
        let pfn = unsafe { bindings::skb_head_pfn(self.raw.as_ptr(), &mut offset) };
        Run {
            pfn: pfn as u64,
            offset: offset as usize,
            len: self.head_len(),
        }
    }

    /// Number of fragments besides the head.
    pub fn fragments(&self) -> usize {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::skb_nr_frags(self.raw.as_ptr()) as usize }
    }

    /// Where a fragment lies.
    pub fn fragment(&self, index: usize) -> Option<Run> {
        if index >= self.fragments() {
            return None;
        }
        let (mut offset, mut len) = (0, 0);
        // SAFETY: Valid by the type invariant, and the fragment exists.
        let pfn = unsafe {
            bindings::skb_frag_pfn(self.raw.as_ptr(), index as u32, &mut offset, &mut len)
        };
        Some(Run {
            pfn: pfn as u64,
            offset: offset as usize,
            len: len as usize,
        })
    }

    /// All runs of bytes behind the first `skip` bytes of the packet; none is empty.
    pub fn runs(&self, skip: usize) -> impl Iterator<Item = Run> + '_ {
        let mut skip = skip;
        let fragments = (0..self.fragments()).filter_map(|i| self.fragment(i));
        Iterator::chain(core::iter::once(self.head()), fragments).filter_map(move |run| {
            let skipped = skip.min(run.len);
            skip = skip.saturating_sub(skipped);
            let len = run.len.saturating_sub(skipped);
            let offset = run.offset.saturating_add(skipped);
            (len != 0).then_some(Run { offset, len, ..run })
        })
    }

    /// State of the transport checksum.
    pub fn checksum(&self) -> Checksum {
        // SAFETY: Valid by the type invariant.
        match u32::from(unsafe { bindings::skb_ip_summed(self.raw.as_ptr()) }) {
            bindings::CHECKSUM_PARTIAL => Checksum::Blank,
            bindings::CHECKSUM_UNNECESSARY => Checksum::Validated,
            _ => Checksum::Unknown,
        }
    }

    /// How the packet is to be segmented, if at all: protocol and bytes of each segment.
    pub fn gso(&self) -> Option<(GsoType, u16)> {
        // SAFETY: Valid by the type invariant.
        let (size, kind) = unsafe {
            (
                bindings::skb_gso_size(self.raw.as_ptr()),
                bindings::skb_gso_type(self.raw.as_ptr()),
            )
        };
        if size == 0 {
            return None;
        }
        let kind = if kind & bindings::SKB_GSO_TCPV6 as u32 != 0 {
            GsoType::TcpV6
        } else {
            GsoType::TcpV4
        };
        Some((kind, u16::try_from(size).unwrap_or(u16::MAX)))
    }

    /// Copies bytes of the packet from `offset` on.
    ///
    /// # Errors
    ///
    /// The packet has fewer.
    pub fn copy(&self, offset: usize, into: &mut [u8]) -> Result {
        let (offset, len) = (offset.try_into()?, into.len().try_into()?);
        // SAFETY: Valid by the type invariant, and there is room; the function checks what the packet has.
        to_result(unsafe {
            bindings::skb_copy_bits(self.raw.as_ptr(), offset, into.as_mut_ptr().cast(), len)
        })
    }

    /// Copies bytes of the packet from `offset` on to the front of a page of their own, and as much as there is room for;
    /// the rest of the page is zero.
    ///
    /// Returns `None` if there is no memory, or no byte at `offset`.
    pub fn copy_page(&self, offset: usize) -> Option<PageCopy> {
        let left = self.len().checked_sub(offset)?;
        PageCopy::with(left, |to, len| {
            // SAFETY: The packet is valid and there is room for the copy. CAST: A packet is far below 2 GiB.
            let copied = unsafe {
                bindings::skb_copy_bits(self.raw.as_ptr(), offset as i32, to, len as i32)
            };
            to_result(copied).ok()
        })
    }

    /// Tells the stack that the packet is about to be sent.
    pub fn timestamp(&mut self) {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::skb_tx_timestamp(self.raw.as_ptr()) }
    }

    /// Another reference, to keep the memory of the packet.
    pub fn hold(&self) -> Self {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::skb_get(self.raw.as_ptr()) };
        // INVARIANT: The new value owns the new reference.
        Self { raw: self.raw }
    }

    /// Ends the packet as one that was sent. `budget` is that of the poll, or 0 elsewhere.
    pub fn consume(self, budget: usize) {
        // SAFETY: The reference is given away.
        // CAST: A budget is small.
        unsafe { bindings::napi_consume_skb(self.into_raw(), budget as i32) }
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariant.
        unsafe { bindings::dev_kfree_skb_any(self.raw.as_ptr()) }
    }
}

/// A copy of a piece of a packet, alone in its page.
pub struct PageCopy {
    page: Page,
    len: usize,
}

impl PageCopy {
    /// Copies what there is of `left` bytes, and as much as there is room for: `copy` gets the place, and how many bytes.
    /// `None` if there is no memory, nothing to copy, or that fails.
    pub(super) fn with(
        left: usize,
        copy: impl FnOnce(*mut c_void, usize) -> Option<()>,
    ) -> Option<Self> {
        let len = left.min(PAGE_SIZE);
        if len == 0 {
            return None;
        }
        let page = Page::alloc_page(GFP_ATOMIC | __GFP_ZERO | __GFP_NOWARN).ok()?;
        // SAFETY: The page is allocated with a kernel mapping.
        copy(unsafe { bindings::page_address(page.as_ptr().cast()) }, len)?;
        Some(Self { page, len })
    }

    /// The number of the page's frame.
    pub fn pfn(&self) -> u64 {
        // SAFETY: The page is valid.
        unsafe { bindings::page_to_pfn(self.page.as_ptr().cast()) as u64 }
    }

    /// Bytes of the copy, at least one, from the front of the page on.
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }
}

/// A packet that is being received.
///
/// # Invariants
///
/// Nobody else has a reference to the packet.
pub struct RxSkb(SkBuff);

impl RxSkb {
    /// Takes over a new packet.
    ///
    /// # Safety
    ///
    /// As for [`SkBuff::from_raw`]; the packet's pages are of pools, and no one else has a reference to it.
    pub(super) unsafe fn from_raw(raw: NonNull<bindings::sk_buff>) -> Self {
        // SAFETY: By the safety requirements.
        let skb = unsafe { SkBuff::from_raw(raw) };
        // SAFETY: The packet is valid.
        unsafe { bindings::skb_mark_for_recycle(raw.as_ptr()) };
        // INVARIANT: By the safety requirements.
        Self(skb)
    }

    fn raw(&self) -> *mut bindings::sk_buff {
        self.0.raw.as_ptr()
    }

    /// Bytes of the packet so far.
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends bytes of a page to the head, as many of `len` as there is room for. Returns how many.
    ///
    /// To be called before [`append_page`](Self::append_page).
    pub fn append_to_head(&mut self, page: &RxPage, offset: usize, len: usize) -> usize {
        // SAFETY: The packet is valid by the type invariant.
        let room = unsafe { bindings::skb_tailroom(self.raw()) } as usize;
        let len = len.min(room).min(PAGE_SIZE.saturating_sub(offset));
        if self.0.fragments() != 0 || len == 0 {
            return 0;
        }
        // SAFETY: Both are valid, there is room, the bytes are inside the page, and the packet is linear.
        unsafe {
            bindings::skb_put_page_data(self.raw(), page.raw(), offset as u32, len as u32);
        }
        len
    }

    /// Appends a page of which the packet has `len` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// The page comes back if the packet has no room for it or the bytes are not inside it.
    pub fn append_page(&mut self, page: RxPage, offset: usize, len: usize) -> Result<(), RxPage> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= PAGE_SIZE);
        if !inside || self.0.fragments() >= MAX_FRAGS {
            return Err(page);
        }
        // SAFETY: The packet is valid and has room; the page is handed over to it. Packets give pages of a pool back to
        // it because `from_raw` marked them so.
        unsafe {
            bindings::skb_append_page(
                self.raw(),
                page.into_raw(),
                offset as u32,
                len as u32,
                PAGE_SIZE as u32,
            );
        }
        Ok(())
    }

    /// Marks the packet as one to be segmented. The stack checks what it says about that.
    pub fn set_gso(&mut self, kind: GsoType, size: NonZeroU16) {
        let kind = match kind {
            GsoType::TcpV4 => bindings::SKB_GSO_TCPV4,
            GsoType::TcpV6 => bindings::SKB_GSO_TCPV6,
        };
        // SAFETY: The packet is valid by the type invariant.
        unsafe { bindings::skb_set_gso_dodgy(self.raw(), size.get(), kind as u32) }
    }

    /// Gives the packet a hash of its addresses, and of its `ports` too if so.
    pub fn set_hash(&mut self, value: u32, ports: bool) {
        // SAFETY: The packet is valid by the type invariant.
        unsafe { bindings::skb_set_rx_hash(self.raw(), value, ports) }
    }

    /// Completes the packet: reads its Ethernet header and settles the checksum.
    ///
    /// # Errors
    ///
    /// The packet is dropped if it has no header in its head, or no checksum where there should be one.
    pub(super) fn complete(
        self,
        dev: *mut bindings::net_device,
        queue: u16,
        checksum: Checksum,
    ) -> Result<SkBuff> {
        if self.0.head_len() < ETHERNET_HEADER {
            return Err(EINVAL);
        }
        let (summed, rebuild) = match checksum {
            Checksum::Unknown => (bindings::CHECKSUM_NONE, None),
            Checksum::Validated => (bindings::CHECKSUM_UNNECESSARY, None),
            Checksum::Blank => (bindings::CHECKSUM_PARTIAL, Some(false)),
            Checksum::Rebuild => (bindings::CHECKSUM_PARTIAL, Some(true)),
        };
        // SAFETY: The packet is valid and ours, its head holds an Ethernet header, and the device is valid since a poll
        // of it runs.
        unsafe {
            bindings::skb_set_protocol(self.raw(), dev);
            bindings::skb_record_rx_queue(self.raw(), queue);
            // CAST: The four values fit.
            bindings::skb_set_ip_summed(self.raw(), summed as u8);
        }
        if let Some(rebuild) = rebuild {
            // SAFETY: As above.
            to_result(unsafe { bindings::skb_checksum_setup(self.raw(), rebuild) })?;
        }
        Ok(self.0)
    }
}
