// SPDX-License-Identifier: GPL-2.0

//! The nodes of the xenstore: reading and writing them.
//!
//! Every call has a time limit and may wait, so all of this is for process context. Paths and values are anything that
//! can be formatted: `store.write(fmt!("{base}/ring-ref"), gref)`.

use core::fmt;

use abi::xenstore::{
    directory::{
        Names,
        Part, //
    },
    shares::User,
    value::{
        self,
        Number, //
    },
    wire::Kind, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::{
    error::EPROTO,
    fmt::Shown, //
};

use super::{
    body::{
        Children,
        Message,
        Value, //
    },
    client::{
        Client,
        Within, //
    }, //
};

/// Bytes of names in one folder, at most.
const CHILDREN_MAX: usize = 256 * 1024;

/// How often a list that changes while it is read is read again.
const LIST_RETRIES: u32 = 8;

/// The xenstore, outside or inside of a transaction.
#[derive(Clone)]
pub struct Store {
    client: Arc<Client>,
    user: User,
    within: Within,
}

impl Store {
    /// Makes the store of this user.
    pub(crate) fn new(client: Arc<Client>, user: User) -> Self {
        Self {
            client,
            user,
            within: Within::NONE,
        }
    }

    /// Returns the store inside of a transaction.
    pub(crate) fn inside(&self, within: Within) -> Self {
        Self {
            within,
            ..self.clone()
        }
    }

    pub(crate) fn within(&self) -> Within {
        self.within
    }

    pub(crate) fn user(&self) -> User {
        self.user
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    fn call(&self, kind: Kind, message: Message) -> Result<KVec<u8>> {
        self.client.call(self.user, kind, self.within, message)
    }

    /// Reads the value of a node.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none, `EACCES` when it is not for us, `EINVAL` for a path that cannot be one; `ETIMEDOUT`
    /// when the server does not answer in time, `ECONNRESET` when the connection was lost meanwhile. The last two hold for
    /// every call here.
    pub fn read(&self, path: impl fmt::Display) -> Result<Value> {
        self.call(Kind::Read, Message::with_path(&path)?)
            .map(Value::new)
    }

    /// Reads a number; `None` when there is no such node.
    ///
    /// # Errors
    ///
    /// `EINVAL` and one sentence in the log when the value is no number that fits; otherwise as [`Self::read`].
    pub fn number<T: Number>(&self, path: impl fmt::Display) -> Result<Option<T>> {
        let value = match self.read(&path) {
            Ok(value) => value,
            Err(ENOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        match value.number() {
            Ok(number) => Ok(Some(number)),
            Err(error) => {
                if self.client.complain() {
                    complain_of_number(&path, &error);
                }
                Err(EINVAL)
            }
        }
    }

    /// Writes the value of a node, and makes the node and its parents if need be.
    ///
    /// # Errors
    ///
    /// `E2BIG` when the message would be too long, `ENOSPC` when our quota is used up; otherwise as [`Self::read`].
    pub fn write(&self, path: impl fmt::Display, value: impl fmt::Display) -> Result {
        let message = Message::with_path(&path)?.text(&value)?;
        self.call(Kind::Write, message).map(drop)
    }

    /// As [`Self::write`] for any bytes.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn write_bytes(&self, path: impl fmt::Display, value: &[u8]) -> Result {
        let message = Message::with_path(&path)?.raw(value)?;
        self.call(Kind::Write, message).map(drop)
    }

    /// Makes a node with an empty value; no error if it exists.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn mkdir(&self, path: impl fmt::Display) -> Result {
        self.call(Kind::Mkdir, Message::with_path(&path)?).map(drop)
    }

    /// Removes a node and all below it.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn rm(&self, path: impl fmt::Display) -> Result {
        self.call(Kind::Rm, Message::with_path(&path)?).map(drop)
    }

    /// Tells whether there is such a node.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn exists(&self, path: impl fmt::Display) -> Result<bool> {
        match self.read(path) {
            Ok(_) => Ok(true),
            Err(ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lists the children of a node.
    ///
    /// # Errors
    ///
    /// `EPROTO` when the server's list is malformed, `E2BIG` when it is longer than anything sensible, `EAGAIN` when it
    /// changed each time that it was read; otherwise as [`Self::read`].
    pub fn directory(&self, path: impl fmt::Display) -> Result<Children> {
        match self.call(Kind::Directory, Message::with_path(&path)?) {
            Ok(body) if Names::parse(&body).is_ok() => Ok(Children(body)),
            Ok(_) => Err(EPROTO),
            Err(E2BIG) => self.long_directory(&path),
            Err(error) => Err(error),
        }
    }

    /// Lists the children of a node that has more of them than fit into one message.
    fn long_directory(&self, path: &dyn fmt::Display) -> Result<Children> {
        for _ in 0..LIST_RETRIES {
            if let Some(list) = self.list_once(path)? {
                return Ok(Children(list));
            }
        }
        Err(EAGAIN)
    }

    /// `None` when the list changed while it was read.
    fn list_once(&self, path: &dyn fmt::Display) -> Result<Option<KVec<u8>>> {
        let mut list = KVec::new();
        let mut generation = KVec::new();
        // Every part but the last advances, so the bound on the bytes is one on the requests.
        while list.len() < CHILDREN_MAX {
            let message = Message::with_path(path)?.text(&list.len())?.raw(&[0])?;
            let body = self.call(Kind::DirectoryPart, message)?;
            let part = Part::parse(&body).map_err(|_| EPROTO)?;
            if generation.is_empty() {
                generation.extend_from_slice(part.generation, GFP_KERNEL)?;
            } else if generation.as_slice() != part.generation {
                return Ok(None);
            }
            for name in part.names {
                list.extend_from_slice(name, GFP_KERNEL)?;
                list.push(0, GFP_KERNEL)?;
            }
            if part.last {
                return Ok(Some(list));
            }
        }
        Err(E2BIG)
    }

    /// Ends the watches and transactions that firmware or an earlier load left behind: nobody here knows their events.
    pub(crate) fn forget_earlier_user(&self) {
        let supported = self.number::<u32>("control/platform-feature-xs_reset_watches");
        if supported != Ok(Some(1)) {
            return;
        }
        let reset = Message::new()
            .and_then(|message| message.raw(&[0]))
            .and_then(|message| self.call(Kind::ResetWatches, message));
        if let Err(error) = reset {
            pr_warn!(
                "xenstore: watches of an earlier user could not be ended: {:?}\n",
                error
            );
        }
    }
}

#[cold]
fn complain_of_number(path: &dyn fmt::Display, error: &value::BadNumber) {
    pr_warn!(
        "xenstore: the value of {} is not usable: {}\n",
        Shown(path),
        Shown(error)
    );
}
