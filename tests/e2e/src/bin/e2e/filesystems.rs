// SPDX-License-Identifier: GPL-2.0

//! What becomes of a file system when its disk grows or shrinks, has large sectors, hangs as it is looked at first, or goes.

use crate::disk::{FILE, NUMBER};
use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{Disk, BRIEF, LONG};
use e2e::backend::{self, Backend};
use e2e::suite::Test;
use e2e::{check, checking_kernel};

/// The address of an interface that comes meanwhile.
const MAC: &str = "00:16:3e:77:08:01";

pub(crate) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    vec![
        ("debian/disk-grows-and-shrinks", grows_and_shrinks),
        ("debian/disk-with-xfs", large_sectors),
        ("debian/disk-hangs-as-it-comes", hangs_as_it_comes),
        ("debian/disk-goes-while-mounted", goes_while_mounted),
    ]
}

/// A disk on Linux's backend: xvdf. It is taken away when a test has failed, too.
struct Attached<'a, 'b> {
    s: &'a Scene<'b>,
    gone: bool,
}

/// Its image in dom0.
fn image(s: &Scene<'_>) -> String {
    Disk::new("xvdf", 0).image(s.name())
}

impl<'a, 'b> Attached<'a, 'b> {
    /// Attaches one of `mib` MiB.
    fn new(s: &'a Scene<'b>, mib: u32) -> Result<Self> {
        let image = image(s);
        s.dom0()
            .sh(&format!("rm -f {image}; truncate -s {mib}M {image}"))?;
        Self::of(s, &image)
    }

    /// Attaches `target`, a file or a device of dom0's.
    fn of(s: &'a Scene<'b>, target: &str) -> Result<Self> {
        s.guest.sh("dmesg -c >/dev/null")?;
        s.dom0().sh(&format!(
            "xl block-attach {} format=raw,vdev=xvdf,access=rw,script=/run/companion/block,target={target}",
            s.name()
        ))?;
        let attached = Self { s, gone: false };
        s.guest.until("[ -b /dev/xvdf ]", BRIEF)?;
        Ok(attached)
    }

    /// The image has another size, and the guest sees it.
    fn becomes(&self, mib: u32) -> Result<()> {
        let image = image(self.s);
        self.s.dom0().sh(&format!(
            "truncate -s {mib}M {image} && losetup -c $(losetup -n -O NAME -j {image})"
        ))?;
        // xen-blkback looks at the size when it has a request.
        self.s
            .guest
            .until(
                &format!(
                    "dd if=/dev/xvdf of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null; \
                     [ $(cat /sys/block/xvdf/size) = {} ]",
                    mib * 2048
                ),
                BRIEF,
            )
            .map(drop)
    }

    /// Has the toolstack take it away.
    fn leave(&mut self) -> Result<()> {
        self.s
            .dom0()
            .sh(&format!("xl block-detach {} xvdf", self.s.name()))?;
        self.gone = true;
        Ok(())
    }

    fn detach(mut self) -> Result<()> {
        self.leave()?;
        self.s.guest.until("[ ! -e /sys/block/xvdf ]", BRIEF)?;
        check::log_is_clean(&self.s.guest.sh("dmesg")?)
    }
}

impl Drop for Attached<'_, '_> {
    fn drop(&mut self) {
        if !self.gone {
            self.s.guest.sh("umount -l /mnt/fs").ok();
            self.leave().ok();
        }
    }
}

/// A file system grows online, under a writer, as its disk has grown, and goes on on a smaller one when it is small enough.
fn grows_and_shrinks(s: &Scene<'_>) -> Result<()> {
    let disk = Attached::new(s, 32)?;
    let is_whole = "sha256sum </mnt/fs/file | cmp - /tmp/sum >&2";
    s.guest.sh_for(
        "set -e; mkfs.ext4 -q -F /dev/xvdf; mkdir -p /mnt/fs; mount /dev/xvdf /mnt/fs; \
         head -c 4M /dev/urandom >/mnt/fs/file; sha256sum </mnt/fs/file >/tmp/sum",
        LONG,
    )?;
    disk.becomes(96)?;
    s.guest.sh_for(
        &format!(
            "rm -f /tmp/over; while [ ! -e /tmp/over ]; do \
             dd if=/dev/urandom of=/mnt/fs/more bs=64k count=4 conv=fsync 2>/dev/null || exit 1; done & writer=$!; \
             set -e; resize2fs /dev/xvdf >&2; touch /tmp/over; wait $writer; {is_whole}; \
             [ $(df -k --output=size /mnt/fs | tail -n 1) -gt 65536 ]; rm /mnt/fs/more; umount /mnt/fs; \
             fsck.ext4 -f -p /dev/xvdf >&2; resize2fs /dev/xvdf 32M >&2"
        ),
        LONG,
    )?;
    disk.becomes(48)?;
    s.guest.sh_for(
        &format!("set -e; mount /dev/xvdf /mnt/fs; {is_whole}; umount /mnt/fs; fsck.ext4 -f -n /dev/xvdf >&2"),
        LONG,
    )?;
    disk.detach()
}

/// XFS, in a partition, on sectors of 4096 bytes; smaller requests are refused before the backend sees them.
fn large_sectors(s: &Scene<'_>) -> Result<()> {
    let image = image(s);
    let device = s.dom0().sh(&format!(
        "rm -f {image}; truncate -s 512M {image}; losetup -b 4096 -f --show {image}"
    ))?;
    let device = device.trim();
    let works = || -> Result<()> {
        let disk = Attached::of(s, device)?;
        let small = "dd if=/dev/xvdf of=/dev/null bs=512 count=1 iflag=direct 2>&1";
        let refused = s.guest.try_sh(small, BRIEF)?;
        ensure!(
            !refused.success() && refused.to_string().contains("Invalid argument"),
            "{refused}"
        );
        // The checking kernel has no XFS.
        let (make, look) = if checking_kernel() {
            ("mkfs.ext4 -q -F", "fsck.ext4 -f -n")
        } else {
            insert_xfs(s)?;
            ("mkfs.xfs -q -f", "xfs_repair -n")
        };
        s.guest.sh_for(
            &format!(
                "set -e; printf 'label: gpt\\n,32M\\n,\\n' | sfdisk -q /dev/xvdf; \
                 for i in $(seq 1 100); do [ -b /dev/xvdf2 ] && break; sleep 0.2; done; \
                 {make} /dev/xvdf2; mkdir -p /mnt/fs; mount /dev/xvdf2 /mnt/fs; \
                 head -c 8M /dev/urandom >/mnt/fs/file; sha256sum </mnt/fs/file >/tmp/sum; umount /mnt/fs; \
                 mount /dev/xvdf2 /mnt/fs; sha256sum </mnt/fs/file | cmp - /tmp/sum >&2; umount /mnt/fs; {look} /dev/xvdf2"
            ),
            LONG,
        )?;
        disk.detach()
    };
    let worked = works();
    s.dom0()
        .sh(&format!("losetup -d {device}; rm -f {image}"))?;
    worked
}

/// Debian's module, which is a third as large as an initramfs.
fn insert_xfs(s: &Scene<'_>) -> Result<()> {
    let assets = s.machine.assets();
    let modules = assets.kernel()?.join("lib/modules").join(assets.release());
    s.guest
        .put(&modules.join("kernel/fs/xfs/xfs.ko.xz"), "/tmp/xfs.ko.xz")?;
    s.guest.sh_for(
        "grep -qw xfs /proc/filesystems || \
         { busybox xz -dc /tmp/xfs.ko.xz >/tmp/xfs.ko; /sbin/insmod /tmp/xfs.ko; rm /tmp/xfs.ko; }",
        LONG,
    )?;
    Ok(())
}

/// A disk that is not answered as it is looked for partitions keeps no other device waiting; it comes with the next
/// connection, and can be taken away.
fn hangs_as_it_comes(s: &Scene<'_>) -> Result<()> {
    backend::install(s.machine, s.name())?;
    s.dom0().sh(&format!("head -c 8M /dev/urandom >{FILE}"))?;
    let sum = s.dom0().sh(&format!("sha256sum <{FILE}"))?;
    let hangs = || -> Result<Backend> {
        s.guest.sh("dmesg -c >/dev/null")?;
        let options = format!("--file {FILE} --hang-after 0");
        let backend = Backend::start(s.dom0(), "vbd", NUMBER, &options)?;
        let reads = "[ \"$(awk '{ print $1 + $2 }' /sys/block/xvdg/inflight)\" -gt 0 ]";
        s.guest
            .until(reads, BRIEF)
            .context("it is not looked for partitions")?;
        Ok(backend)
    };
    let mut backend = hangs()?;
    let other = Attached::new(s, 8)?;
    s.guest
        .sh("dd if=/dev/xvdf of=/dev/null bs=64k count=8 iflag=direct 2>/dev/null")?;
    let name = s.name();
    s.dom0().sh(&format!(
        "xl network-attach {name} type=vif script=/run/companion/vif mac={MAC} bridge=xenbr1"
    ))?;
    let find = format!("grep -l {MAC} /sys/class/net/*/address");
    s.guest.until(&find, BRIEF)?;
    s.dom0().sh(&format!("xl network-detach {name} {MAC}"))?;
    s.guest.until(&format!("! {find}"), BRIEF)?;
    other.detach()?;
    // It waits all the while.
    ensure!(backend.counts()?.get("requests")? == 0);
    backend.kill()?;
    backend.adopt(&format!("--file {FILE}"))?;
    s.guest.until("[ -b /dev/xvdg ]", BRIEF)?;
    let read = "dd if=/dev/xvdg bs=256k iflag=direct 2>/dev/null | sha256sum";
    check::same_sum("from the disk", &sum, &s.guest.sh_for(read, LONG)?)?;
    backend.detach()?;
    s.guest.until("[ ! -e /sys/block/xvdg ]", BRIEF)?;
    let backend = hangs()?;
    backend.detach()?;
    s.guest.until("[ ! -e /sys/block/xvdg ]", BRIEF)?;
    check::log_is_clean(&s.guest.sh("dmesg")?)
}

/// A disk is taken away under its file system: who writes to it gets an error, and its name is free again.
fn goes_while_mounted(s: &Scene<'_>) -> Result<()> {
    let mut disk = Attached::new(s, 32)?;
    s.guest.sh_for(
        "set -e; mkfs.ext4 -q -F /dev/xvdf; mkdir -p /mnt/fs; mount /dev/xvdf /mnt/fs",
        LONG,
    )?;
    let writer = s.guest.spawn_sh(
        "while dd if=/dev/urandom of=/mnt/fs/file bs=64k count=4 conv=fsync; do touch /tmp/wrote; done",
    )?;
    s.guest.until("[ -e /tmp/wrote ]", BRIEF)?;
    disk.leave()?;
    let writer = writer.wait(LONG)?;
    ensure!(
        ["Input/output error", "Read-only file system"]
            .iter()
            .any(|error| writer.stderr.contains(error)),
        "who wrote to it got no error: {writer}"
    );
    s.guest
        .sh("rm /tmp/wrote; umount /mnt/fs && [ ! -e /sys/block/xvdf ]")?;
    drop(disk);
    let again = Attached::new(s, 16)?;
    s.guest.sh(
        "[ $(cat /sys/block/xvdf/size) = 32768 ] && dd if=/dev/xvdf bs=1M iflag=direct 2>/dev/null | cmp -n 16777216 - /dev/zero",
    )?;
    again.detach()
}
