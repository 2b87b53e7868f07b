// SPDX-License-Identifier: GPL-2.0

//! `agent kexec now|crash KERNEL INITRD COMMAND-LINE`: loads a kernel, and starts it at once or leaves it to a crash.

use anyhow::{ensure, Context, Result};
use std::ffi::CString;
use std::fs::File;
use std::io::Error;
use std::os::fd::AsRawFd;

/// `KEXEC_FILE_ON_CRASH` of `linux/kexec.h`.
const ON_CRASH: libc::c_ulong = 2;

/// Runs it; what is started at once never returns.
pub fn run(crash: bool, kernel: &str, initrd: &str, command_line: &str) -> Result<()> {
    let open = |path: &str| File::open(path).with_context(|| path.to_string());
    let (kernel, initrd) = (open(kernel)?, open(initrd)?);
    let command_line = CString::new(command_line)?;
    // SAFETY: The files are open and the string lives through the call; its length counts the NUL.
    let loaded = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd.as_raw_fd(),
            command_line.as_bytes_with_nul().len(),
            command_line.as_ptr(),
            if crash { ON_CRASH } else { 0 },
        )
    };
    ensure!(loaded == 0, "kexec_file_load: {}", Error::last_os_error());
    if crash {
        return Ok(());
    }
    // SAFETY: The call takes a number only.
    unsafe { libc::reboot(libc::LINUX_REBOOT_CMD_KEXEC) };
    Err(Error::last_os_error()).context("reboot")
}
