// SPDX-License-Identifier: GPL-2.0

//! The xenstore protocol: Xen's `io/xs_wire.h` and its document `misc/xenstore.txt`.
//!
//! A request travels as a header and a body through one ring of 1 KiB, replies and watch events come back through
//! another. The server is not trusted to keep to the protocol, so each layer checks its part: [`ring`] the indices,
//! [`stream`] the lengths, [`replies`] the identifiers and types, the others the bodies.

pub mod directory;
pub mod error;
pub mod path;
pub mod replies;
pub mod ring;
pub mod shares;
pub mod stream;
pub mod transaction;
pub mod value;
pub mod watch;
pub mod wire;
