// SPDX-License-Identifier: GPL-2.0

//! A transaction that the server has opened, of the kernel or of a program.

use abi::xenstore::{
    shares::User,
    transaction::{
        parse_number,
        End, //
    },
    wire::Kind, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::error::{
    ECONNRESET,
    EPROTO, //
};

use super::{
    body::Message,
    client::{
        Client,
        Within, //
    },
    places::Place,
    request::Owner,
};

/// An open transaction. Dropping it has the server end it, without waiting.
pub(crate) struct Opened {
    client: Arc<Client>,
    within: Within,
    /// Taken until the server has been told of the end.
    place: Option<Place>,
}

impl Opened {
    pub(crate) fn new(client: Arc<Client>, within: Within, place: Place) -> Self {
        Self {
            client,
            within,
            place: Some(place),
        }
    }

    /// Opens a transaction; waits for a place in our quota and for the answer.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when there is no place here or at the server; otherwise as [`Client::call`].
    pub(crate) fn start(client: &Arc<Client>, user: User) -> Result<Self> {
        let place = client.transaction_place(user)?;
        let message = Message::new()?.raw(&[0])?;
        let kind = Kind::TransactionStart;
        // A caller that stops waiting leaves the place to the answer.
        match client.call_or(user, kind, Within::NONE, message, Owner::Undo(place))? {
            (answer, (Owner::Undo(place), epoch)) => {
                let number = parse_number(&answer).ok_or(EPROTO)?;
                Ok(Self::new(client.clone(), Within { number, epoch }, place))
            }
            _ => Err(EINVAL),
        }
    }

    /// Returns the transaction for requests in it.
    pub(crate) fn within(&self) -> Within {
        self.within
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when somebody else changed what the transaction has seen; otherwise as [`Client::call`].
    pub(crate) fn commit(mut self, user: User) -> Result {
        let message = Message::new()?.raw(End::Commit.as_bytes())?;
        let kind = Kind::TransactionEnd;
        let result = self.client.call(user, kind, self.within, message).map(drop);
        // After any other error it may be open; to end what is not open does no harm.
        if matches!(result, Ok(()) | Err(EAGAIN | ECONNRESET)) {
            self.place = None;
        }
        result
    }

    /// The end of the transaction is sent by other means. Gives the place, to be dropped after that.
    pub(crate) fn dismiss(mut self) -> Option<Place> {
        self.place.take()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.client.orphan(self.within, place);
        }
    }
}
