// SPDX-License-Identifier: GPL-2.0

//! Event channels.

use super::{last, sys};
use anyhow::{Context, Result};
use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;
use std::ptr::NonNull;

/// An open `/dev/xen/evtchn`, and the ports bound through it.
pub(crate) struct Events(NonNull<c_void>);

/// One of our ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port(u32);

impl Events {
    /// Opens the way to event channels.
    ///
    /// # Errors
    ///
    /// When there is no `/dev/xen/evtchn`.
    pub(crate) fn open() -> Result<Self> {
        // SAFETY: A null logger asks for the library's own.
        let handle = unsafe { sys::xenevtchn_open(std::ptr::null_mut(), 0) };
        NonNull::new(handle)
            .map(Self)
            .with_context(|| format!("/dev/xen/evtchn cannot be opened: {}", last()))
    }

    /// Becomes readable when a port fires.
    pub(crate) fn fd(&self) -> RawFd {
        // SAFETY: The handle is open.
        unsafe { sys::xenevtchn_fd(self.0.as_ptr()) }
    }

    fn port(result: c_int) -> Result<Port> {
        u32::try_from(result).map(Port).map_err(|_| last())
    }

    /// Binds to a port that `domain` keeps for us.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub(crate) fn bind(&self, domain: u16, remote: u32) -> Result<Port> {
        // SAFETY: The handle is open; the rest is numbers.
        let result =
            unsafe { sys::xenevtchn_bind_interdomain(self.0.as_ptr(), domain.into(), remote) };
        Self::port(result).with_context(|| format!("port {remote} cannot be bound"))
    }

    /// Closes a port.
    pub(crate) fn unbind(&self, port: Port) {
        // SAFETY: The handle is open; the rest is a number.
        unsafe { sys::xenevtchn_unbind(self.0.as_ptr(), port.0) };
    }

    /// Gives the other end an event.
    pub(crate) fn notify(&self, port: Port) {
        // SAFETY: The handle is open; the rest is a number.
        if unsafe { sys::xenevtchn_notify(self.0.as_ptr(), port.0) } != 0 {
            eprintln!("backend: no event: {}", last());
        }
    }

    /// The port that has fired, ready to fire again. To be called when the descriptor is readable.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be read.
    pub(crate) fn take(&self) -> Result<Port> {
        // SAFETY: The handle is open.
        let port = Self::port(unsafe { sys::xenevtchn_pending(self.0.as_ptr()) })?;
        // SAFETY: As above.
        unsafe { sys::xenevtchn_unmask(self.0.as_ptr(), port.0) };
        Ok(port)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // SAFETY: The handle is open, and nobody uses it any more.
        unsafe { sys::xenevtchn_close(self.0.as_ptr()) };
    }
}
