// SPDX-License-Identifier: GPL-2.0

//! Responses: three numbers of the backend's, and what may be made of them.
//!
//! A response is copied out of the ring once. Its id says which request it answers only after the table
//! of outstanding requests ([`crate::slots`]) has agreed; its operation and status are judged here.

use super::request::Operation;
use crate::shared::wire;
use core::fmt;

wire! {
    /// `struct blkif_response`, not checked.
    pub struct Response {
        id: u64,
        operation: u8,
        pad: u8,
        status: i16,
        pad2: u32,
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `BLKIF_RSP_OKAY`
    Done,
    /// `BLKIF_RSP_ERROR`, and every status that the protocol does not know.
    Failed,
    /// `BLKIF_RSP_EOPNOTSUPP`, where the protocol allows it: the backend can no flush, barrier or discard.
    NotSupported,
}

/// The response repeats another operation than its request had: the backend's books are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongOperation {
    /// What was sent.
    pub sent: u8,
    /// What came back.
    pub answered: u8,
}

impl fmt::Display for WrongOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "operation {} was answered as operation {}",
            self.sent, self.answered
        )
    }
}

impl Response {
    /// The id, for the table of outstanding requests to judge.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Judges the answer to a request that was sent as `sent`.
    ///
    /// # Errors
    ///
    /// [`WrongOperation`] when this is no answer to such a request.
    pub fn outcome(&self, sent: Operation) -> Result<Outcome, WrongOperation> {
        if self.operation != sent.code() {
            return Err(WrongOperation {
                sent: sent.code(),
                answered: self.operation,
            });
        }
        Ok(match self.status {
            0 => Outcome::Done,
            // Reads and writes are not optional, so there it is an error like any other.
            -2 => match sent {
                Operation::Flush | Operation::WriteBarrier | Operation::Discard => {
                    Outcome::NotSupported
                }
                Operation::Read | Operation::Write | Operation::Indirect => Outcome::Failed,
            },
            _ => Outcome::Failed,
        })
    }

    /// Builds a response, as a backend does: for tests and for the peers of tests.
    #[cfg(any(test, feature = "test-utils"))]
    pub fn forge(id: u64, operation: u8, status: i16) -> Self {
        Self {
            id,
            operation,
            pad: 0,
            status,
            pad2: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    const ALL: [Operation; 6] = [
        Operation::Read,
        Operation::Write,
        Operation::WriteBarrier,
        Operation::Flush,
        Operation::Discard,
        Operation::Indirect,
    ];

    #[test]
    fn layout_is_that_of_blkif_h() {
        assert_eq!(size_of::<Response>(), 16);
        assert_eq!(
            (
                offset_of!(Response, operation),
                offset_of!(Response, status)
            ),
            (8, 10)
        );
    }

    #[test]
    fn only_the_operation_that_was_sent_is_believed() {
        for sent in ALL {
            for operation in 0..=u8::MAX {
                let response = Response::forge(7, operation, 0);
                assert_eq!(response.id(), 7);
                let outcome = response.outcome(sent);
                if operation == sent.code() {
                    assert_eq!(outcome, Ok(Outcome::Done));
                } else {
                    assert_eq!(
                        outcome,
                        Err(WrongOperation {
                            sent: sent.code(),
                            answered: operation
                        })
                    );
                }
            }
        }
    }

    #[test]
    fn unknown_status_is_a_failure() {
        for sent in ALL {
            for status in i16::MIN..=i16::MAX {
                let outcome = Response::forge(1, sent.code(), status)
                    .outcome(sent)
                    .unwrap();
                let optional = matches!(
                    sent,
                    Operation::Flush | Operation::WriteBarrier | Operation::Discard
                );
                let expected = match status {
                    0 => Outcome::Done,
                    -2 if optional => Outcome::NotSupported,
                    _ => Outcome::Failed,
                };
                assert_eq!(outcome, expected, "{sent:?} {status}");
            }
        }
    }
}
