// SPDX-License-Identifier: GPL-2.0

//! What an open file has begun at the server: transactions, watches, and requests whose answers are to come.

use abi::xenstore::{
    error::StoreError,
    shares::{
        User,
        TRANSACTIONS, //
    },
    transaction::{
        parse_number,
        End, //
    },
    watch::{
        Token,
        WatchEvent, //
    },
    wire::{
        Header,
        Kind, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use linux::{
    error::ECONNRESET,
    mm::reclaim,
    sync::wait::WaitQueue,
    vec::joined, //
};

use crate::store::{
    body::Message,
    client::{
        Client,
        Ticket,
        Within, //
    },
    opened::Opened,
    places::Place,
    request::{
        Owner,
        Receiver, //
    },
    watch::Watch,
    watches::WatchHandler,
};

use super::output::{
    Output,
    Room,
    Watched, //
};

/// A watch of a file.
struct FileWatch {
    /// Ends the watch when dropped.
    watch: Watch,
    watched: Arc<Watched>,
}

/// Brings the events of a watch to its file.
struct Handler {
    output: Arc<Output>,
    watched: Arc<Watched>,
}

impl WatchHandler for Handler {
    fn changed(&self, path: &[u8]) {
        self.output.event(path, &self.watched);
    }
}

struct Book {
    /// With capacity for all that there can be.
    transactions: KVec<Opened>,
    watches: KVec<FileWatch>,
    /// The file is closed: what is opened from now on is ended at once.
    closed: bool,
}

/// What an open file has begun.
#[pin_data]
pub(super) struct File {
    client: Arc<Client>,
    output: Arc<Output>,
    #[pin]
    book: Mutex<Book>,
}

/// A whole request of a program.
pub(super) struct Request<'a> {
    pub(super) header: Header,
    pub(super) body: &'a [u8],
}

/// An error of the protocol, which is a reply, or one of the write that brought the request, which was not carried out.
pub(super) enum Failed {
    Reply(StoreError),
    Write(Error),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Reply(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Write(error)
    }
}

type Outcome<T> = core::result::Result<T, Failed>;

/// What is done as the answer comes.
enum Then {
    /// Nothing.
    Nothing,
    /// A transaction was opened.
    Open(Place),
    /// A transaction was ended, and its place is free.
    End(End, Option<Place>),
    /// A watch was made.
    Watch(Token),
}

/// A request that waits for its answer.
struct Sent {
    file: Arc<File>,
    header: Header,
    /// Until the answer has come.
    waiting: Option<(Room, Then)>,
}

impl Receiver for Sent {
    fn answered(&mut self, answer: Result<&[u8]>, epoch: u32) {
        if let Some((room, then)) = self.waiting.take() {
            let answer = self.file.settle(&self.header, then, answer, epoch);
            room.fill(&self.header, answer.map_err(StoreError::as_text));
        }
    }
}

impl File {
    pub(super) fn new(client: Arc<Client>, wait: Arc<WaitQueue>) -> Result<Arc<Self>> {
        let output = Output::new(wait)?;
        let book = Book {
            transactions: KVec::with_capacity(TRANSACTIONS, GFP_KERNEL)?,
            watches: KVec::new(),
            closed: false,
        };
        Arc::pin_init(
            pin_init!(Self {
                client,
                output,
                book <- new_mutex!(book),
            }),
            GFP_KERNEL,
        )
    }

    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    /// Carries a request out. `ticket` gives a place for it among those that are under way. The answer comes later.
    ///
    /// # Errors
    ///
    /// `ENOBUFS` when the program leaves too many replies unread, what `ticket` reports, `ENOMEM`: then nothing was done.
    pub(super) fn execute(
        self: &Arc<Self>,
        request: &Request<'_>,
        ticket: impl FnOnce() -> Result<Ticket>,
    ) -> Result {
        let mut room = Some(self.output.room()?);
        match self.begin(request, ticket, &mut room) {
            Ok(None) => {}
            Ok(Some(body)) => self.fill(room, request, Ok(body)),
            Err(Failed::Reply(error)) => self.fill(room, request, Err(error.as_text())),
            Err(Failed::Write(error)) => return Err(error),
        }
        Ok(())
    }

    fn fill(&self, room: Option<Room>, request: &Request<'_>, answer: Result<&[u8], &str>) {
        if let Some(room) = room {
            room.fill(&request.header, answer);
        }
    }

    /// Begins to carry a request out. Gives the answer when there is one at once; otherwise takes the room for it.
    fn begin(
        self: &Arc<Self>,
        request: &Request<'_>,
        ticket: impl FnOnce() -> Result<Ticket>,
        room: &mut Option<Room>,
    ) -> Outcome<Option<&'static [u8]>> {
        let Request { header, body } = request;
        let kind = Kind::from_number(header.kind);
        let within = match kind {
            Some(Kind::Unwatch) => {
                self.unwatch(body)?;
                return Ok(Some(b"OK\0"));
            }
            // It would end the watches of the kernel and of all files.
            Some(Kind::ResetWatches) => return Err(StoreError::NotPermitted.into()),
            Some(Kind::TransactionStart) if header.transaction != 0 => {
                return Err(StoreError::Busy.into())
            }
            Some(Kind::Watch) => Within::NONE,
            _ => self.within(header.transaction)?,
        };
        let mut sent = KBox::new(
            Sent {
                file: self.clone(),
                header: *header,
                waiting: None,
            },
            GFP_KERNEL,
        )
        .map_err(Error::from)?;
        let mut message = Message::new()?.raw(body)?;
        let ticket = ticket()?;
        let then = match kind {
            Some(Kind::Watch) => {
                let (token, with_our_token) = self.watch(body)?;
                message = with_our_token;
                Then::Watch(token)
            }
            Some(Kind::TransactionStart) => {
                let place = self.client.transactions().take(User::Program);
                Then::Open(place.ok_or(StoreError::NoSpace)?)
            }
            Some(Kind::TransactionEnd) => {
                let how = End::parse(body).ok_or(StoreError::Invalid)?;
                let opened = self.take(header.transaction).ok_or(StoreError::NotFound)?;
                Then::End(how, opened.dismiss())
            }
            _ => Then::Nothing,
        };
        sent.waiting = room.take().map(|room| (room, then));
        let owner = Owner::Receiver(sent);
        if let Err((error, Owner::Receiver(mut sent))) =
            ticket.send(header.kind, within, message, owner)
        {
            sent.answered(Err(error), within.epoch);
        }
        Ok(None)
    }

    /// Does what an answer asks for, and gives what the program is told.
    fn settle<'a>(
        &self,
        header: &Header,
        then: Then,
        answer: Result<&'a [u8]>,
        epoch: u32,
    ) -> core::result::Result<&'a [u8], StoreError> {
        let mut answer: core::result::Result<&[u8], _> = match (answer, &then) {
            (Ok(body), _) => Ok(body),
            // A transaction ends with its connection: the program has to begin again.
            (Err(ECONNRESET), Then::End(End::Abort, _)) => Ok(b"OK\0"),
            (Err(ECONNRESET), _) if header.transaction != 0 => Err(StoreError::Again),
            // It was made with the new connection already.
            (Err(EEXIST), Then::Watch(_)) => Ok(b"OK\0"),
            (Err(error), _) => Err(protocol_error(error).unwrap_or(StoreError::Io)),
        };
        match then {
            Then::Open(place) => {
                answer = answer.and_then(|body| {
                    let number = parse_number(body).ok_or(StoreError::Io)?;
                    self.note(Within { number, epoch }, place);
                    Ok(body)
                });
            }
            Then::Watch(token) if answer.is_err() => {
                drop(self.unlist(|watch| watch.watch.token() == token));
            }
            Then::End(_, place) => drop(place),
            Then::Watch(_) | Then::Nothing => {}
        }
        answer
    }

    /// Returns the transaction of this number.
    fn within(&self, number: u32) -> Outcome<Within> {
        if number == 0 {
            return Ok(Within::NONE);
        }
        let book = reclaim::lock(&self.book);
        // The last one, if two connections gave the same number.
        book.transactions
            .iter()
            .rev()
            .map(Opened::within)
            .find(|within| within.number == number)
            .ok_or(StoreError::NotFound.into())
    }

    /// Takes the transaction of this number out.
    fn take(&self, number: u32) -> Option<Opened> {
        let mut book = reclaim::lock(&self.book);
        let at = book
            .transactions
            .iter()
            .rposition(|opened| opened.within().number == number)?;
        book.transactions.remove(at).ok()
    }

    /// Notes a transaction that was opened; ends it when the file is closed already.
    fn note(&self, within: Within, place: Place) {
        let opened = Opened::new(self.client.clone(), within, place);
        let mut book = reclaim::lock(&self.book);
        let rest = if book.closed {
            Some(opened)
        } else {
            // Each has a place, and there is capacity for as many.
            book.transactions
                .push_within_capacity(opened)
                .err()
                .map(|error| error.0)
        };
        drop(book);
        drop(rest);
    }

    /// Makes a watch, of which the server has to be told.
    fn watch(&self, body: &[u8]) -> Outcome<(Token, Message)> {
        let request = WatchEvent::parse(body).map_err(|_| StoreError::Invalid)?;
        let watched = Arc::new(
            Watched {
                path: joined(&[request.path])?,
                token: joined(&[request.token])?,
            },
            GFP_KERNEL,
        )
        .map_err(Error::from)?;
        let handler = Handler {
            output: self.output.clone(),
            watched: watched.clone(),
        };
        let handler = Arc::new(handler, GFP_KERNEL).map_err(Error::from)?;
        let mut book = reclaim::lock(&self.book);
        if book.watches.iter().any(|watch| watch.is_of(&request)) {
            return Err(StoreError::Exists.into());
        }
        book.watches.reserve(1, GFP_KERNEL).map_err(Error::from)?;
        let (watch, message) =
            Watch::prepare(&self.client, User::Program, request.path, handler).map_err(refused)?;
        let token = watch.token();
        book.watches
            .push(FileWatch { watch, watched }, GFP_KERNEL)
            .map_err(Error::from)?;
        Ok((token, message))
    }

    fn unwatch(&self, body: &[u8]) -> Outcome<()> {
        let request = WatchEvent::parse(body).map_err(|_| StoreError::Invalid)?;
        let FileWatch { watch, watched } = self
            .unlist(|watch| watch.is_of(&request))
            .ok_or(StoreError::NotFound)?;
        drop(watch);
        // An event that comes after the reply would surprise the program.
        self.output.forget(&watched);
        Ok(())
    }

    fn unlist(&self, which: impl FnMut(&FileWatch) -> bool) -> Option<FileWatch> {
        let mut book = reclaim::lock(&self.book);
        let at = book.watches.iter().position(which)?;
        book.watches.remove(at).ok()
    }

    /// Ends all that the file has begun.
    pub(super) fn close(&self) {
        let mut book = reclaim::lock(&self.book);
        book.closed = true;
        let watches = core::mem::take(&mut book.watches);
        let transactions = core::mem::take(&mut book.transactions);
        drop(book);
        drop((watches, transactions));
    }
}

impl FileWatch {
    fn is_of(&self, request: &WatchEvent<'_>) -> bool {
        self.watched.path.as_slice() == request.path
            && self.watched.token.as_slice() == request.token
    }
}

/// Returns the error of the protocol that says the same.
fn protocol_error(error: Error) -> Option<StoreError> {
    let number = error.to_errno().wrapping_neg();
    StoreError::ALL
        .iter()
        .copied()
        .find(|known| known.errno() == number)
}

fn refused(error: Error) -> Failed {
    protocol_error(error).map_or(Failed::Write(error), Failed::Reply)
}
