// SPDX-License-Identifier: GPL-2.0

//! Transactions: several changes that happen all at once or not at all.

use core::ops::Deref;

use abi::xenstore::transaction::{
    backoff,
    ATTEMPTS, //
};
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};
use linux::error::ECONNRESET;

use super::{
    nodes::Store,
    opened::Opened, //
};

/// An open transaction. Dropping it undoes all that was done in it.
pub struct Transaction {
    store: Store,
    opened: Opened,
}

impl Store {
    /// Runs `with` in a transaction and commits it, again when somebody else changed what it has seen or the connection
    /// was lost meanwhile.
    ///
    /// # Errors
    ///
    /// What `with` reports, with everything undone; `EAGAIN` when it collided each time.
    pub fn transaction<R>(&self, mut with: impl FnMut(&Store) -> Result<R>) -> Result<R> {
        if !self.within().is_none() {
            return with(self);
        }
        let mut result = Err(EAGAIN);
        for attempt in 0..ATTEMPTS {
            pause(attempt);
            result = self.attempt(&mut with);
            if !matches!(result, Err(EAGAIN | ECONNRESET)) {
                break;
            }
        }
        result
    }

    fn attempt<R>(&self, with: &mut impl FnMut(&Store) -> Result<R>) -> Result<R> {
        let transaction = self.begin()?;
        let value = with(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// Begins a transaction; for a single caller [`Self::transaction`] is easier.
    ///
    /// # Errors
    ///
    /// `EBUSY` inside of a transaction, `ENOSPC` when too many are open and none ends.
    pub fn begin(&self) -> Result<Transaction> {
        if !self.within().is_none() {
            return Err(EBUSY);
        }
        let mut result = Err(ENOSPC);
        for attempt in 0..ATTEMPTS {
            pause(attempt);
            result = Opened::start(self.client(), self.user());
            // The server's quota may be smaller than ours, or used up by an earlier user of the connection.
            if !matches!(result, Err(ENOSPC)) {
                break;
            }
        }
        let opened = result?;
        Ok(Transaction {
            store: self.inside(opened.within()),
            opened,
        })
    }
}

fn pause(attempt: u32) {
    if attempt > 0 {
        fsleep(Delta::from_millis(i64::from(backoff(attempt))));
    }
}

impl Transaction {
    /// Makes the changes real.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when somebody else changed what this transaction has seen; nothing was done then.
    pub fn commit(self) -> Result {
        self.opened.commit(self.store.user())
    }
}

impl Deref for Transaction {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}
