// SPDX-License-Identifier: GPL-2.0

//! How the two ends of a split driver find together: the states of Xen's `io/xenbus.h`, and what a frontend does upon
//! each.
//!
//! Each end publishes one number, its `state` key, and watches the number of the other. The other end is not trusted:
//! any number may appear after any other. [`Life`] answers every sequence of them, and of all else that can happen to a
//! device, with [`Step`]s that are safe for what our end holds at that moment.

mod attempts;
mod identity;
mod life;
mod state;

pub use attempts::{
    Attempts,
    Backoff, //
};
pub use identity::{
    replaced,
    Otherend,
    Replaced,
    Written, //
};
pub use life::{
    Awaits,
    Input,
    Life,
    Phase,
    Step, //
};
pub use state::{
    BadState,
    State, //
};
