// SPDX-License-Identifier: GPL-2.0

//! What the user can set as the module is loaded.

use abi::block::{
    features::{
        MAX_QUEUES,
        MAX_RING_ORDER,
        MAX_SEGMENTS, //
    },
    DIRECT_SEGMENTS, //
};
use kernel::prelude::*;
use linux::cpu;

linux::param!(
    SEGMENTS: u32 = 32,
    "max_indirect_segments",
    c"max_indirect_segments",
    "Most 4 KiB segments of a request, 11 to 256 (default 32)"
);

linux::param!(
    RING_ORDER: u32 = 2,
    "max_ring_page_order",
    c"max_ring_page_order",
    "Largest ring, as a power of two of pages, 0 to 4 (default 2)"
);

linux::param!(
    QUEUES: u32 = 0,
    "max_queues",
    c"max_queues",
    "Most rings of a disk, up to 16 (default 0: one for each CPU)"
);

linux::param!(
    TRUSTED: bool = true,
    "trusted",
    c"trusted",
    "Let backends see the pages of requests; if not, all data is copied (default yes; a disk with trusted=0 in the xenstore never does)"
);

linux::param!(
    live RECONNECT: u32 = 0,
    "reconnect_timeout",
    c"reconnect_timeout",
    "Seconds that requests wait for a backend that has left, before they fail until it is back (default 0: for ever)"
);

linux::text_param!(
    PERSISTENT,
    "persistent",
    c"persistent",
    "Have the backend keep our pages mapped, which are copied to and from then: auto or on (if it can), off"
);

/// Most segments of a request. A parameter that is too large is as good as the largest, here and below.
pub(crate) fn segments() -> u16 {
    u16::try_from(SEGMENTS.get())
        .unwrap_or(MAX_SEGMENTS)
        .clamp(DIRECT_SEGMENTS, MAX_SEGMENTS)
}

/// The largest ring, as a power of two of pages.
pub(crate) fn ring_order() -> u8 {
    u8::try_from(RING_ORDER.get())
        .unwrap_or(MAX_RING_ORDER)
        .min(MAX_RING_ORDER)
}

/// A ring for each CPU, unless the user wants fewer.
pub(crate) fn queues() -> u16 {
    let cpus = u16::try_from(cpu::online().count()).unwrap_or(MAX_QUEUES);
    match u16::try_from(QUEUES.get()).unwrap_or(MAX_QUEUES) {
        0 => cpus,
        most => cpus.min(most),
    }
    .clamp(1, MAX_QUEUES)
}

/// Milliseconds that requests wait for a backend that has left; `None` for as long as it takes.
pub(crate) fn reconnect_ms() -> Option<u32> {
    match RECONNECT.get() {
        0 => None,
        seconds => Some(seconds.saturating_mul(1000)),
    }
}

/// Whether backends are trusted with the guest's pages.
pub(crate) fn trusted() -> bool {
    TRUSTED.get()
}

/// Whether grants that the backend keeps are wanted.
pub(crate) fn persistent() -> bool {
    PERSISTENT.get() != "off"
}

/// Checks the parameters that are words.
///
/// # Errors
///
/// `EINVAL`, after a sentence.
pub(crate) fn check_words() -> Result {
    if matches!(PERSISTENT.get(), "" | "auto" | "on" | "off") {
        return Ok(());
    }
    pr_err!(
        "persistent={} is none of auto, on and off.\n",
        PERSISTENT.get()
    );
    Err(EINVAL)
}
