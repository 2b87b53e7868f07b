// SPDX-License-Identifier: GPL-2.0

//! What an open file has to read.
//!
//! Memory of the program is never touched with a lock held: the program may have made its page one that takes for ever to
//! come, or that has to come from a disk of ours.

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
};
use linux::{
    error::ENOBUFS,
    mm::reclaim,
    sync::wait::WaitQueue,
    vec::joined, //
};

/// Bytes that an event or a reply takes besides its own.
const OVERHEAD: usize = 256;

/// Bytes of events that wait to be read, at most.
const EVENTS_MAX: usize = 64 * 1024;

/// Bytes of replies that are not read yet, at most; one to come counts as the longest.
const REPLIES_MAX: usize = 256 * 1024;

/// Bytes of the longest reply.
const REPLY_MAX: usize = Header::SIZE + PAYLOAD_MAX;

/// Bytes of the longest reply that is an error.
const ERROR_MAX: usize = Header::SIZE + 16;

/// A watch of a file, as its events name it.
pub(super) struct Watched {
    pub(super) path: KVec<u8>,
    pub(super) token: KVec<u8>,
}

struct Item {
    bytes: KVec<u8>,
    /// Bytes that were read.
    read: usize,
    /// Of an event: the watch that it is of.
    watch: Option<Arc<Watched>>,
}

impl Item {
    fn cost(&self) -> usize {
        self.bytes.len().saturating_add(OVERHEAD)
    }
}

/// # Invariants
///
/// `items` has capacity for its items and `coming` more.
struct Queue {
    items: KVec<Item>,
    /// An item that is half read.
    partial: Option<Item>,
    /// A reader has an item in its hands.
    busy: bool,
    events: usize,
    replies: usize,
    /// Replies to come.
    coming: usize,
    /// Watches whose events did not fit.
    overflows: KVec<Arc<Watched>>,
}

/// The queue of a file.
#[pin_data]
pub(super) struct Output {
    #[pin]
    queue: Mutex<Queue>,
    /// Written under the lock.
    readable: Atomic<bool>,
    has_room: Atomic<bool>,
    wait: Arc<WaitQueue>,
}

/// Room for a reply, so that no request is sent whose reply could get lost. Dropping it gives the room back.
pub(super) struct Room {
    output: Arc<Output>,
    /// For an error, when there is no memory for the reply.
    spare: KVec<u8>,
}

impl Output {
    pub(super) fn new(wait: Arc<WaitQueue>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                queue <- new_mutex!(Queue {
                    items: KVec::new(),
                    partial: None,
                    busy: false,
                    events: 0,
                    replies: 0,
                    coming: 0,
                    overflows: KVec::new(),
                }),
                readable: Atomic::new(false),
                has_room: Atomic::new(true),
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

    pub(super) fn has_room(&self) -> bool {
        self.has_room.load(Relaxed)
    }

    /// Notes what changed, and wakes the readers and those who poll.
    fn announce(&self, queue: &Queue) {
        self.readable.store(queue.is_readable(), Relaxed);
        self.has_room.store(queue.has_room(), Relaxed);
        self.wait.wake_all();
    }

    /// Makes room for a reply.
    ///
    /// # Errors
    ///
    /// `ENOBUFS` when the program leaves too many unread, `ENOMEM`.
    pub(super) fn room(self: &Arc<Self>) -> Result<Room> {
        let spare = KVec::with_capacity(ERROR_MAX, GFP_KERNEL)?;
        let mut queue = reclaim::lock(&self.queue);
        if !queue.has_room() {
            return Err(ENOBUFS);
        }
        let coming = queue.coming.saturating_add(1);
        queue.items.reserve(coming, GFP_KERNEL)?;
        queue.coming = coming;
        self.announce(&queue);
        Ok(Room {
            output: self.clone(),
            spare,
        })
    }

    /// Queues an event.
    pub(super) fn event(&self, path: &[u8], watch: &Arc<Watched>) {
        let mut queue = reclaim::lock(&self.queue);
        if queue.push_event(path, watch).is_err() {
            queue.overflow(watch);
        }
        self.announce(&queue);
    }

    /// Drops the events of a watch that has ended.
    pub(super) fn forget(&self, watch: &Arc<Watched>) {
        let mut queue = reclaim::lock(&self.queue);
        let Queue {
            items,
            events,
            overflows,
            ..
        } = &mut *queue;
        overflows.retain(|overflow| !Arc::ptr_eq(overflow, watch));
        items.retain(|item| {
            let keep = !item.watch.as_ref().is_some_and(|of| Arc::ptr_eq(of, watch));
            if !keep {
                *events = events.saturating_sub(item.cost());
            }
            keep
        });
        self.announce(&queue);
    }

    /// Hands up to `wanted` bytes to `write`; 0 when there are none, or another reader is at work.
    pub(super) fn take(
        &self,
        wanted: usize,
        mut write: impl FnMut(&[u8]) -> Result,
    ) -> Result<usize> {
        let mut done = 0usize;
        while done < wanted {
            let Some(mut item) = self.begin() else {
                break;
            };
            let rest = item.bytes.get(item.read..).unwrap_or_default();
            let now = rest.get(..wanted.saturating_sub(done)).unwrap_or(rest);
            let (count, result) = (now.len(), write(now));
            if result.is_ok() {
                done = done.saturating_add(count);
                item.read = item.read.saturating_add(count);
            }
            self.finish(item);
            match result {
                Err(_) if done > 0 => break,
                result => result?,
            }
        }
        Ok(done)
    }

    /// Gives a reader an item in its hands.
    fn begin(&self) -> Option<Item> {
        let mut queue = reclaim::lock(&self.queue);
        let item = queue.take_first();
        queue.busy |= item.is_some();
        self.announce(&queue);
        item
    }

    /// Takes the rest of the item back.
    fn finish(&self, item: Item) {
        let mut queue = reclaim::lock(&self.queue);
        queue.busy = false;
        let done = if item.read < item.bytes.len() {
            queue.partial = Some(item);
            None
        } else {
            queue.subtract(&item);
            Some(item)
        };
        self.announce(&queue);
        drop(queue);
        drop(done);
    }
}

impl Room {
    /// Queues the reply to the request that began with `header`.
    pub(super) fn fill(mut self, header: &Header, answer: Result<&[u8], &str>) {
        let head = |kind, length: usize| Header {
            kind,
            length: u32::try_from(length).unwrap_or(0),
            ..*header
        };
        let whole = answer.and_then(|body| {
            joined(&[&head(header.kind, body.len()).encode(), body]).map_err(|_| "ENOMEM")
        });
        let bytes = whole.unwrap_or_else(|error| {
            let mut bytes = core::mem::take(&mut self.spare);
            let head = head(Kind::Error.number(), error.len().saturating_add(1)).encode();
            // The capacity is enough, and of errors there are only those of the protocol.
            for part in [&head[..], error.as_bytes(), &[0]] {
                let _ = bytes.extend_from_slice(part, GFP_KERNEL);
            }
            bytes
        });
        let item = Item {
            bytes,
            read: 0,
            watch: None,
        };
        let mut queue = reclaim::lock(&self.output.queue);
        queue.replies = queue.replies.saturating_add(item.cost());
        // By the invariants of the queue there is capacity for it.
        let _ = queue.items.push_within_capacity(item);
        drop(queue);
        // Dropping the room announces the reply.
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut queue = reclaim::lock(&self.output.queue);
        queue.coming = queue.coming.saturating_sub(1);
        self.output.announce(&queue);
    }
}

impl Queue {
    fn is_readable(&self) -> bool {
        !self.busy
            && (self.partial.is_some() || !self.items.is_empty() || !self.overflows.is_empty())
    }

    fn has_room(&self) -> bool {
        self.coming
            .saturating_add(1)
            .saturating_mul(REPLY_MAX)
            .saturating_add(self.replies)
            <= REPLIES_MAX
    }

    fn push_event(&mut self, path: &[u8], watch: &Arc<Watched>) -> Result {
        let token = &watch.token;
        let length = path.len().saturating_add(token.len()).saturating_add(2);
        let header = Header {
            kind: Kind::WatchEvent.number(),
            request: 0,
            transaction: 0,
            length: u32::try_from(length).map_err(|_| EINVAL)?,
        };
        let item = Item {
            bytes: joined(&[&header.encode(), path, &[0], token, &[0]])?,
            read: 0,
            watch: Some(watch.clone()),
        };
        let events = self.events.saturating_add(item.cost());
        if events > EVENTS_MAX {
            return Err(ENOSPC);
        }
        self.items
            .reserve(self.coming.saturating_add(1), GFP_KERNEL)?;
        self.items.push(item, GFP_KERNEL)?;
        self.events = events;
        Ok(())
    }

    /// Remembers that a watch fired; there are few enough watches.
    fn overflow(&mut self, watch: &Arc<Watched>) {
        let known = |overflow| Arc::ptr_eq(overflow, watch);
        if !self.overflows.iter().any(known) {
            let _ = self.overflows.push(watch.clone(), GFP_KERNEL);
        }
    }

    /// Takes the first item out unless a reader has one. When everything was read, the watches fire whose events did not
    /// fit.
    fn take_first(&mut self) -> Option<Item> {
        if self.busy {
            return None;
        }
        if let Some(item) = self.partial.take() {
            return Some(item);
        }
        if self.items.is_empty() {
            for watch in core::mem::take(&mut self.overflows).drain_all() {
                // There are no other events, so only a lack of memory can keep this one out.
                let _ = self.push_event(&watch.path, &watch);
            }
        }
        self.items.remove(0).ok()
    }

    /// An item was read.
    fn subtract(&mut self, item: &Item) {
        let total = if item.watch.is_some() {
            &mut self.events
        } else {
            &mut self.replies
        };
        *total = total.saturating_sub(item.cost());
    }
}
