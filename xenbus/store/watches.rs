// SPDX-License-Identifier: GPL-2.0

//! The watches of this kernel, its own and those of programs.
//!
//! Events are delivered by the thread that also delivers the replies, so a handler must not wait: it notes the change and
//! lets a work item or a reader do the rest. There is no queue of events in the kernel for a server to fill; the two
//! places where events pile up, a device's work and an open file, coalesce or bound them.

use abi::xenstore::{
    shares::User,
    watch::Token, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc,
        Mutex, //
    },
};
use linux::mm::reclaim;

use super::{
    body::Message,
    places::{
        Place,
        Places, //
    },
};

/// Is told of changes.
pub trait WatchHandler: Send + Sync + 'static {
    /// The node at `path`, or one below it, may have changed.
    ///
    /// Must neither wait for the xenstore nor begin or end a watch.
    fn changed(&self, path: &[u8]);
}

struct Entry {
    token: Token,
    path: KVec<u8>,
    /// `None` when the watch has ended and the server has not been told.
    handler: Option<Arc<dyn WatchHandler>>,
    _place: Place,
}

struct List {
    entries: KVec<Entry>,
    next: u64,
}

/// All watches.
#[pin_data]
pub(crate) struct Watches {
    #[pin]
    list: Mutex<List>,
    /// How many have ended; written under the lock.
    ended: Atomic<usize>,
    places: Arc<Places>,
}

impl Watches {
    pub(crate) fn new(places: Arc<Places>) -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_mutex!(List { entries: KVec::new(), next: 1 }),
            ended: Atomic::new(0),
            places,
        })
    }

    /// Notes a watch.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when the programs have as many as they may, `ENOMEM`.
    pub(crate) fn add(
        &self,
        user: User,
        path: KVec<u8>,
        handler: Arc<dyn WatchHandler>,
    ) -> Result<Token> {
        let place = self.places.take(user).ok_or(ENOSPC)?;
        let mut list = reclaim::lock(&self.list);
        list.entries.reserve(1, GFP_KERNEL)?;
        let token = Token(list.next);
        list.next = list.next.wrapping_add(1);
        list.entries.push(
            Entry {
                token,
                path,
                handler: Some(handler),
                _place: place,
            },
            GFP_KERNEL,
        )?;
        Ok(token)
    }

    /// Ends a watch; its handler does not run any more when this returns. The server is told later.
    pub(crate) fn end(&self, token: Token) {
        let mut list = reclaim::lock(&self.list);
        let handler = list
            .entries
            .iter_mut()
            .find(|entry| entry.token == token)
            .and_then(|entry| entry.handler.take());
        self.count_ended(&list);
        drop(list);
        // It may be the last reference to something that ends watches itself.
        drop(handler);
    }

    fn count_ended(&self, list: &List) {
        let ended = list.entries.iter().filter(|entry| entry.handler.is_none());
        self.ended.store(ended.count(), Relaxed);
    }

    /// Returns how many watches have ended without the server having been told.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Relaxed)
    }

    /// Returns the first of those, and the request to end it.
    pub(crate) fn first_ended(&self) -> Option<(Token, Result<Message>)> {
        let list = reclaim::lock(&self.list);
        let entry = list.entries.iter().find(|entry| entry.handler.is_none())?;
        Some((entry.token, message(&entry.path, entry.token)))
    }

    /// The request to end that watch is queued.
    pub(crate) fn forget(&self, token: Token) {
        let mut list = reclaim::lock(&self.list);
        let at = list.entries.iter().position(|entry| entry.token == token);
        let entry = at.and_then(|at| list.entries.remove(at).ok());
        self.count_ended(&list);
        drop(list);
        drop(entry);
    }

    /// Tells the handler with this token; `false` when there is none.
    pub(crate) fn dispatch(&self, token: Token, path: &[u8]) -> bool {
        let list = reclaim::lock(&self.list);
        let handler = list
            .entries
            .iter()
            .find(|entry| entry.token == token)
            .and_then(|entry| entry.handler.as_ref());
        if let Some(handler) = handler {
            handler.changed(path);
        }
        handler.is_some()
    }

    /// Returns the first watch after `token` that has not ended, and the request to make it.
    pub(crate) fn after(&self, token: Token) -> Option<(Token, Result<Message>)> {
        let list = reclaim::lock(&self.list);
        // Tokens grow, so the list is in their order.
        let entry = list
            .entries
            .iter()
            .find(|entry| entry.token > token && entry.handler.is_some())?;
        Some((entry.token, message(&entry.path, entry.token)))
    }

    /// Returns how many watches there are.
    pub(crate) fn count(&self) -> usize {
        let list = reclaim::lock(&self.list);
        list.entries.len().saturating_sub(self.ended())
    }
}

/// Makes the request for a watch or its end.
pub(crate) fn message(path: &[u8], token: Token) -> Result<Message> {
    Message::new()?
        .raw(path)?
        .raw(&[0])?
        .raw(&token.encode())?
        .raw(&[0])
}
