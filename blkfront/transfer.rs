// SPDX-License-Identifier: GPL-2.0

//! What belongs to a request while the backend has it, and the name under which the block layer knows its driver.

use crate::stock::Buffer;
use abi::block::{
    request::Operation,
    response::Outcome, //
};
use grant_table::Grant;
use kernel::prelude::*;

/// The block operations, which are in [`operations`](crate::operations).
pub(crate) struct Blk;

/// What the backend has for one segment of a request.
pub(crate) enum Lent {
    /// The segment's own page.
    Page(Grant),
    /// A page of ours with a copy.
    Copy(Buffer),
}

/// The driver's part of a block request.
///
/// The vector is allocated with the request, so that no allocation is in the data path.
pub(crate) struct Transfer {
    /// What the backend has, in the order of the request's segments. Taken out when it has ended.
    pub(crate) lent: KVec<Option<Lent>>,
    /// The page that names the segments of an indirect request.
    pub(crate) indirect: Option<Buffer>,
    /// What was sent, as the response has to repeat it: an indirect request is answered as the read or
    /// write that is in it.
    pub(crate) operation: Operation,
    /// Bytes that were sent, which may be less than the request has.
    pub(crate) bytes: u32,
    /// How it was answered, while it is held back.
    pub(crate) outcome: Outcome,
}

impl Transfer {
    /// Makes room for `segments` segments.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(segments: u16) -> Result<Self> {
        Ok(Self {
            lent: KVec::with_capacity(segments.into(), GFP_KERNEL)?,
            indirect: None,
            operation: Operation::Read,
            bytes: 0,
            outcome: Outcome::Failed,
        })
    }

    /// Begins to send `operation`.
    pub(crate) fn begin(&mut self, operation: Operation) {
        self.lent.clear();
        self.operation = operation;
        self.bytes = 0;
        self.outcome = Outcome::Failed;
    }
}
