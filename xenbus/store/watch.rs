// SPDX-License-Identifier: GPL-2.0

//! A watch as its owner sees it.

use core::fmt;

use abi::xenstore::{
    path,
    shares::User,
    watch::Token,
    wire::Kind, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    body::Message,
    client::{
        Client,
        Within, //
    },
    nodes::Store,
    watches, //
};

pub use super::watches::WatchHandler;

/// A node that is watched, with all below it. Dropping the value ends the watch, without waiting.
pub struct Watch {
    client: Arc<Client>,
    token: Token,
}

impl Store {
    /// Watches a node and all below it. `handler` is told at once for the first time, and then at every change.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when there are too many watches; otherwise as [`Self::read`].
    pub fn watch(&self, path: impl fmt::Display, handler: Arc<dyn WatchHandler>) -> Result<Watch> {
        let mut name = Text(KVec::new());
        fmt::write(&mut name, format_args!("{path}")).map_err(|_| ENOMEM)?;
        let (client, user) = (self.client(), self.user());
        let (watch, message) = Watch::prepare(client, user, &name.0, handler)?;
        match client.call(user, Kind::Watch, Within::NONE, message) {
            // It exists already when the rings were started anew meanwhile.
            Ok(_) | Err(EEXIST) => Ok(watch),
            Err(error) => Err(error),
        }
    }
}

impl Watch {
    /// Makes a watch of which the server has to be told by the message. Its first event may come before the answer.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a path that cannot be one, `ENOSPC` when the programs have as many watches as they may.
    pub(crate) fn prepare(
        client: &Arc<Client>,
        user: User,
        path: &[u8],
        handler: Arc<dyn WatchHandler>,
    ) -> Result<(Self, Message)> {
        if !path::is_valid(path) {
            return Err(EINVAL);
        }
        let mut copy = KVec::with_capacity(path.len(), GFP_KERNEL)?;
        copy.extend_from_slice(path, GFP_KERNEL)?;
        let token = client.watches().add(user, copy, handler)?;
        let watch = Self {
            client: client.clone(),
            token,
        };
        let message = watches::message(path, token)?;
        Ok((watch, message))
    }

    /// Returns the number that the server knows the watch by.
    pub(crate) fn token(&self) -> Token {
        self.token
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.client.watches().end(self.token);
        self.client.doorbell().ring();
    }
}

/// Collects formatted text.
struct Text(KVec<u8>);

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0
            .extend_from_slice(text.as_bytes(), GFP_KERNEL)
            .map_err(|_| fmt::Error)
    }
}
