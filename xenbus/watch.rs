// SPDX-License-Identifier: GPL-2.0

//! Watches: who is told when a node changes.
//!
//! Events are delivered by the thread that also delivers the replies, so whoever is told must not wait: it notes the
//! change and lets a work item or a reader do the rest. There is no queue of events in the kernel for a server to fill;
//! the two places where events pile up, a device's work and an open file, coalesce or bound them.

use core::fmt;

use abi::xenstore::{
    path,
    watch::Token,
    wire::Kind, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

use crate::{
    body::Message,
    client::Client, //
};

/// Watches that this kernel has at once, at most.
const WATCHES_MAX: usize = 4096;

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
    handler: Arc<dyn WatchHandler>,
}

struct List {
    entries: KVec<Entry>,
    next: u64,
}

/// All watches of this kernel.
#[pin_data]
pub(crate) struct Watches {
    #[pin]
    list: Mutex<List>,
}

impl Watches {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_mutex!(List { entries: KVec::new(), next: 1 }),
        })
    }

    fn add(&self, path: KVec<u8>, handler: Arc<dyn WatchHandler>) -> Result<Token> {
        let mut list = self.list.lock();
        if list.entries.len() >= WATCHES_MAX {
            return Err(ENOSPC);
        }
        let token = Token(list.next);
        list.next = list.next.wrapping_add(1);
        list.entries.push(
            Entry {
                token,
                path,
                handler,
            },
            GFP_KERNEL,
        )?;
        Ok(token)
    }

    /// Takes a watch out; its handler does not run any more when this returns.
    fn take(&self, token: Token) -> Option<Entry> {
        let mut list = self.list.lock();
        let at = list.entries.iter().position(|entry| entry.token == token)?;
        list.entries.remove(at).ok()
    }

    /// Tells the handler with this token; `false` when there is none.
    pub(crate) fn dispatch(&self, token: Token, path: &[u8]) -> bool {
        let list = self.list.lock();
        let entry = list.entries.iter().find(|entry| entry.token == token);
        if let Some(entry) = entry {
            entry.handler.changed(path);
        }
        entry.is_some()
    }

    /// Returns the first watch after `token`, with a copy of its path.
    pub(crate) fn after(&self, token: Token) -> Option<(Token, Result<KVec<u8>>)> {
        let list = self.list.lock();
        // Tokens grow, so the list is in their order.
        let entry = list.entries.iter().find(|entry| entry.token > token)?;
        Some((entry.token, copy(&entry.path)))
    }

    pub(crate) fn count(&self) -> usize {
        self.list.lock().entries.len()
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

/// A node that is watched, with all below it. Dropping the value ends the watch.
pub struct Watch {
    client: Arc<Client>,
    token: Token,
}

impl Watch {
    pub(crate) fn new(
        client: &Arc<Client>,
        at: &dyn fmt::Display,
        handler: Arc<dyn WatchHandler>,
    ) -> Result<Self> {
        let mut name = Text(KVec::new());
        fmt::write(&mut name, format_args!("{at}")).map_err(|_| ENOMEM)?;
        let Text(name) = name;
        if !path::is_valid(&name) {
            return Err(EINVAL);
        }
        // Noted before it is asked for: the first event may come before the answer.
        let token = client.watches().add(copy(&name)?, handler)?;
        let watch = Self {
            client: client.clone(),
            token,
        };
        match client.call(Kind::Watch, 0, message(&name, token)?) {
            // It exists already when the rings were started anew meanwhile.
            Ok(_) | Err(EEXIST) => Ok(watch),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(entry) = self.client.watches().take(self.token) else {
            return;
        };
        // The answer does not matter, so nobody waits for it: ending a watch never blocks.
        if let Ok(message) = message(&entry.path, entry.token) {
            self.client.post(Kind::Unwatch, 0, message);
        }
    }
}

fn copy(bytes: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::with_capacity(bytes.len(), GFP_KERNEL)?;
    copy.extend_from_slice(bytes, GFP_KERNEL)?;
    Ok(copy)
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
