// SPDX-License-Identifier: GPL-2.0

//! What an open file has to read.

use abi::xenstore::wire::{
    Header,
    Kind,
    PAYLOAD_MAX, //
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
    uaccess::UserSliceWriter,
};
use linux::wait::WaitQueue;

/// Bytes of events that wait to be read, at most. Replies always fit: a file has one request at a time under way.
const EVENTS_MAX: usize = 64 * 1024;

/// Bytes of replies that a program may leave unread before its requests are refused.
const REPLIES_MAX: usize = 64 * 1024;

struct Item {
    bytes: KVec<u8>,
    /// Of an event: the watch that it is of.
    watch: Option<(KVec<u8>, KVec<u8>)>,
}

/// A watch whose events did not fit.
struct Overflow {
    path: KVec<u8>,
    token: KVec<u8>,
}

struct Queue {
    items: KVec<Item>,
    /// Bytes of the first item that were read.
    read: usize,
    events: usize,
    replies: usize,
    overflows: KVec<Overflow>,
}

/// The queue of a file.
#[pin_data]
pub(super) struct Output {
    #[pin]
    queue: Mutex<Queue>,
    readable: Atomic<bool>,
    wait: Arc<WaitQueue>,
}

impl Output {
    pub(super) fn new(wait: Arc<WaitQueue>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                queue <- new_mutex!(Queue {
                    items: KVec::new(),
                    read: 0,
                    events: 0,
                    replies: 0,
                    overflows: KVec::new(),
                }),
                readable: Atomic::new(false),
                wait,
            }),
            GFP_KERNEL,
        )
    }

    pub(super) fn wait(&self) -> &WaitQueue {
        &self.wait
    }

    pub(super) fn is_readable(&self) -> bool {
        self.readable.load(Relaxed)
    }

    /// Queues a reply of up to three pieces.
    pub(super) fn reply(&self, head: &[u8], body: &[u8], end: &[u8]) -> Result {
        let bytes = joined(&[head, body, end])?;
        let mut queue = self.queue.lock();
        if queue.replies.saturating_add(bytes.len()) > REPLIES_MAX.saturating_add(PAYLOAD_MAX) {
            return Err(ENOBUFS);
        }
        queue.replies = queue.replies.saturating_add(bytes.len());
        queue.items.push(Item { bytes, watch: None }, GFP_KERNEL)?;
        drop(queue);
        self.announce();
        Ok(())
    }

    /// Queues an event of the watch of `watched` with `token`.
    pub(super) fn event(&self, path: &[u8], watched: &[u8], token: &[u8]) {
        let mut queue = self.queue.lock();
        if queue.push_event(path, watched, token).is_err() {
            queue.overflow(watched, token);
        }
        drop(queue);
        self.announce();
    }

    /// Drops the events of a watch that has ended.
    pub(super) fn forget(&self, watched: &[u8], token: &[u8]) {
        let mut queue = self.queue.lock();
        let Queue {
            items,
            read,
            events,
            overflows,
            ..
        } = &mut *queue;
        overflows.retain(|overflow| {
            overflow.path.as_slice() != watched || overflow.token.as_slice() != token
        });
        let mut first = true;
        items.retain(|item| {
            // What is half read has to be read to its end.
            let keep = core::mem::take(&mut first) && *read > 0
                || !item
                    .watch
                    .as_ref()
                    .is_some_and(|(of, with)| of.as_slice() == watched && with.as_slice() == token);
            if !keep {
                *events = events.saturating_sub(item.bytes.len());
            }
            keep
        });
        let empty = items.is_empty() && overflows.is_empty();
        self.readable.store(!empty, Relaxed);
    }

    /// Hands bytes to the program; 0 when there are none.
    pub(super) fn take(&self, into: &mut UserSliceWriter) -> Result<usize> {
        let mut done = 0usize;
        let mut queue = self.queue.lock();
        while !into.is_empty() {
            queue.refill();
            let read = queue.read;
            let Some(first) = queue.items.first() else {
                break;
            };
            let rest = first.bytes.get(read..).unwrap_or_default();
            let (now, later) = rest.split_at_checked(into.len()).unwrap_or((rest, &[]));
            let count = now.len();
            let whole = later.is_empty();
            if let Err(error) = into.write_slice(now) {
                return if done > 0 { Ok(done) } else { Err(error) };
            }
            done = done.saturating_add(count);
            queue.read = read.saturating_add(count);
            if whole {
                queue.drop_first();
            }
        }
        let empty = queue.items.is_empty() && queue.overflows.is_empty();
        self.readable.store(!empty, Relaxed);
        Ok(done)
    }

    fn announce(&self) {
        self.readable.store(true, Relaxed);
        self.wait.wake_all();
    }
}

impl Queue {
    fn push_event(&mut self, path: &[u8], watched: &[u8], token: &[u8]) -> Result {
        let length = path.len().saturating_add(token.len()).saturating_add(2);
        if self.events.saturating_add(length) > EVENTS_MAX {
            return Err(ENOSPC);
        }
        let header = Header {
            kind: Kind::WatchEvent.number(),
            request: 0,
            transaction: 0,
            length: u32::try_from(length).map_err(|_| EINVAL)?,
        };
        let bytes = joined(&[&header.encode(), path, &[0], token, &[0]])?;
        let size = bytes.len();
        let watch = Some((joined(&[watched])?, joined(&[token])?));
        self.items.push(Item { bytes, watch }, GFP_KERNEL)?;
        self.events = self.events.saturating_add(size);
        Ok(())
    }

    /// Remembers that a watch fired; a file has few enough watches.
    fn overflow(&mut self, watched: &[u8], token: &[u8]) {
        let known = self.overflows.iter().any(|overflow| {
            overflow.path.as_slice() == watched && overflow.token.as_slice() == token
        });
        if known {
            return;
        }
        let (Ok(path), Ok(token)) = (joined(&[watched]), joined(&[token])) else {
            return;
        };
        let _ = self.overflows.push(Overflow { path, token }, GFP_KERNEL);
    }

    /// Makes the watches fire whose events did not fit, once everything before them was read.
    fn refill(&mut self) {
        if !self.items.is_empty() {
            return;
        }
        for overflow in core::mem::take(&mut self.overflows).drain_all() {
            // The queue is empty, so only a lack of memory can keep the event out.
            let _ = self.push_event(&overflow.path, &overflow.path, &overflow.token);
        }
    }

    fn drop_first(&mut self) {
        self.read = 0;
        if let Ok(item) = self.items.remove(0) {
            let total = if item.watch.is_some() {
                &mut self.events
            } else {
                &mut self.replies
            };
            *total = total.saturating_sub(item.bytes.len());
        }
    }
}

fn joined(parts: &[&[u8]]) -> Result<KVec<u8>> {
    let mut bytes = KVec::with_capacity(parts.iter().map(|part| part.len()).sum(), GFP_KERNEL)?;
    for part in parts {
        bytes.extend_from_slice(part, GFP_KERNEL)?;
    }
    Ok(bytes)
}
