// SPDX-License-Identifier: GPL-2.0

//! Xen's guest ABI and all protocol logic that can be stated without the kernel.
//!
//! The crate is part of `oxen_xen_core.ko` and, unchanged, a host crate for
//! tests, fuzzing and model checks. What comes out of memory that a peer can
//! write is copied once and validated before it is used.

#![cfg_attr(not(any(test, MODULE)), no_std)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

// Protocols, each with its driver.
pub mod block;
pub mod console;

// Base: how shared memory is reached, who may see it, and what the numbers mean.
pub mod grant;
// Base: how shared memory is reached, and what the numbers mean.
pub mod cpuid;
pub mod event;
pub mod hypercall;
pub mod net;
pub mod pvclock;
pub mod ring;
pub mod shared;
pub mod slots;
pub mod timer;
pub mod types;
pub mod unplug;

// The xenstore and the connections that are made through it.
pub mod connection;
pub mod xenstore;
