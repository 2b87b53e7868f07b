// SPDX-License-Identifier: GPL-2.0

//! The size of a guest: what `xl mem-set` says comes true in both directions, and nothing in memory changes by it.

use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{Companion, Domain, BRIEF, LONG};
use e2e::suite::Test;
use e2e::{check, guests, round};

/// The guest that was built with twice what it may use.
pub(crate) const LARGE: &str = "large";

/// MiB that go and come.
const AWAY: u64 = 128;

/// Tests in the guest of the others that ask for something through the toolstack.
pub(crate) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    vec![
        ("life/mem-set", |s| mem_set(s)),
        ("life/balloon-unload", |s| unload(s)),
    ]
}

/// Tests with a guest of their own.
pub(crate) const OWN: [Test<Companion>; 1] = [("large/fill", |machine| fill(machine))];

/// `MemTotal`, in MiB, rounded down.
fn total(guest: &Domain) -> Result<u64> {
    let kib: u64 = guest
        .sh("awk '/^MemTotal/ { print $2 }' /proc/meminfo")?
        .trim()
        .parse()?;
    Ok(kib / 1024)
}

fn until_total(guest: &Domain, mib: u64) -> Result<()> {
    let now = "$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)";
    guest
        .until(&format!("[ {now} -eq {mib} ]"), LONG)
        .with_context(|| format!("MemTotal does not become {mib} MiB"))?;
    Ok(())
}

/// The size that `xl list` shows, in MiB.
fn listed(dom0: &Domain, name: &str) -> Result<u64> {
    let size = dom0.sh(&format!("xl list {name} | awk 'NR == 2 {{ print $3 }}'"))?;
    size.trim().parse().with_context(|| size)
}

/// Wants a size, and waits until the guest and Xen agree that it is so.
fn set(s: &Scene<'_>, mib: u64, full: u64, full_total: u64) -> Result<()> {
    s.dom0().sh(&format!("xl mem-set {} {mib}", s.name()))?;
    let away = full - mib;
    until_total(&s.guest, full_total - away)?;
    let size = listed(s.dom0(), s.name())?;
    ensure!(
        size.abs_diff(mib) <= 1,
        "xl list shows {size} MiB and not {mib}"
    );
    Ok(())
}

/// The MiB that the toolstack built the guest with.
fn full(s: &Scene<'_>) -> Result<u64> {
    let id = check::domid(s.dom0(), s.name())?;
    let path = format!("/local/domain/{id}/memory/static-max");
    let kib: u64 = s
        .dom0()
        .sh(&format!("xenstore-read {path}"))?
        .trim()
        .parse()?;
    Ok(kib / 1024)
}

fn mem_set(s: &Scene<'_>) -> Result<()> {
    let (full, full_total) = (full(s)?, total(&s.guest)?);
    let sum = "sha256sum </run/pattern/file";
    let before = s.guest.sh(&format!(
        "mkdir -p /run/pattern; mount -t tmpfs none /run/pattern; \
         head -c 16M /dev/urandom >/run/pattern/file; {sum}"
    ))?;
    for number in 0..s.settings.rounds / 2 {
        round(number, || {
            set(s, full - AWAY, full, full_total)?;
            // What is left is good memory.
            let free = "awk '/^MemAvailable/ { print int($2 / 2048) }' /proc/meminfo";
            s.guest.sh(&format!(
                "head -c $({free})M /dev/zero >/run/pattern/other && rm /run/pattern/other"
            ))?;
            set(s, full, full, full_total)?;
            let after = s.guest.sh(sum)?;
            ensure!(before == after, "the pattern is {after} and not {before}");
            Ok(())
        })?;
    }
    s.guest.sh("umount /run/pattern")?;
    Ok(())
}

/// What is away comes back at the unload, if Xen gives it; if not, the next load finds it.
fn unload(s: &Scene<'_>) -> Result<()> {
    let (full, full_total) = (full(s)?, total(&s.guest)?);
    let unload = "/sbin/modprobe -r oxen_balloon";
    let load = "/sbin/modprobe oxen_balloon";
    set(s, full - AWAY, full, full_total)?;
    s.dom0().sh(&format!("xl mem-max {} {full}", s.name()))?;
    s.guest.sh_for(unload, LONG)?;
    until_total(&s.guest, full_total)?;
    s.guest.sh_for(load, LONG)?;
    until_total(&s.guest, full_total - AWAY)?;

    // Xen lets the guest have no more than it was told to have, and a MiB.
    set(s, full - AWAY, full, full_total)?;
    let before: usize = s.guest.sh("dmesg | wc -l")?.trim().parse()?;
    s.guest.sh_for(unload, LONG)?;
    let said = s.guest.sh(&format!("dmesg | tail -n +{}", before + 1))?;
    check::one_sentence(&said, &["oxen_balloon", "stay away"])?;
    ensure!(total(&s.guest)? < full_total - AWAY / 2);
    s.guest.sh_for(load, LONG)?;
    set(s, full, full, full_total)
}

/// A program that takes more than the guest may have is killed, and not the guest.
fn fill(machine: &Companion) -> Result<()> {
    let guest = machine
        .create(&guests::large(LARGE))?
        .context("it was not waited for")?;
    let filled = guest
        .until(
            "dmesg | grep -q 'oxen_balloon: .* go back to Xen' && \
             [ $(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo) -lt 512 ]",
            BRIEF,
        )
        .and_then(|_| {
            guest.sh_for(
                "(echo 1000 >/proc/self/oom_score_adj; \
                 yes 0123456789abcdef | head -c 700M | tail -c 699M | wc -c); dmesg | tail -n 3",
                LONG,
            )
        });
    let state = machine.dom0().sh(&format!("xl list {LARGE}"));
    guest.close();
    filled.with_context(|| machine.report(Some(LARGE)))?;
    let state = state?;
    ensure!(!state.contains("c--"), "{state}");
    Ok(())
}
