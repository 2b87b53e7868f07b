// SPDX-License-Identifier: GPL-2.0

//! A machine without Xen: the guest's kernel and initramfs right on QEMU.

use crate::assets::{Assets, Ramdisk};
use crate::domain::{Domain, LONG};
use crate::link::Link;
use crate::machine::{accelerator, escaped, tail};
use crate::progress::progress;
use anyhow::{Context, Result};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// It lives as long as this value.
pub struct PlainMachine {
    qemu: Child,
    domain: Domain,
    _dir: TempDir,
}

impl PlainMachine {
    /// Boots it with the modules under test in its initramfs.
    ///
    /// # Errors
    ///
    /// When a part cannot be made, or its agent does not answer in time: with its serial log.
    pub fn start(modules: &Path) -> Result<PlainMachine> {
        let assets = Assets::from_env();
        let dir = tempfile::tempdir()?;
        let ramdisk = dir.path().join("ramdisk");
        Ramdisk {
            assets: &assets,
            modules: Some(modules),
        }
        .write(&ramdisk)?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let accelerator = accelerator();
        progress("plain machine: booting without Xen");
        let log = dir.path().join("serial.log");
        let mut qemu = Command::new("qemu-system-x86_64");
        // SAFETY: Between fork and exec the closure makes only the system call prctl, which is async-signal-safe.
        unsafe {
            qemu.pre_exec(|| {
                // It ends with the thread that started it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        let mut qemu = qemu
            .args([
                "-machine",
                "q35",
                "-accel",
                accelerator.accel,
                "-cpu",
                accelerator.cpu,
            ])
            .args([
                "-smp",
                "2",
                "-m",
                "768",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
            ])
            .arg("-kernel")
            .arg(assets.guest_kernel()?)
            .arg("-initrd")
            .arg(&ramdisk)
            .args(["-append", "console=ttyS0 loglevel=4 panic=0"])
            .arg("-serial")
            .arg(format!("file:{}", escaped(&log)))
            .args(["-device", "virtio-serial-pci"])
            .args([
                "-chardev",
                &format!("socket,id=agent,host=127.0.0.1,port={port},server=on,wait=off"),
            ])
            .args([
                "-device",
                &format!("virtserialport,chardev=agent,name={}", agent::PORT_NAME),
            ])
            .stdin(Stdio::null())
            .spawn()
            .context("qemu-system-x86_64 cannot be run")?;
        let deadline = Instant::now() + LONG / 2;
        loop {
            match Link::dom0(port, LONG / 2) {
                Ok(link) => {
                    let domain = Domain::new("plain machine", link);
                    return Ok(PlainMachine {
                        qemu,
                        domain,
                        _dir: dir,
                    });
                }
                // QEMU may not listen yet.
                Err(_) if Instant::now() < deadline && qemu.try_wait()?.is_none() => {
                    thread::sleep(Duration::from_millis(300));
                }
                Err(why) => {
                    qemu.kill().ok();
                    qemu.wait().ok();
                    return Err(why.context(format!("no Xen: --- serial log\n{}", tail(&log, 30))));
                }
            }
        }
    }

    /// Its one system.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Ends it.
    pub fn stop(mut self) {
        self.qemu.kill().ok();
        self.qemu.wait().ok();
    }
}
