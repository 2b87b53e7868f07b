// SPDX-License-Identifier: GPL-2.0

//! Another kernel in the memory of a guest that ran on Oxen: by `kexec`, and after a crash.

use crate::scene::Scene;
use anyhow::{ensure, Result};
use companion::{Domain, BRIEF, LONG};
use e2e::check;
use e2e::suite::Test;
use std::time::{Duration, Instant};

/// How long an agent has to answer before it is asked once more: another kernel may have come meanwhile.
const ANSWER: Duration = Duration::from_secs(10);

/// The tests, in their order.
pub(crate) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    vec![
        ("kexec/twice", |s| {
            works(&s.guest)?;
            e2e::round(1, || again(s, "now"))?;
            e2e::round(2, || again(s, "now"))
        }),
        ("kexec/after-a-crash", |s| again(s, "crash")),
        ("kexec/destroy", |s| {
            s.guest.close();
            s.machine.destroy(s.name())
        }),
    ]
}

/// Where the kernel and the initramfs lie on the disk, in MiB.
const AT: (u32, u32) = (16, 64);

/// Puts the guest's kernel and initramfs on its disk, behind what the tests write there.
fn put_kernel(s: &Scene<'_>) -> Result<()> {
    let name = s.name();
    for (file, at) in [("vmlinuz".into(), AT.0), (format!("{name}.cpio"), AT.1)] {
        s.dom0().sh_for(
            &format!(
                "set -e; size=$(stat -c %s /companion/{file}); [ $size -lt 50331648 ]; \
                 {{ printf '%-511s\\n' $size; cat /companion/{file}; }} | \
                 dd of=/var/lib/companion/{name}-xvdb.img bs=1M seek={at} conv=notrunc,fsync iflag=fullblock 2>/dev/null"
            ),
            LONG,
        )?;
    }
    Ok(())
}

/// All devices work, and memory keeps what is written to it.
fn works(guest: &Domain) -> Result<()> {
    guest.until("[ -b /dev/xvdb ] && [ -d /sys/class/net/eth0 ]", BRIEF)?;
    guest.sh("ip addr flush dev eth0; ip addr add 10.77.0.4/24 dev eth0; ip link set eth0 up")?;
    guest.until("ping -c 1 -W 5 10.77.0.1", BRIEF)?;
    guest.sh_for(
        "set -e; head -c 4194304 /dev/urandom >/tmp/w; dd if=/tmp/w of=/dev/xvdb bs=64k conv=fsync 2>/dev/null; \
         echo 3 >/proc/sys/vm/drop_caches; head -c 4194304 /dev/xvdb | cmp - /tmp/w",
        LONG,
    )?;
    // A quarter of the free memory, in two halves, while events and grants come and go.
    guest.sh_for(
        "set -e; size=$(awk '/MemAvailable/ {print int($2 / 8)}' /proc/meminfo); \
         head -c 8388608 /dev/urandom >/tmp/part; while :; do cat /tmp/part; done 2>/dev/null | head -c ${size}k >/tmp/one; cp /tmp/one /tmp/two; \
         ping -q -i 0.01 -c 300 10.77.0.1 >/dev/null; head -c 16777216 /dev/xvdb >/dev/null; \
         cmp /tmp/one /tmp/two; rm /tmp/one /tmp/two /tmp/part",
        LONG,
    )?;
    guest.sh("grep -q oxen /sys/devices/system/clocksource/clocksource0/available_clocksource")?;
    check::dmesg_is_clean(guest)
}

/// Loads the kernel from the disk, has it start `now` or at a `crash`, and finds everything as in a guest that has just been
/// booted.
fn again(s: &Scene<'_>, when: &str) -> Result<()> {
    put_kernel(s)?;
    let guest = &s.guest;
    let boot = "cat /proc/sys/kernel/random/boot_id";
    let before = guest.sh(boot)?;
    guest.sh_for(
        &format!(
            "set -e; get() {{ dd if=/dev/xvdb bs=1M skip=$1 2>/dev/null | {{ read -r size; head -c $size; }} >$2; }}; \
             get {} /tmp/vmlinuz; get {} /tmp/initrd",
            AT.0, AT.1
        ),
        LONG,
    )?;
    let crash = when == "crash";
    let load = format!(
        "/run/companion/agent kexec {when} /tmp/vmlinuz /tmp/initrd \"$(cat /proc/cmdline){}\"",
        if crash { " maxcpus=1" } else { "" }
    );
    // The companion takes a panic on the serial port for the guest's end; this one is not, so it is silent.
    let script = if crash {
        guest.sh_for(&load, LONG)?;
        "echo 0 >/proc/sys/kernel/printk; echo c >/proc/sysrq-trigger".into()
    } else {
        load
    };
    // In a group of its own: nothing kills it when the session goes on with the next kernel's agent.
    guest.sh(&format!("setsid sh -c '{script}' >/tmp/kexec 2>&1 &"))?;
    let deadline = Instant::now() + LONG;
    while guest
        .try_sh(boot, ANSWER)
        .map_or(true, |now| !now.success() || now.stdout == before)
    {
        ensure!(
            Instant::now() < deadline,
            "the next kernel does not come up: {}",
            guest.sh("cat /tmp/kexec").unwrap_or_default()
        );
    }
    works(guest)
}
