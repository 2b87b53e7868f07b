// SPDX-License-Identifier: GPL-2.0

//! What requests of a queue may look like.

use crate::bindings;

/// Bits of `queue_limits.features`, which are macros with a cast in C.
const FEAT_WRITE_CACHE: u32 = 1 << 0;
const FEAT_FUA: u32 = 1 << 1;
const FEAT_ROTATIONAL: u32 = 1 << 2;

/// Limits of a request queue whose device takes data page by page.
///
/// Each segment of a request lies in one page and is a multiple of 512 bytes at a multiple of 512.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Alignment of requests in bytes: a power of two from 512 to the page size.
    pub logical_block_size: u32,
    /// Size that the device writes at once.
    pub physical_block_size: u32,
    /// Most segments of a request.
    pub max_segments: u16,
    /// Whether completed writes may still be in a cache: the device gets flushes then.
    pub write_cache: bool,
    /// Whether the device can write through its cache, request by request.
    pub fua: bool,
    /// Most sectors of a discard; 0 when the device cannot.
    pub max_discard_sectors: u32,
    /// Unit of discards in bytes; one that is smaller than the physical block counts as that.
    pub discard_granularity: u32,
    /// Where the first unit of discards begins, in bytes.
    pub discard_alignment: u32,
    /// Most sectors of a secure erase; 0 when the device cannot.
    pub max_secure_erase_sectors: u32,
    /// Whether the device is rotating rust.
    pub rotational: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            logical_block_size: 512,
            physical_block_size: 512,
            max_segments: 1,
            write_cache: false,
            fua: false,
            max_discard_sectors: 0,
            discard_granularity: 0,
            discard_alignment: 0,
            max_secure_erase_sectors: 0,
            rotational: false,
        }
    }
}

impl Limits {
    /// Writes these limits into a C structure, whose other fields stay.
    pub(super) fn apply(&self, to: &mut bindings::queue_limits) {
        const PAGE: u32 = kernel::page::PAGE_SIZE as u32;
        let segments = self.max_segments.max(1);
        let mut features = 0;
        if self.write_cache {
            features |= FEAT_WRITE_CACHE;
        }
        if self.fua {
            features |= FEAT_FUA;
        }
        if self.rotational {
            features |= FEAT_ROTATIONAL;
        }
        to.features = (to.features & !(FEAT_WRITE_CACHE | FEAT_FUA | FEAT_ROTATIONAL)) | features;
        to.logical_block_size = self.logical_block_size;
        to.physical_block_size = self.physical_block_size;
        to.max_segments = segments;
        to.max_segment_size = PAGE;
        to.seg_boundary_mask = kernel::page::PAGE_SIZE - 1;
        to.max_hw_sectors = u32::from(segments).saturating_mul(PAGE / 512);
        // The largest request is the best one; a number that is no power of two would only mislead who aligns to it.
        let most = to.max_hw_sectors.saturating_mul(512);
        to.io_opt = if most.is_power_of_two() { most } else { 0 };
        // A device takes pieces of 512 bytes, but of whole logical blocks only.
        to.dma_alignment = self.logical_block_size.saturating_sub(1);
        to.max_hw_discard_sectors = self.max_discard_sectors;
        to.discard_granularity = self.discard_granularity;
        to.discard_alignment = self.discard_alignment;
        to.max_secure_erase_sectors = self.max_secure_erase_sectors;
    }
}
