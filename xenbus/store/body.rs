// SPDX-License-Identifier: GPL-2.0

//! What is sent to the xenstore, and what comes back.

use core::fmt;

use abi::xenstore::{
    directory::Names,
    path,
    value::{
        BadNumber,
        Number, //
    },
    wire::{
        Header,
        PAYLOAD_MAX, //
    },
};
use kernel::prelude::*;

/// A message that is being written: a head to be filled in later, and a body.
pub(crate) struct Message {
    bytes: KVec<u8>,
}

impl Message {
    pub(crate) fn new() -> Result<Self> {
        let mut bytes = KVec::with_capacity(128, GFP_KERNEL)?;
        bytes.extend_from_slice(&[0; Header::SIZE], GFP_KERNEL)?;
        Ok(Self { bytes })
    }

    /// Begins a message whose first string is a path.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the server would refuse the path.
    pub(crate) fn with_path(path: &dyn fmt::Display) -> Result<Self> {
        let message = Self::new()?.text(path)?;
        if !path::is_valid(message.body()) {
            return Err(EINVAL);
        }
        message.raw(&[0])
    }

    /// Appends text without a NUL.
    pub(crate) fn text(mut self, text: &dyn fmt::Display) -> Result<Self> {
        fmt::write(&mut self, format_args!("{text}")).map_err(|_| E2BIG)?;
        Ok(self)
    }

    /// Appends bytes.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Result<Self> {
        self.append(bytes)?;
        Ok(self)
    }

    fn append(&mut self, bytes: &[u8]) -> Result {
        if bytes.len() > PAYLOAD_MAX.saturating_sub(self.body().len()) {
            return Err(E2BIG);
        }
        self.bytes.extend_from_slice(bytes, GFP_KERNEL)?;
        Ok(())
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(Header::SIZE..).unwrap_or_default()
    }

    /// Fills the head in and returns the bytes for the ring.
    pub(crate) fn finish(mut self, kind: u32, request: u32, transaction: u32) -> KVec<u8> {
        let length = u32::try_from(self.body().len()).unwrap_or(0);
        let header = Header {
            kind,
            request,
            transaction,
            length,
        };
        if let Some(head) = self.bytes.get_mut(..Header::SIZE) {
            head.copy_from_slice(&header.encode());
        }
        self.bytes
    }
}

impl fmt::Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// The value of a node: any bytes, chosen by the domain that wrote it.
pub struct Value(KVec<u8>);

impl Value {
    pub(crate) fn new(bytes: KVec<u8>) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the value as a decimal number.
    ///
    /// # Errors
    ///
    /// [`BadNumber`] when it is anything else.
    pub fn number<T: Number>(&self) -> core::result::Result<T, BadNumber> {
        T::parse(&self.0)
    }
}

/// The children of a node.
pub struct Children(pub(crate) KVec<u8>);

impl Children {
    /// Returns their names. They are what the server sent: look at them with [`path::is_name`] before use.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        Names::parse(&self.0).into_iter().flatten()
    }
}
