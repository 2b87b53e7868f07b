// SPDX-License-Identifier: GPL-2.0

//! The xenstore.

use super::{last, sys};
use anyhow::{bail, Context, Result};
use std::ffi::{c_char, c_void, CStr, CString};
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;

/// No transaction (`XBT_NULL`).
const NONE: u32 = 0;

/// How often a transaction that others disturb is tried.
const TRIES: u32 = 100;

/// A connection to xenstored.
pub(crate) struct Store(NonNull<c_void>);

/// The store, within a transaction or without one.
pub(crate) struct View<'a> {
    store: &'a Store,
    transaction: u32,
}

/// Who may do what with a node.
#[derive(Clone, Copy)]
pub(crate) struct Access {
    /// Owns it and may do everything.
    pub(crate) owner: u16,
    /// May read it.
    pub(crate) reader: u16,
}

impl Store {
    /// Connects.
    ///
    /// # Errors
    ///
    /// When xenstored does not run.
    pub(crate) fn open() -> Result<Self> {
        // SAFETY: Opening has no requirements.
        NonNull::new(unsafe { sys::xs_open(0) })
            .map(Self)
            .with_context(|| format!("no xenstore: {}", last()))
    }

    /// The store as it is now.
    pub(crate) fn now(&self) -> View<'_> {
        View {
            store: self,
            transaction: NONE,
        }
    }

    /// Several changes at once; `change` may run more than once.
    ///
    /// # Errors
    ///
    /// Those of `change`, and when others disturb it all the time.
    pub(crate) fn transaction(
        &self,
        mut change: impl FnMut(&View<'_>) -> Result<()>,
    ) -> Result<()> {
        for _ in 0..TRIES {
            // SAFETY: The connection is open.
            let transaction = unsafe { sys::xs_transaction_start(self.0.as_ptr()) };
            if transaction == NONE {
                return Err(last()).context("no transaction");
            }
            let view = View {
                store: self,
                transaction,
            };
            let changed = change(&view);
            // SAFETY: The connection is open and the transaction its own.
            let done =
                unsafe { sys::xs_transaction_end(self.0.as_ptr(), transaction, changed.is_err()) };
            changed?;
            if done {
                return Ok(());
            }
            if io::Error::last_os_error().raw_os_error() != Some(libc::EAGAIN) {
                return Err(last()).context("a transaction fails");
            }
        }
        bail!("a transaction was disturbed {TRIES} times")
    }

    /// Becomes readable when a watched path changes.
    pub(crate) fn fd(&self) -> RawFd {
        // SAFETY: The connection is open.
        unsafe { sys::xs_fileno(self.0.as_ptr()) }
    }

    /// Watches a path.
    ///
    /// # Errors
    ///
    /// Those of xenstored.
    pub(crate) fn watch(&self, path: &str) -> Result<()> {
        let path = CString::new(path)?;
        // SAFETY: Path and token are strings that outlive the call.
        if !unsafe { sys::xs_watch(self.0.as_ptr(), path.as_ptr(), path.as_ptr()) } {
            return Err(last()).with_context(|| format!("{path:?} cannot be watched"));
        }
        Ok(())
    }

    /// Takes one event of a watch, if there is one.
    pub(crate) fn changed(&self) -> bool {
        // SAFETY: The connection is open.
        let event = unsafe { sys::xs_check_watch(self.0.as_ptr()) };
        // SAFETY: It was allocated by the library in one piece, or is null.
        unsafe { libc::free(event.cast()) };
        !event.is_null()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: The connection is open, and nobody uses it any more.
        unsafe { sys::xs_close(self.0.as_ptr()) };
    }
}

impl View<'_> {
    fn handle(&self) -> *mut c_void {
        self.store.0.as_ptr()
    }

    /// Reads a node; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of xenstored.
    pub(crate) fn read(&self, path: &str) -> Result<Option<String>> {
        let name = CString::new(path)?;
        let mut len = 0;
        // SAFETY: The path is a string and `len` a number that outlive the call.
        let data =
            unsafe { sys::xs_read(self.handle(), self.transaction, name.as_ptr(), &mut len) };
        if data.is_null() {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ENOENT) => Ok(None),
                _ => Err(error).with_context(|| path.to_string()),
            };
        }
        // SAFETY: The library gives `len` bytes and a NUL behind them, which are ours to free.
        let text = unsafe { CStr::from_ptr(data.cast::<c_char>()) }
            .to_string_lossy()
            .into_owned();
        // SAFETY: As above; it is not used any more.
        unsafe { libc::free(data) };
        Ok(Some(text))
    }

    /// Reads a decimal number; `None` if there is no node.
    ///
    /// # Errors
    ///
    /// Those of xenstored, and when it is none.
    pub(crate) fn number(&self, path: &str) -> Result<Option<u32>> {
        self.read(path)?
            .map(|text| text.parse().with_context(|| format!("{path}: {text:?}")))
            .transpose()
    }

    /// Writes a node; above it all nodes are made that are not there.
    ///
    /// # Errors
    ///
    /// Those of xenstored.
    pub(crate) fn write(&self, path: &str, value: &str) -> Result<()> {
        let name = CString::new(path)?;
        // SAFETY: The path is a string, and the value as long as said.
        let done = unsafe {
            sys::xs_write(
                self.handle(),
                self.transaction,
                name.as_ptr(),
                value.as_ptr().cast(),
                value.len() as u32,
            )
        };
        if !done {
            return Err(last()).with_context(|| format!("{path} = {value:?}"));
        }
        Ok(())
    }

    /// Makes or empties a node, and says who may use it; nodes made below it later inherit that.
    ///
    /// # Errors
    ///
    /// Those of xenstored.
    pub(crate) fn folder(&self, path: &str, access: Access) -> Result<()> {
        self.write(path, "")?;
        let name = CString::new(path)?;
        let mut permissions = [
            sys::Permissions {
                id: access.owner.into(),
                perms: sys::PERM_NONE,
            },
            sys::Permissions {
                id: access.reader.into(),
                perms: sys::PERM_READ,
            },
        ];
        // SAFETY: The path is a string, and there are as many permissions as said.
        let done = unsafe {
            sys::xs_set_permissions(
                self.handle(),
                self.transaction,
                name.as_ptr(),
                permissions.as_mut_ptr(),
                permissions.len() as u32,
            )
        };
        if !done {
            return Err(last()).with_context(|| format!("permissions of {path}"));
        }
        Ok(())
    }

    /// Removes a node and all below it, if it is there.
    ///
    /// # Errors
    ///
    /// Those of xenstored.
    pub(crate) fn remove(&self, path: &str) -> Result<()> {
        let name = CString::new(path)?;
        // SAFETY: The path is a string that outlives the call.
        let done = unsafe { sys::xs_rm(self.handle(), self.transaction, name.as_ptr()) };
        let error = io::Error::last_os_error();
        if !done && error.raw_os_error() != Some(libc::ENOENT) {
            return Err(error).with_context(|| format!("{path} cannot be removed"));
        }
        Ok(())
    }
}
