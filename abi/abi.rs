// SPDX-License-Identifier: GPL-2.0

//! Xen's guest ABI and all protocol logic that can be stated without the kernel.
//!
//! The crate is part of `oxen_xen_core.ko` and, unchanged, a host crate for
//! tests, fuzzing and model checks. What comes out of memory that a peer can
//! write is copied once and validated before it is used.

#![cfg_attr(not(any(test, MODULE)), no_std)]
// Names that zerocopy's derives make, other than in the kernel.
#![cfg_attr(not(MODULE), allow(non_ascii_idents))]

// Base: how shared memory is reached, who may see it, and what the numbers mean.
pub mod cpuid;
pub mod event;
pub mod grant;
pub mod hypercall;
pub mod pvclock;
pub mod ring;
pub mod shared;
pub mod slots;
pub mod timer;
pub mod types;
pub mod unplug;
pub mod vcpu;

// Protocols, each with its driver.
pub mod balloon;
pub mod block;
pub mod console;
pub mod control;
pub mod net;

// The xenstore and the connections that are made through it.
pub mod connection;
pub mod xenstore;

// What programs use without a driver of their own.
pub mod userdev;
