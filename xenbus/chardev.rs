// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/xenbus`: the xenstore for programs, by the wire protocol that libxenstore speaks.
//!
//! Each open file is a client of its own: its transactions and watches are known, invisible to others, and end with it.
//! What a program writes is a request, and the `write` that completes it sends it; what it reads are the replies and its
//! watch events. A request of a kind that is not known here is passed on.
//!
//! A program that does not read costs bounded memory: of the events that do not fit only the watch is remembered, and it
//! fires once more when there is room again; a request whose reply might not fit is refused.

mod file;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
mod output;

use abi::xenstore::{
    shares::User,
    wire::{
        Header,
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
        NoPages,
        Readiness,
        Stream, //
    },
    sync::wait::{
        Sleep,
        WaitQueue,
        Woken, //
    },
};

use self::file::{
    File,
    Request, //
};
use crate::store::client::Client;

/// An open file.
#[pin_data]
pub(crate) struct Session {
    client: Arc<Client>,
    file: Arc<File>,
    /// The bytes of a request that is not whole yet. The lock is held by a writer until it is done.
    #[pin]
    input: Mutex<KVec<u8>>,
}

impl Session {
    /// Sends a whole request.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when it would have to wait for a place, and otherwise as [`File::execute`].
    fn execute(&self, bytes: &[u8], nonblocking: bool) -> Result {
        let Some((head, body)) = bytes.split_first_chunk() else {
            return Err(EINVAL);
        };
        let header = Header::decode(head);
        self.file.execute(&Request { header, body }, || {
            if nonblocking {
                return self.client.try_ticket(User::Program);
            }
            self.client
                .ticket(User::Program, Sleep::Interruptible, self.client.deadline())
        })
    }
}

/// Returns how many bytes a request has that begins with `begin`, as far as that is known.
///
/// # Errors
///
/// `EINVAL` when they are more than the protocol allows.
fn length(begin: &[u8]) -> Result<usize> {
    let Some(head) = begin.first_chunk() else {
        return Ok(Header::SIZE);
    };
    match usize::try_from(Header::decode(head).length) {
        Ok(length) if length <= PAYLOAD_MAX => Ok(length.saturating_add(Header::SIZE)),
        _ => Err(EINVAL),
    }
}

/// Appends `count` bytes of the program.
fn append(to: &mut KVec<u8>, from: &mut UserSliceReader, count: usize) -> Result {
    let fill = to.len();
    to.extend_with(count, 0, GFP_KERNEL)?;
    from.read_slice(to.get_mut(fill..).unwrap_or_default())
}

impl Stream for Session {
    const NAME: &'static CStr = c"xen/xenbus";

    type Module = crate::Own;

    type Context = ();

    type Pages = NoPages;

    fn open(_context: &(), wait: Arc<WaitQueue>) -> Result<Arc<Self>> {
        let client = crate::store()?.client().clone();
        let file = File::new(client.clone(), wait)?;
        Arc::pin_init(
            pin_init!(Self {
                client,
                file,
                input <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    fn read(&self, mut into: UserSliceWriter, nonblocking: bool) -> Result<usize> {
        let output = self.file.output();
        loop {
            let wanted = into.len();
            let done = output.take(wanted, |bytes| into.write_slice(bytes))?;
            if done > 0 || wanted == 0 {
                return Ok(done);
            }
            if nonblocking {
                return Err(EAGAIN);
            }
            let woken = output
                .wait()
                .wait(Sleep::Interruptible, None, || output.is_readable());
            if woken == Woken::Signal {
                return Err(ERESTARTSYS);
            }
        }
    }

    /// Writes any part of one request, or several. When one of them cannot be sent, what was written of it by this call
    /// is dropped, so the call can be made again.
    fn write(&self, mut from: UserSliceReader, nonblocking: bool) -> Result<usize> {
        let mut input = if nonblocking {
            self.input.try_lock().ok_or(EAGAIN)?
        } else {
            self.input.lock()
        };
        let total = from.len();
        let mut before = input.len();
        let mut done = 0;
        let error = loop {
            let whole = match length(&input) {
                Ok(whole) => whole,
                Err(error) => {
                    // Where the next request begins is unknown.
                    before = 0;
                    break error;
                }
            };
            let missing = whole.saturating_sub(input.len());
            let result = if missing > 0 {
                let count = missing.min(from.len());
                if count == 0 {
                    return Ok(total);
                }
                append(&mut input, &mut from, count)
            } else {
                let sent = self.execute(&input, nonblocking);
                if sent.is_ok() {
                    input.clear();
                    before = 0;
                    done = total.saturating_sub(from.len());
                }
                sent
            };
            if let Err(error) = result {
                break error;
            }
        };
        input.truncate(before);
        if done > 0 {
            return Ok(done);
        }
        Err(if error == EINTR { ERESTARTSYS } else { error })
    }

    fn poll(&self) -> Readiness {
        let output = self.file.output();
        Readiness {
            readable: output.is_readable(),
            writable: output.has_room() && self.client.is_vacant(User::Program),
            ..Readiness::default()
        }
    }

    fn more_to_wait_for(&self) -> Option<&WaitQueue> {
        Some(self.client.vacancy())
    }

    fn release(&self) {
        self.file.close();
    }
}
