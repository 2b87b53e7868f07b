// SPDX-License-Identifier: GPL-2.0

//! What the test agent and its client say to each other.
//!
//! One message is one line of JSON, with binary data in base64. A line is easy to find again
//! after a client that died in the middle of one, which is all the resynchronisation a shared
//! virtual serial port needs: a session starts with `Hello` and a nonce, and whatever arrives
//! before the answer with that nonce belongs to somebody else.

pub mod marks;

use base64::{engine::general_purpose::STANDARD, Engine};
use serde::{Deserialize, Serialize};

/// The most data that one message carries.
pub const CHUNK: usize = 48 * 1024;

/// TCP port on which the agent of the control domain listens.
pub const TCP_PORT: u16 = 7777;

/// Name of the guest's virtual serial port for its agent.
pub const PORT_NAME: &str = "oxen.agent";

/// From the client to the agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
pub enum Request {
    /// Starts a session; what an earlier session left running is killed.
    Hello { nonce: String },
    /// Runs a program.
    Exec {
        id: u64,
        argv: Vec<String>,
        /// Gives it a terminal of its own.
        pty: bool,
    },
    /// Bytes for the program's input.
    In { id: u64, data: Data },
    /// End of the program's input.
    Eof { id: u64 },
    /// Kills the program and everything in its process group.
    Kill { id: u64 },
    /// From here on this connection is a pipe to a UNIX socket or device. TCP only.
    Tunnel { path: String },
}

/// From the agent to the client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
pub enum Reply {
    Hello {
        nonce: String,
    },
    /// Output of a program: 1 is stdout (or the terminal), 2 is stderr.
    Out {
        id: u64,
        fd: u8,
        data: Data,
    },
    /// The program ended; a signal counts as 128 + its number, as in a shell.
    Exit {
        id: u64,
        code: i32,
    },
    /// The request could not be carried out.
    Failed {
        id: u64,
        why: String,
    },
    /// The tunnel is open: raw bytes follow.
    Tunnelled,
}

/// Bytes, in base64 on the line.
#[derive(Clone, Debug, Default)]
pub struct Data(pub Vec<u8>);

impl Serialize for Data {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD
            .decode(text)
            .map(Data)
            .map_err(serde::de::Error::custom)
    }
}

/// The message as a line, with a line feed at both ends so that it never joins a broken one.
pub fn line<M: Serialize>(message: &M) -> Vec<u8> {
    let mut line = b"\n".to_vec();
    // A message of ours is made of strings, numbers and base64: it always has a JSON form.
    serde_json::to_writer(&mut line, message).expect("a message has a JSON form");
    line.push(b'\n');
    line
}
