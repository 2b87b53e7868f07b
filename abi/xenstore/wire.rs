// SPDX-License-Identifier: GPL-2.0

//! Messages of the xenstore: `struct xsd_sockmsg` and `enum xsd_sockmsg_type` of `io/xs_wire.h`.

use crate::shared::bytes_of;

/// Longest body of a message (`XENSTORE_PAYLOAD_MAX`).
pub const PAYLOAD_MAX: usize = 4096;

/// Longest absolute path without its NUL (`XENSTORE_ABS_PATH_MAX`).
pub const ABSOLUTE_PATH_MAX: usize = 3072;

/// Longest relative path without its NUL (`XENSTORE_REL_PATH_MAX`).
pub const RELATIVE_PATH_MAX: usize = 2048;

crate::shared::wire! {
    /// The head of a message.
    pub struct Header {
        /// What the message is: the number of a [`Kind`].
        pub kind: u32,
        /// Number by which a reply is matched with its request.
        pub request: u32,
        /// Transaction that the message belongs to, or 0.
        pub transaction: u32,
        /// Length of the body in bytes.
        pub length: u32,
    }
}

impl Header {
    /// Size on the wire.
    pub const SIZE: usize = 16;

    /// Returns the bytes on the wire.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes.copy_from_slice(bytes_of(self));
        bytes
    }

    /// Reads the bytes on the wire.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Self {
        let word = |chunk: Option<&[u8; 4]>| chunk.map_or(0, |word| u32::from_le_bytes(*word));
        Self {
            kind: word(bytes.first_chunk()),
            request: word(bytes.get(4..8).and_then(<[u8]>::first_chunk)),
            transaction: word(bytes.get(8..12).and_then(<[u8]>::first_chunk)),
            length: word(bytes.get(12..16).and_then(<[u8]>::first_chunk)),
        }
    }
}

macro_rules! kinds {
    ($($(#[$meta:meta])* $name:ident = $number:literal,)*) => {
        /// What a message is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Kind {
            $($(#[$meta])* $name = $number,)*
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the number on the wire.
            pub const fn number(self) -> u32 {
                self as u32
            }

            /// Returns the kind with this number.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Debugging commands of the server.
    Control = 0,
    /// List the children of a node.
    Directory = 1,
    /// Read the value of a node.
    Read = 2,
    /// Read the permissions of a node.
    GetPerms = 3,
    /// Watch a node and all below it.
    Watch = 4,
    /// End a watch.
    Unwatch = 5,
    /// Begin a transaction.
    TransactionStart = 6,
    /// End a transaction, `T` to commit or `F` to drop it.
    TransactionEnd = 7,
    /// For the toolstack: introduce a domain.
    Introduce = 8,
    /// For the toolstack: forget a domain.
    Release = 9,
    /// The home path of a domain.
    GetDomainPath = 10,
    /// Write the value of a node.
    Write = 11,
    /// Make a node.
    Mkdir = 12,
    /// Remove a node and all below it.
    Rm = 13,
    /// Set the permissions of a node.
    SetPerms = 14,
    /// From the server: a watch fired.
    WatchEvent = 15,
    /// From the server: the request failed.
    Error = 16,
    /// Whether a domain is known.
    IsDomainIntroduced = 17,
    /// For the toolstack: a domain was resumed.
    Resume = 18,
    /// For the toolstack: a domain acts for another one.
    SetTarget = 19,
    /// End all watches and transactions of this domain.
    ResetWatches = 21,
    /// List a part of the children of a node.
    DirectoryPart = 22,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_are_little_endian() {
        let header = Header {
            kind: 2,
            request: 0x0102_0304,
            transaction: u32::MAX,
            length: 4096,
        };
        let bytes = header.encode();
        assert_eq!(
            bytes,
            [2, 0, 0, 0, 4, 3, 2, 1, 255, 255, 255, 255, 0, 16, 0, 0]
        );
        assert_eq!(Header::decode(&bytes), header);
        assert_eq!(core::mem::size_of::<Header>(), Header::SIZE);
    }

    #[test]
    fn kinds_round_trip_and_gaps_stay_gaps() {
        assert_eq!(Kind::ALL.len(), 22);
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind.number()), Some(*kind));
        }
        for number in [20, 23, 0xffff, u32::MAX] {
            assert_eq!(Kind::from_number(number), None);
        }
    }
}
