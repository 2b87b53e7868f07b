// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/xenbus`: the xenstore for programs, by the wire protocol that libxenstore speaks.
//!
//! Each open file is a client of its own: its transactions and watches are known, invisible to others, and end with it.
//! What a program writes is a request; what it reads are the replies and its watch events. A request is carried out
//! within the `write` that completes it.
//!
//! A program that does not read costs bounded memory: of the events that do not fit only the watch is remembered, and it
//! fires once more when there is room again.

mod output;

use core::ops::Deref;

use abi::xenstore::{
    error::StoreError,
    value::parse_u32,
    watch::WatchEvent,
    wire::{
        Header,
        Kind,
        PAYLOAD_MAX, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    uaccess::{
        UserSliceReader,
        UserSliceWriter, //
    },
};
use linux::{
    miscdev::{
        Readiness,
        Stream, //
    },
    wait::{
        Sleep,
        WaitQueue,
        Woken, //
    },
};

use self::output::Output;
use crate::{
    body::Message,
    store::Store,
    watch::{
        Watch,
        WatchHandler, //
    },
};

/// Watches of one file, at most.
const WATCHES_MAX: usize = 512;

/// Open transactions of one file, at most.
const TRANSACTIONS_MAX: usize = 32;

/// A watch of a file.
struct FileWatch {
    /// Ends the watch when dropped.
    _watch: Watch,
    handler: Arc<Handler>,
}

/// Brings the events of one watch to its file.
struct Handler {
    output: Arc<Output>,
    path: KVec<u8>,
    token: KVec<u8>,
}

impl WatchHandler for Handler {
    fn changed(&self, path: &[u8]) {
        self.output.event(path, &self.path, &self.token);
    }
}

/// What a file has begun.
struct Input {
    /// The bytes of a request that is not whole yet.
    request: KVec<u8>,
    transactions: KVec<u32>,
    watches: KVec<FileWatch>,
}

/// An open file.
#[pin_data]
pub(crate) struct Session {
    store: Store,
    output: Arc<Output>,
    /// The lock is held while a request is carried out: a file's requests go one after the other.
    #[pin]
    input: Mutex<Input>,
}

/// How a request failed: an error of the protocol.
struct Refused(StoreError);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let number = error.to_errno().wrapping_neg();
        let known = StoreError::ALL
            .iter()
            .copied()
            .find(|known| known.errno() == number);
        Self(known.unwrap_or(StoreError::Io))
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

type Answer = core::result::Result<KVec<u8>, Refused>;

impl Session {
    /// Carries a whole request out and queues its reply.
    fn execute(&self, input: &mut Input, header: &Header, body: &[u8]) -> Result {
        let answer = match Kind::from_number(header.kind) {
            None => Err(StoreError::NotImplemented.into()),
            Some(kind) => self.answer(input, kind, header.transaction, body),
        };
        let (kind, bytes) = match &answer {
            Ok(bytes) => (header.kind, bytes.deref()),
            Err(Refused(error)) => (Kind::Error.number(), error.as_text().as_bytes()),
        };
        // Errors are sent with a NUL, as the server does.
        let end: &[u8] = if answer.is_err() { &[0] } else { &[] };
        let head = Header {
            kind,
            length: u32::try_from(bytes.len().saturating_add(end.len())).unwrap_or(0),
            ..*header
        };
        self.output.reply(&head.encode(), bytes, end)
    }

    fn answer(&self, input: &mut Input, kind: Kind, transaction: u32, body: &[u8]) -> Answer {
        if transaction != 0 && !input.transactions.contains(&transaction) {
            return Err(StoreError::NotFound.into());
        }
        match kind {
            Kind::Watch => self.watch(input, body),
            Kind::Unwatch => unwatch(input, body),
            Kind::TransactionStart => self.begin(input, transaction, body),
            Kind::TransactionEnd => {
                let answer = self.forward(kind, transaction, body)?;
                input.transactions.retain(|open| *open != transaction);
                Ok(answer)
            }
            // It would end the watches of the kernel and of all files.
            Kind::ResetWatches => Err(StoreError::NotPermitted.into()),
            Kind::WatchEvent | Kind::Error => Err(StoreError::Invalid.into()),
            _ => self.forward(kind, transaction, body),
        }
    }

    fn forward(&self, kind: Kind, transaction: u32, body: &[u8]) -> Answer {
        let message = Message::new()?.raw(body)?;
        Ok(self.store.client().call(kind, transaction, message)?)
    }

    fn begin(&self, input: &mut Input, transaction: u32, body: &[u8]) -> Answer {
        if transaction != 0 {
            return Err(StoreError::Busy.into());
        }
        if input.transactions.len() >= TRANSACTIONS_MAX {
            return Err(StoreError::NoSpace.into());
        }
        // Before the server opens it, so that it is never open without being known.
        input
            .transactions
            .reserve(1, GFP_KERNEL)
            .map_err(Error::from)?;
        let answer = self.forward(Kind::TransactionStart, 0, body)?;
        let digits = answer.strip_suffix(b"\0").unwrap_or(&answer);
        let number = parse_u32(digits).map_err(|_| StoreError::Io)?;
        let _ = input.transactions.push(number, GFP_KERNEL);
        Ok(answer)
    }

    fn watch(&self, input: &mut Input, body: &[u8]) -> Answer {
        let request = WatchEvent::parse(body).map_err(|_| StoreError::Invalid)?;
        if find(input, &request).is_some() {
            return Err(StoreError::Exists.into());
        }
        if input.watches.len() >= WATCHES_MAX {
            return Err(StoreError::NoSpace.into());
        }
        let path = core::str::from_utf8(request.path).map_err(|_| StoreError::Invalid)?;
        let handler = Arc::new(
            Handler {
                output: self.output.clone(),
                path: copy(request.path)?,
                token: copy(request.token)?,
            },
            GFP_KERNEL,
        )
        .map_err(Error::from)?;
        let watch = self.store.watch(path, handler.clone())?;
        input
            .watches
            .push(
                FileWatch {
                    _watch: watch,
                    handler,
                },
                GFP_KERNEL,
            )
            .map_err(Error::from)?;
        Ok(copy(b"OK\0")?)
    }
}

fn find(input: &Input, request: &WatchEvent<'_>) -> Option<usize> {
    input.watches.iter().position(|watch| {
        watch.handler.path.as_slice() == request.path
            && watch.handler.token.as_slice() == request.token
    })
}

fn unwatch(input: &mut Input, body: &[u8]) -> Answer {
    let request = WatchEvent::parse(body).map_err(|_| StoreError::Invalid)?;
    let at = find(input, &request).ok_or(StoreError::NotFound)?;
    let watch = input.watches.remove(at).map_err(|_| StoreError::NotFound)?;
    let output = watch.handler.output.clone();
    drop(watch);
    // An event that comes after this reply would surprise the program.
    output.forget(request.path, request.token);
    Ok(copy(b"OK\0")?)
}

fn copy(bytes: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::with_capacity(bytes.len(), GFP_KERNEL)?;
    copy.extend_from_slice(bytes, GFP_KERNEL)?;
    Ok(copy)
}

impl Stream for Session {
    const NAME: &'static CStr = c"xen/xenbus";

    type Module = crate::LocalModule;

    fn open(wait: Arc<WaitQueue>) -> Result<Arc<Self>> {
        let store = crate::store()?;
        let output = Output::new(wait)?;
        Arc::pin_init(
            pin_init!(Self {
                store,
                output,
                input <- new_mutex!(Input {
                    request: KVec::new(),
                    transactions: KVec::new(),
                    watches: KVec::new(),
                }),
            }),
            GFP_KERNEL,
        )
    }

    fn read(&self, mut into: UserSliceWriter, nonblocking: bool) -> Result<usize> {
        loop {
            let done = self.output.take(&mut into)?;
            if done > 0 || into.is_empty() {
                return Ok(done);
            }
            if nonblocking {
                return Err(EAGAIN);
            }
            let woken = self
                .output
                .wait()
                .wait(Sleep::Interruptible, None, || self.output.is_readable());
            if woken == Woken::Signal {
                return Err(ERESTARTSYS);
            }
        }
    }

    fn write(&self, mut from: UserSliceReader, _nonblocking: bool) -> Result<usize> {
        let mut input = self.input.lock();
        let total = from.len();
        loop {
            let fill = input.request.len();
            let whole = match input.request.first_chunk() {
                None => Header::SIZE,
                Some(head) => {
                    let length = usize::try_from(Header::decode(head).length).unwrap_or(usize::MAX);
                    if length > PAYLOAD_MAX {
                        input.request.clear();
                        return Err(EINVAL);
                    }
                    length.saturating_add(Header::SIZE)
                }
            };
            if fill >= Header::SIZE && fill >= whole {
                let request = core::mem::take(&mut input.request);
                if let Some((head, body)) = request.split_first_chunk() {
                    self.execute(&mut input, &Header::decode(head), body)?;
                }
                continue;
            }
            let count = whole.saturating_sub(fill).min(from.len());
            if count == 0 {
                return Ok(total);
            }
            input.request.extend_with(count, 0, GFP_KERNEL)?;
            let read = match input.request.get_mut(fill..) {
                Some(rest) => from.read_slice(rest),
                None => Err(EINVAL),
            };
            if let Err(error) = read {
                input.request.truncate(fill);
                return Err(error);
            }
        }
    }

    fn poll(&self) -> Readiness {
        Readiness {
            readable: self.output.is_readable(),
            writable: true,
            hung_up: false,
        }
    }

    fn release(&self) {
        let mut input = self.input.lock();
        drop(core::mem::take(&mut input.watches));
        for transaction in input.transactions.drain_all() {
            let message = Message::new().and_then(|message| message.raw(b"F\0"));
            if let Ok(message) = message {
                self.store
                    .client()
                    .post(Kind::TransactionEnd, transaction, message);
            }
        }
    }
}
