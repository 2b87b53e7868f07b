// SPDX-License-Identifier: GPL-2.0

//! Transactions: several changes that happen all at once or not at all.

use core::ops::Deref;

use abi::xenstore::{
    value::parse_u32,
    wire::Kind, //
};
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

use crate::{
    body::Message,
    store::Store, //
};

/// How often a transaction that collides is run.
const ATTEMPTS: u32 = 16;

/// An open transaction. Dropping it undoes all that was done in it.
pub struct Transaction {
    store: Store,
    open: bool,
}

impl Transaction {
    pub(crate) fn begin(store: &Store) -> Result<Self> {
        if store.transaction_number() != 0 {
            return Err(EBUSY);
        }
        let message = Message::new()?.raw(&[0])?;
        let answer = store.client().call(Kind::TransactionStart, 0, message)?;
        let digits = answer.strip_suffix(b"\0").unwrap_or(&answer);
        match parse_u32(digits) {
            Ok(0) | Err(_) => Err(EPROTO),
            Ok(number) => Ok(Self {
                store: store.within(number),
                open: true,
            }),
        }
    }

    /// Makes the changes real.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when somebody else changed what this transaction has seen; nothing was done then.
    pub fn commit(mut self) -> Result {
        self.open = false;
        let message = Message::new()?.raw(b"T\0")?;
        self.store
            .client()
            .call(
                Kind::TransactionEnd,
                self.store.transaction_number(),
                message,
            )
            .map(drop)
    }

    pub(crate) fn run<R>(store: &Store, mut with: impl FnMut(&Store) -> Result<R>) -> Result<R> {
        if store.transaction_number() != 0 {
            return with(store);
        }
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                fsleep(Delta::from_millis(i64::from(attempt)));
            }
            let transaction = Self::begin(store)?;
            let result = with(&transaction)?;
            match transaction.commit() {
                Ok(()) => return Ok(result),
                // A collision, or the rings were started anew, which ends all transactions.
                Err(EAGAIN | ECONNRESET) => {}
                Err(error) => return Err(error),
            }
        }
        Err(EAGAIN)
    }
}

impl Deref for Transaction {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        if let Ok(message) = Message::new().and_then(|message| message.raw(b"F\0")) {
            let number = self.store.transaction_number();
            self.store
                .client()
                .post(Kind::TransactionEnd, number, message);
        }
    }
}
