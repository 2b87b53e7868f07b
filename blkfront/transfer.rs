// SPDX-License-Identifier: GPL-2.0

//! What belongs to a request while the backend has it.

use abi::block::{
    request::Operation,
    response::Outcome, //
};
use grant_table::Grant;
use kernel::prelude::*;

/// The driver's part of a block request.
///
/// The vector of grants is allocated with the request, so that none is in the data path.
pub(crate) struct Transfer {
    /// Grants of the data, in the order of the request's segments. Taken out when ended.
    pub(crate) grants: KVec<Option<Grant>>,
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
            grants: KVec::with_capacity(segments.into(), GFP_KERNEL)?,
            operation: Operation::Read,
            bytes: 0,
            outcome: Outcome::Failed,
        })
    }

    /// Begins to send `operation`.
    pub(crate) fn begin(&mut self, operation: Operation) {
        self.grants.clear();
        self.operation = operation;
        self.bytes = 0;
        self.outcome = Outcome::Failed;
    }
}
