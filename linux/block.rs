// SPDX-License-Identifier: GPL-2.0

//! Block devices on blk-mq.
//!
//! A driver implements [`Operations`]. It makes a [`Disk`], whose tag set hands it [`Request`]s: owned
//! values that the driver ends, requeues, or gives back. A request cannot be lost: one that is dropped ends
//! with an error. [`QueueRef`] starts stopped queues again from any context.
//!
//! The kernel crate has a wrapper of its own, which gives neither the kind nor the data of a request, nor
//! an error, nor a queue limit.
//!
//! C headers: `include/linux/blk-mq.h`, `include/linux/blkdev.h`

mod disk;
mod hw_queue;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
mod limits;
mod major;
mod operations;
mod request;
mod segments;
mod tag_set;

pub use disk::{
    Disk,
    Name,
    QueueRef, //
};
pub use hw_queue::HwQueue;
pub use limits::Limits;
pub use major::Major;
pub use request::{
    Op,
    Operations,
    Rejected,
    Request,
    Status, //
};
pub use segments::{
    Segment,
    Segments, //
};
