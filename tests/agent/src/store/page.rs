// SPDX-License-Identifier: GPL-2.0

//! A page of memory that is missing for ever: the kernel waits in the middle of a copy to it.

use anyhow::{ensure, Result};
use std::fs::File;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd};

const SIZE: usize = 4096;

// Of `linux/userfaultfd.h`.
const UFFD_API: u64 = 0xaa;
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

/// The page, and the file that is told of those who wait for it.
pub(super) struct Missing {
    address: usize,
    faults: File,
}

impl Missing {
    pub(super) fn new() -> Result<Self> {
        // SAFETY: The call has no requirements.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        ensure!(fd >= 0, "userfaultfd: {}", Error::last_os_error());
        // SAFETY: The descriptor is new and belongs to nothing else.
        let faults = unsafe { File::from_raw_fd(i32::try_from(fd)?) };
        let mut api = Api {
            api: UFFD_API,
            features: 0,
            ioctls: 0,
        };
        // SAFETY: `api` is what this command takes, and lives through the call.
        let done = unsafe { libc::ioctl(faults.as_raw_fd(), UFFDIO_API, &mut api) };
        ensure!(done == 0, "UFFDIO_API: {}", Error::last_os_error());
        // SAFETY: A new mapping anywhere; it is never unmapped.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        ensure!(
            address != libc::MAP_FAILED,
            "mmap: {}",
            Error::last_os_error()
        );
        let mut register = Register {
            start: address as u64,
            len: SIZE as u64,
            mode: UFFDIO_REGISTER_MODE_MISSING,
            ioctls: 0,
        };
        // SAFETY: `register` is what this command takes, and lives through the call.
        let done = unsafe { libc::ioctl(faults.as_raw_fd(), UFFDIO_REGISTER, &mut register) };
        ensure!(done == 0, "UFFDIO_REGISTER: {}", Error::last_os_error());
        Ok(Self {
            address: address as usize,
            faults,
        })
    }

    pub(super) fn address(&self) -> usize {
        self.address
    }

    /// Waits until something waits for the page.
    pub(super) fn wait_for_reader(&self) -> Result<()> {
        wait_readable(&self.faults)
    }
}

/// Reads from `file` to the page at `address`: does not return.
pub(super) fn read_into(file: &mut File, address: usize) -> isize {
    // SAFETY: The page is mapped for ever and used by nothing else.
    unsafe { libc::read(file.as_raw_fd(), address as *mut libc::c_void, SIZE) }
}

/// Waits until there is something to read, a minute at most.
pub(super) fn wait_readable(file: &File) -> Result<()> {
    let mut poll = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: One entry, which lives through the call.
    let ready = unsafe { libc::poll(&mut poll, 1, 60_000) };
    ensure!(ready >= 0, "poll: {}", Error::last_os_error());
    ensure!(ready == 1, "nothing to read within a minute");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_waits_for_the_page() -> Result<()> {
        let page = match Missing::new() {
            Ok(page) => page,
            // Not every machine that runs the host tests lets its users do this.
            Err(why) if format!("{why}").contains("userfaultfd: ") => return Ok(()),
            Err(why) => return Err(why),
        };
        let address = page.address();
        let mut file = File::open("/dev/zero")?;
        let reader = std::thread::spawn(move || read_into(&mut file, address));
        page.wait_for_reader()?;
        ensure!(!reader.is_finished());
        Ok(())
    }
}
