// SPDX-License-Identifier: GPL-2.0

//! Further consoles: the toolstack's channels on QEMU, and one on a backend of our own, honest and hostile.

use super::bystanders::stand_by;
use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{Background, BRIEF};
use e2e::backend::Backend;
use e2e::check;
use e2e::suite::Test;

/// The console on our backend.
const NUMBER: u32 = 3;

/// What it has received, in dom0.
const RECEIVED: &str = "/run/companion/console-3.out";

/// Bytes that are pasted.
const PASTE: u32 = 65536;

pub(super) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    vec![
        ("hostile/console-channels", channels),
        ("hostile/console-paste", paste),
        ("hostile/console-indices", indices),
        ("hostile/console-dies", dies),
        ("hostile/console-stopped", stopped),
        ("hostile/console-leaves", leaves),
    ]
}

/// Opens a terminal for raw bytes, as descriptor 3. A driver of terminals forgets its settings with the last close.
fn open(number: u32) -> String {
    format!("exec 3<>/dev/hvc{number} && stty raw -echo <&3 && : >/tmp/open-{number}")
}

/// Attaches the console on our backend and a program in the guest that keeps what is typed.
fn attach(s: &Scene<'_>) -> Result<(Backend, Background)> {
    s.guest.sh("dmesg -c >/dev/null")?;
    s.dom0().sh(&format!("rm -f {RECEIVED}"))?;
    let backend = start(s)?;
    s.guest
        .until("dmesg | grep -q 'hvc3 is channel org.oxen.three$'", BRIEF)?;
    let reader = read(s)?;
    passes(s, &backend, "first")?;
    Ok((backend, reader))
}

fn start(s: &Scene<'_>) -> Result<Backend> {
    let options = format!("--name org.oxen.three --output {RECEIVED}");
    Backend::start(s.dom0(), "console", NUMBER, &options)
}

fn read(s: &Scene<'_>) -> Result<Background> {
    s.guest.sh("rm -f /tmp/open-3 /tmp/typed")?;
    let reader = s
        .guest
        .spawn_sh(&format!("{} && exec cat <&3 >>/tmp/typed", open(NUMBER)))?;
    s.guest.until("[ -e /tmp/open-3 ]", BRIEF)?;
    Ok(reader)
}

/// A line goes through, there and back.
fn passes(s: &Scene<'_>, backend: &Backend, word: &str) -> Result<()> {
    s.guest.sh(&format!("echo out-{word} >/dev/hvc3"))?;
    s.dom0()
        .until(&format!("grep -q out-{word} {RECEIVED}"), BRIEF)?;
    s.dom0()
        .sh(&format!("echo in-{word} >/run/companion/typed"))?;
    backend.tell("type /run/companion/typed")?;
    s.guest
        .until(&format!("grep -q in-{word} /tmp/typed"), BRIEF)
        .map(drop)
}

/// Takes it away while it is open: the reader is hung up.
fn detach(s: &Scene<'_>, backend: Backend, reader: Background) -> Result<()> {
    backend.detach()?;
    is_gone(s, reader)
}

fn is_gone(s: &Scene<'_>, reader: Background) -> Result<()> {
    reader.wait(BRIEF).context("the reader was not hung up")?;
    s.guest.until(
        "! ls /sys/bus/oxen/devices | grep -q console-3 && ! (: >/dev/hvc3) 2>/dev/null",
        BRIEF,
    )?;
    stand_by(&s.guest)
}

/// 64 KiB pasted into each of two channels at once arrive whole, and so do they on their way back.
fn channels(s: &Scene<'_>) -> Result<()> {
    for number in [1, 2] {
        let counters = format!("/sys/kernel/debug/oxen/console-{number}/counters");
        s.guest
            .until(&format!("grep -q '^connections: [1-9]' {counters}"), BRIEF)?;
    }
    let mut jobs = Vec::new();
    for number in [1, 2] {
        // QEMU goes on with what it has received only when more comes.
        let guest = s.guest.spawn_sh(&format!(
            "{}; head -c {PASTE} <&3 >/tmp/got-{number}; cat /tmp/got-{number} >&3; \
             while printf . >&3; do sleep 0.1; done",
            open(number)
        ))?;
        s.guest
            .until(&format!("[ -e /tmp/open-{number} ]"), BRIEF)?;
        let dom0 = s.dom0().spawn_sh(&format!(
            "tty=$(xenstore-read /local/domain/$(xl domid {})/device/console/{number}/tty); \
             exec 3<>$tty && stty raw -echo <&3; head -c {PASTE} /dev/urandom >/tmp/paste-{number}; \
             cat /tmp/paste-{number} >&3; head -c {PASTE} <&3 | cmp - /tmp/paste-{number}",
            s.name()
        ))?;
        jobs.push((guest, dom0));
    }
    for (guest, dom0) in jobs {
        let output = dom0.wait(BRIEF)?;
        ensure!(
            output.success(),
            "what comes back is not what was pasted: {output}"
        );
        guest.stop()?;
    }
    stand_by(&s.guest)
}

/// The same on our backend, in both directions at once.
fn paste(s: &Scene<'_>) -> Result<()> {
    let (backend, reader) = attach(s)?;
    s.dom0().sh(&format!(
        "head -c {PASTE} /dev/urandom >/tmp/paste; : >{RECEIVED}"
    ))?;
    let want = s.dom0().sh("sha256sum </tmp/paste")?;
    s.guest
        .sh("head -c 65536 /tmp/data >/tmp/out; : >/tmp/typed")?;
    let writer = s.guest.spawn_sh("exec cat /tmp/out >/dev/hvc3")?;
    backend.tell("type /tmp/paste")?;
    ensure!(writer.wait(BRIEF)?.success(), "the writer failed");
    let whole = |file: &str| format!("[ $(wc -c <{file}) -ge {PASTE} ]");
    s.guest.until(&whole("/tmp/typed"), BRIEF)?;
    s.dom0().until(&whole(RECEIVED), BRIEF)?;
    let got = s.guest.sh("sha256sum </tmp/typed")?;
    check::same_sum("to the guest", &want, &got)?;
    let want = s.guest.sh("sha256sum </tmp/out")?;
    let got = s.dom0().sh(&format!("sha256sum <{RECEIVED}"))?;
    check::same_sum("from the guest", &want, &got)?;
    detach(s, backend, reader)
}

/// Indices that cannot be: one sentence, what they cover is dropped, and both directions go on.
fn indices(s: &Scene<'_>) -> Result<()> {
    let (backend, reader) = attach(s)?;
    let bad = || -> Result<u64> {
        let file = "sed -n 's/^bad_index: //p' /sys/kernel/debug/oxen/console-3/counters";
        Ok(s.guest.sh(file)?.trim().parse()?)
    };
    for (script, expected) in [
        ("console-input-beyond-ring", 1),
        ("console-input-backwards", 1),
        ("console-output-ahead", 1),
        ("console-output-backwards", 1),
        ("console-overwritten", 0),
    ] {
        let act = || -> Result<()> {
            let before = bad()?;
            backend.tell(&format!("hostile {script}"))?;
            passes(s, &backend, script)?;
            let found = bad()? - before;
            ensure!(found == expected, "{found} bad indices, not {expected}");
            Ok(())
        };
        act().with_context(|| format!("script {script}"))?;
    }
    let said = s.guest.sh("dmesg")?;
    let count = said
        .lines()
        .filter(|line| line.contains("console 3: the backend's index is impossible"))
        .count();
    ensure!(count == 1, "{count} sentences, not one:\n{said}");
    ensure!(
        backend.counts()?.get("connections")? == 1,
        "there was a new connection"
    );
    detach(s, backend, reader)
}

/// A backend dies: a program that has the terminal open stays, and goes on with the next connection.
fn dies(s: &Scene<'_>) -> Result<()> {
    let (mut backend, reader) = attach(s)?;
    backend.ask("die")?;
    backend.died()?;
    s.guest.sh("echo meanwhile >/dev/hvc3")?;
    stand_by(&s.guest)?;
    backend.adopt(&format!("--output {RECEIVED}"))?;
    passes(s, &backend, "adopted")?;
    detach(s, backend, reader)
}

/// A backend that stops stalls the programs that write to the console, and nobody else; what they have written comes later.
fn stopped(s: &Scene<'_>) -> Result<()> {
    let (backend, reader) = attach(s)?;
    backend.tell("hang")?;
    let pid = "$(cat /run/xen/xenconsoled.pid)";
    s.dom0().sh(&format!("kill -STOP {pid}"))?;
    let writers = [0, NUMBER].map(|number| {
        s.guest
            .spawn_sh(&format!("exec head -c {PASTE} /tmp/data >/dev/hvc{number}"))
    });
    let stood = stand_by(&s.guest);
    s.dom0().sh(&format!("kill -CONT {pid}"))?;
    stood?;
    let before = backend.tell("resume")?.get("received")?;
    for writer in writers {
        ensure!(writer?.wait(BRIEF)?.success(), "a writer failed");
    }
    backend.until("received", |bytes| bytes >= before.max(PASTE.into()))?;
    detach(s, backend, reader)
}

/// The module leaves while a writer waits, and comes back when the hung up terminal was closed; the nodes vanish under a
/// reader.
fn leaves(s: &Scene<'_>) -> Result<()> {
    let (backend, reader) = attach(s)?;
    backend.tell("hang")?;
    let writer = s
        .guest
        .spawn_sh(&format!("exec head -c {PASTE} /tmp/data >/dev/hvc3"))?;
    let keeper = s.guest.spawn_sh(
        "exec 4<>/dev/hvc3 && : >/tmp/kept; while [ -e /tmp/kept ]; do sleep 0.1; done",
    )?;
    s.guest.until("[ -e /tmp/kept ]", BRIEF)?;
    s.guest.sh("/sbin/modprobe -r oxen_console")?;
    writer.wait(BRIEF).context("the writer was not hung up")?;
    reader.wait(BRIEF).context("the reader was not hung up")?;
    s.guest.sh("/sbin/modprobe oxen_console")?;
    backend.tell("resume")?;
    s.guest.until("dmesg | grep -q 'waits for hvc3'", BRIEF)?;
    s.guest.sh("rm /tmp/kept")?;
    keeper.wait(BRIEF)?;
    s.guest
        .until("[ $(dmesg | grep -c 'hvc3 is channel') = 2 ]", BRIEF)?;
    let reader = read(s)?;
    passes(s, &backend, "reloaded")?;
    backend.tell("deaf")?;
    backend.remove()?;
    is_gone(s, reader)
}
