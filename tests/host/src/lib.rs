// SPDX-License-Identifier: GPL-2.0

//! What the proofs of `abi` stand on: a page that a hostile peer owns too ([`peer`]), memory for the model checker
//! ([`model`]), and Xen's own headers and ring macros, compiled from C ([`xen`]).

#[cfg(feature = "model")]
pub mod model;
pub mod peer;
pub mod xen;
