// SPDX-License-Identifier: GPL-2.0

//! What a program passes to `ioctl(2)`.

use abi::shared::{
    bytes_of,
    bytes_of_mut,
    zeroed,
    Pod, //
};
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// The argument: the address of a structure in the program's memory, if the command has one.
#[derive(Clone, Copy)]
pub struct Argument(UserPtr);

impl Argument {
    /// A structure at an address that the program has passed in another one.
    pub fn new(address: usize) -> Self {
        Self(UserPtr::from_addr(address))
    }

    /// Copies the structure in.
    ///
    /// # Errors
    ///
    /// `EFAULT` when the program has none there.
    pub fn read<T: Pod>(self) -> Result<T> {
        let mut value = zeroed();
        self.at(0, size_of::<T>())
            .reader()
            .read_slice(bytes_of_mut(&mut value))?;
        Ok(value)
    }

    /// Copies the structure out.
    ///
    /// # Errors
    ///
    /// `EFAULT` when the program has no memory there.
    pub fn write<T: Pod>(self, value: &T) -> Result {
        self.at(0, size_of::<T>())
            .writer()
            .write_slice(bytes_of(value))
    }

    /// What lies so many bytes behind the address, as a structure.
    pub fn behind(self, offset: usize) -> Self {
        Self(self.0.wrapping_byte_add(offset))
    }

    /// What lies `offset` bytes behind the address.
    pub fn at(self, offset: usize, length: usize) -> UserSlice {
        UserSlice::new(self.0.wrapping_byte_add(offset), length)
    }
}
