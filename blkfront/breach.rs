// SPDX-License-Identifier: GPL-2.0

//! Whether a response is one, and what is wrong with it if it is not.

use crate::transfer::Blk;
use abi::{
    block::response::{
        Outcome,
        Response,
        WrongOperation, //
    },
    ring::Broken,
    slots::{
        Slot,
        SlotTable,
        UnknownId, //
    },
};
use core::fmt;
use kernel::prelude::*;
use linux::block::Request;

/// Requests that the backend has.
pub(crate) type Sent = SlotTable<Request<Blk>, KVec<Slot<Request<Blk>>>>;

/// How a backend broke the rules.
#[derive(Clone, Copy)]
pub(crate) enum Breach {
    /// The index of the ring.
    Index(Broken),
    /// The id of a response.
    Id(u64, UnknownId),
    /// The operation of a response.
    Operation(WrongOperation),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Breach::Index(broken) => broken.fmt(f),
            Breach::Id(id, why) => write!(f, "{why} (id {id:#x})"),
            Breach::Operation(wrong) => wrong.fmt(f),
        }
    }
}

/// Finds the request that a response answers. It stays in the table unless the response is right.
pub(crate) fn judge(
    sent: &mut Sent,
    response: &Response,
) -> Result<(Request<Blk>, Outcome), Breach> {
    let id = response.id();
    let rq = sent.get(id).map_err(|why| Breach::Id(id, why))?;
    let outcome = response
        .outcome(rq.pdu().operation)
        .map_err(Breach::Operation)?;
    let rq = sent.take(id).map_err(|why| Breach::Id(id, why))?;
    Ok((rq, outcome))
}
