// SPDX-License-Identifier: GPL-2.0

//! An open file against the server of the tests.

use abi::xenstore::{
    shares::User,
    stream::Assembler,
    wire::{
        Header,
        Kind,
        PAYLOAD_MAX, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::ordering::Relaxed,
        Arc, //
    },
    time::Delta,
};
use linux::{
    error::{
        ENOBUFS,
        EPROTO, //
    },
    new_wait_queue,
    sync::wait::{
        Sleep,
        Woken, //
    },
};

use super::file::{
    File,
    Request, //
};
use crate::kunit::{
    Fixture,
    COLLIDING, //
};

/// What a program reads: the kind, the number of the request, the body.
type Message = (u32, u32, KVec<u8>);

struct Program {
    test: Fixture,
    file: Arc<File>,
    requests: u32,
}

impl Program {
    fn new() -> Result<Self> {
        let test = Fixture::new()?;
        let wait = Arc::pin_init(new_wait_queue!("xenbus::chardev::kunit"), GFP_KERNEL)?;
        let file = File::new(test.client.clone(), wait)?;
        Ok(Self {
            test,
            file,
            requests: 0,
        })
    }

    fn write(&mut self, kind: u32, transaction: u32, body: &[u8]) -> Result {
        self.requests += 1;
        let header = Header {
            kind,
            request: self.requests,
            transaction,
            length: body.len() as u32,
        };
        let client = &self.test.client;
        self.file.execute(&Request { header, body }, || {
            client.try_ticket(User::Program)
        })
    }

    /// Waits for the next message and reads it.
    fn read(&self) -> Result<Message> {
        let output = self.file.output();
        let mut assembler = Assembler::new(KVec::from_elem(0, PAYLOAD_MAX, GFP_KERNEL)?);
        loop {
            let message = assembler.step(|into| {
                let mut fill = 0;
                let done = output.take(into.len(), |bytes| {
                    into[fill..][..bytes.len()].copy_from_slice(bytes);
                    fill += bytes.len();
                    Ok(())
                });
                done.unwrap_or(0)
            });
            if let Some(message) = message.map_err(|_| EPROTO)? {
                let mut body = KVec::new();
                body.extend_from_slice(message.body, GFP_KERNEL)?;
                return Ok((message.header.kind, message.header.request, body));
            }
            let limit = Some(Delta::from_secs(20));
            let woken = output
                .wait()
                .wait(Sleep::Killable, limit, || output.is_readable());
            if woken != Woken::Ready {
                return Err(ETIMEDOUT);
            }
        }
    }

    /// Makes a request and reads the answer.
    fn ask(&mut self, kind: Kind, transaction: u32, body: &[u8]) -> Result<(u32, KVec<u8>)> {
        self.write(kind.number(), transaction, body)?;
        let (kind, request, body) = self.read()?;
        assert_eq!(request, self.requests);
        Ok((kind, body))
    }
}

#[kunit_tests(oxen_xenbus_file)]
mod tests {
    use super::*;

    const ERROR: u32 = Kind::Error.number();

    #[test]
    fn a_transaction_that_collides_is_over() -> Result {
        let mut program = Program::new()?;
        program.test.desk.quota.store(COLLIDING, Relaxed);
        // More than there are places.
        for _ in 0..40 {
            let (_, number) = program.ask(Kind::TransactionStart, 0, b"\0")?;
            let number = abi::xenstore::transaction::parse_number(&number).ok_or(EINVAL)?;
            let (_, value) = program.ask(Kind::Read, number, b"value\0")?;
            assert_eq!(value.as_slice(), b"42");
            // The server would leave it open after this.
            let (_, error) = program.ask(Kind::TransactionEnd, number, b"X\0")?;
            assert_eq!(error.as_slice(), b"EINVAL\0");
            let (kind, error) = program.ask(Kind::TransactionEnd, number, b"T\0")?;
            assert_eq!((kind, error.as_slice()), (ERROR, &b"EAGAIN\0"[..]));
            let (kind, error) = program.ask(Kind::Read, number, b"value\0")?;
            assert_eq!((kind, error.as_slice()), (ERROR, &b"ENOENT\0"[..]));
        }
        assert_eq!(program.test.client.transactions().taken(), 0);
        Ok(())
    }

    #[test]
    fn programs_leave_transactions_to_the_kernel_and_to_no_one_when_closed() -> Result {
        let mut program = Program::new()?;
        for _ in 0..6 {
            let (kind, _) = program.ask(Kind::TransactionStart, 0, b"\0")?;
            assert_eq!(kind, Kind::TransactionStart.number());
        }
        let (kind, error) = program.ask(Kind::TransactionStart, 0, b"\0")?;
        assert_eq!((kind, error.as_slice()), (ERROR, &b"ENOSPC\0"[..]));
        let value = program
            .test
            .store
            .transaction(|store| store.number::<u32>("value"))?;
        assert_eq!(value, Some(42));
        program.file.close();
        let desk = &program.test.desk;
        assert!(desk.comes_to(|| desk.aborted.load(Relaxed) == 6));
        assert_eq!(desk.open.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn a_file_closed_before_the_answer_leaves_no_transaction() -> Result {
        let mut program = Program::new()?;
        program.write(Kind::TransactionStart.number(), 0, b"later\0")?;
        let desk = program.test.desk.clone();
        assert!(desk.comes_to(|| desk.held.load(Relaxed) == 1));
        program.file.close();
        assert_eq!(program.test.read("value")?.as_slice(), b"42");
        assert!(desk.comes_to(|| desk.aborted.load(Relaxed) == 1));
        assert_eq!(desk.open.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn a_request_whose_reply_may_not_fit_is_not_sent() -> Result {
        let mut program = Program::new()?;
        let mut sent = 0;
        let error = loop {
            match program.write(Kind::Mkdir.number(), 0, b"x\0") {
                Ok(()) => sent += 1,
                // The server is slower than the program.
                Err(EAGAIN) => kernel::time::delay::fsleep(Delta::from_millis(1)),
                Err(error) => break error,
            }
            assert!(sent < 10_000);
        };
        assert_eq!(error, ENOBUFS);
        for _ in 0..sent {
            let (kind, _, body) = program.read()?;
            assert_eq!(
                (kind, body.as_slice()),
                (Kind::Mkdir.number(), &b"OK\0"[..])
            );
        }
        assert_eq!(program.test.desk.served.load(Relaxed), sent);
        assert!(program.file.output().has_room());
        Ok(())
    }

    #[test]
    fn kinds_that_are_not_known_are_passed_on() -> Result {
        let mut program = Program::new()?;
        for kind in [20, 23, 4711] {
            let before = program.test.desk.served.load(Relaxed);
            program.write(kind, 0, b"x\0")?;
            let (kind, _, body) = program.read()?;
            assert_eq!((kind, body.as_slice()), (ERROR, &b"ENOSYS\0"[..]));
            assert_eq!(program.test.desk.served.load(Relaxed), before + 1);
        }
        Ok(())
    }

    #[test]
    fn there_is_a_limit_to_watches_and_the_kernel_has_its_own() -> Result {
        let mut program = Program::new()?;
        let mut made = 0;
        for number in 0..600u32 {
            let mut body = *b"data/000\0t\0";
            for (place, unit) in [(5, 100), (6, 10), (7, 1)] {
                body[place] += (number / unit % 10) as u8;
            }
            program.write(Kind::Watch.number(), 0, &body)?;
            let (kind, request, body) = program.read()?;
            assert_eq!(request, program.requests);
            if kind == ERROR {
                assert_eq!(body.as_slice(), b"ENOSPC\0");
            } else {
                made += 1;
                // Its first event.
                assert_eq!(program.read()?.0, Kind::WatchEvent.number());
            }
        }
        assert_eq!((made, program.test.client.watches().count()), (64, 64));
        program.file.close();
        assert_eq!(program.test.client.watches().count(), 0);
        Ok(())
    }

    #[test]
    fn events_come_while_a_reader_is_busy() -> Result {
        let mut program = Program::new()?;
        program.write(Kind::Watch.number(), 0, b"watched\0t\0")?;
        assert_eq!(program.read()?.0, Kind::Watch.number());
        let output = program.file.output();
        let limit = Some(Delta::from_secs(20));
        let wait = || {
            output
                .wait()
                .wait(Sleep::Killable, limit, || output.is_readable())
        };
        assert!(wait() == Woken::Ready);
        let mut length = 0;
        // The memory of the program takes until all this has happened.
        let done = output.take(4096, |bytes| {
            if length == 0 {
                program.test.store.write("watched", "x")?;
                assert_eq!(program.test.read("value")?.as_slice(), b"42");
                assert_eq!(output.take(1, |_| Ok(())), Ok(0));
            }
            length += bytes.len();
            Ok(())
        })?;
        // Both events, of 16 + 10 bytes each.
        assert_eq!((done, length), (52, 52));
        Ok(())
    }
}
