// SPDX-License-Identifier: GPL-2.0

//! What the other domain is to see when a program lets go of a page.

use abi::{
    shared::{
        Memory,
        RawMemory, //
    },
    userdev::notify::Wanted, //
};
use evtchn::Notifier;
use kernel::prelude::*;

use crate::known::Known;

/// A byte that becomes 0, and a port that is notified then.
#[derive(Default)]
pub(crate) struct Parting {
    clear: Option<usize>,
    send: Option<Notifier>,
}

impl Parting {
    /// What a program wants.
    ///
    /// # Errors
    ///
    /// `EINVAL` when no program has the port.
    pub(crate) fn new(wanted: &Wanted, known: &Known) -> Result<Self> {
        Ok(Self {
            clear: wanted.clear,
            send: match wanted.send {
                Some(port) => Some(known.get(port).ok_or(EINVAL)?),
                None => None,
            },
        })
    }

    /// Tells whether a byte is to become 0.
    pub(crate) fn clears(&self) -> bool {
        self.clear.is_some()
    }

    /// Does it, to a page that is still shared, if there is one.
    pub(crate) fn say(&self, page: Option<&RawMemory>) {
        if let (Some(byte), Some(page)) = (self.clear, page) {
            page.write(byte, &[0]);
        }
        if let Some(port) = &self.send {
            port.notify();
        }
    }
}
