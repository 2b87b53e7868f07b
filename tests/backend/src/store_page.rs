// SPDX-License-Identifier: GPL-2.0

//! The page that a guest and xenstored share (`struct xenstore_domain_interface` of `io/xs_wire.h`), written to as a hostile
//! server would. Xenstored has to be stopped meanwhile; what it answers the guest later is what interrupts the guest.

use crate::xen::grants::{Grants, Mapping};
use abi::shared::Memory;
use abi::xenstore::wire::{Header, Kind};
use anyhow::{bail, ensure, Result};
use clap::{Subcommand, ValueEnum};
use std::thread;
use std::time::{Duration, Instant};

/// The grant that the toolstack makes for it (`GNTTAB_RESERVED_XENSTORE`).
const GRANT: u32 = 1;

const SIZE: u32 = 1024;
const REPLIES: usize = 1024;
const REQ_CONS: usize = 2048;
const REQ_PROD: usize = 2052;
const RSP_PROD: usize = 2060;
const CONNECTION: usize = 2068;

/// `XENSTORE_RECONNECT`
const RECONNECT: u32 = 1;

/// How long a request is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// What is done to the page.
#[derive(Subcommand)]
pub(crate) enum Act {
    /// Moves an index of the server's.
    Shift {
        /// Which of the two.
        index: Index,
        /// How far.
        #[arg(allow_hyphen_values = true)]
        by: i32,
    },
    /// Puts a message among the replies.
    Say {
        /// Its kind.
        kind: u32,
        /// The request that it answers.
        request: u32,
        /// Its body, with a bar for each NUL.
        body: String,
        /// The length that it claims to have.
        #[arg(long)]
        length: Option<u32>,
    },
    /// Waits until the guest has begun anew: it ends the watches of before, or asks the server to begin anew too.
    Anew,
    /// Answers the guest's next request of a kind.
    Answer {
        /// Its kind.
        kind: u32,
        /// The kind of the answer.
        with: u32,
        /// Its body, with a bar for each NUL.
        body: String,
    },
}

/// An index of the server's.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Index {
    /// How much it has read.
    Requests,
    /// How much it has written.
    Replies,
}

/// Does it.
///
/// # Errors
///
/// When Xen does not let us have the page, and when there is no request to be answered or no room for a message.
pub(crate) fn play(domain: u16, act: &Act) -> Result<()> {
    let page = Page(Grants::open(domain)?.map(&[GRANT], true)?);
    match act {
        Act::Shift { index, by } => {
            let at = match index {
                Index::Requests => REQ_CONS,
                Index::Replies => RSP_PROD,
            };
            let value = page.0.load_u32(at);
            page.0.store_release_u32(at, value.wrapping_add_signed(*by));
            Ok(())
        }
        Act::Say {
            kind,
            request,
            body,
            length,
        } => page.say(*kind, *request, body, *length),
        Act::Anew => page.wait_for(Kind::ResetWatches.number()).map(drop),
        Act::Answer { kind, with, body } => {
            let request = page.wait_for(*kind)?;
            page.say(*with, request, body, None)
        }
    }
}

struct Page(Mapping);

impl Page {
    fn say(&self, kind: u32, request: u32, body: &str, length: Option<u32>) -> Result<()> {
        let body = body.replace('|', "\0");
        let header = Header {
            kind,
            request,
            transaction: 0,
            length: length.unwrap_or(u32::try_from(body.len())?),
        };
        let bytes = [&header.encode(), body.as_bytes()].concat();
        let from = self.0.load_u32(RSP_PROD);
        // The guest has read all there is: it is stopped, or has nothing to do.
        ensure!(
            bytes.len() < SIZE as usize,
            "a message longer than the ring"
        );
        let mut at = from;
        for byte in &bytes {
            self.0.write(REPLIES + (at % SIZE) as usize, &[*byte]);
            at = at.wrapping_add(1);
        }
        self.0.store_release_u32(RSP_PROD, at);
        Ok(())
    }

    /// The number of the guest's first request of a kind, 0 if it begins anew.
    fn wait_for(&self, kind: u32) -> Result<u32> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if self.0.load_u32(CONNECTION) == RECONNECT {
                return Ok(0);
            }
            let end = self.0.load_acquire_u32(REQ_PROD);
            let mut at = self.0.load_u32(REQ_CONS);
            while end.wrapping_sub(at) as usize >= Header::SIZE {
                let mut header = [0; Header::SIZE];
                for (byte, at) in header.iter_mut().zip(at..) {
                    let mut read = [0];
                    self.0.read((at % SIZE) as usize, &mut read);
                    *byte = read[0];
                }
                let header = Header::decode(&header);
                if header.kind == kind {
                    return Ok(header.request);
                }
                at = at.wrapping_add(Header::SIZE as u32 + header.length);
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("the guest makes no request of kind {kind}")
    }
}
