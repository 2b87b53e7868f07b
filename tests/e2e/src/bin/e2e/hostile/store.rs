// SPDX-License-Identifier: GPL-2.0

//! A hostile xenstored. Dom0 maps the page that the guest and xenstored share, and writes to it while xenstored is stopped.
//! Requests of the moment may fail; the store works afterwards, and devices come and go.

use super::bystanders::stand_by;
use super::disk;
use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{Domain, BRIEF};
use e2e::backend::store_page;
use e2e::suite::Test;

pub(super) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    vec![
        ("hostile/store-messages", messages),
        ("hostile/store-answers", answers),
        ("hostile/store-directory", directory),
        ("hostile/store-indices", indices),
    ]
}

/// Xenstored, which does nothing until this is dropped. No tool of Xen's works meanwhile.
struct Stopped<'a>(&'a Domain);

impl<'a> Stopped<'a> {
    fn new(dom0: &'a Domain) -> Result<Self> {
        dom0.sh("kill -STOP $(pidof xenstored)")?;
        Ok(Self(dom0))
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.try_sh("kill -CONT $(pidof xenstored)", BRIEF).ok();
    }
}

/// A program's request for a node that is there. What the guest sends also wakes it up.
const ASK: &str = "exec /run/companion/agent store ask 2 domid";

/// The store answers.
fn answers_well(s: &Scene<'_>) -> Result<()> {
    let answer = s.guest.sh(ASK)?;
    ensure!(answer.starts_with("Ok("), "a node is not read: {answer}");
    Ok(())
}

/// The kernel has said it once.
fn has_said(s: &Scene<'_>, words: &str) -> Result<()> {
    let said = format!("[ $(dmesg | grep -c 'xenstore: .*{words}') = 1 ]");
    s.guest
        .until(&said, BRIEF)
        .with_context(|| format!("not one sentence with {words:?}"))?;
    Ok(())
}

/// A disk comes and goes, and the others are well.
fn works(s: &Scene<'_>) -> Result<()> {
    answers_well(s)?;
    let backend = disk::attach(s, "")?;
    disk::detach(s, backend)?;
    stand_by(&s.guest)
}

/// Messages that nobody asked for are dropped, and the next one is understood.
fn messages(s: &Scene<'_>) -> Result<()> {
    for (message, said) in [
        (
            "2 4000000000 'x|'",
            Some("which was never sent, is dropped"),
        ),
        (
            "15 0 'device|'",
            Some("a watch event that is not two strings is dropped"),
        ),
        ("15 0 'device|0123456789abcdef|'", None),
        ("15 0 'device|not a token|'", None),
    ] {
        s.guest.sh("dmesg -c >/dev/null")?;
        let strays = "sed -n 's/^stray_watch_events //p' /sys/kernel/debug/oxen/xenbus/store";
        let before: u32 = s.guest.sh(strays)?.trim().parse()?;
        let stopped = Stopped::new(s.dom0())?;
        store_page(s.dom0(), &format!("say {message}"))?;
        drop(stopped);
        answers_well(s)?;
        match said {
            Some(words) => has_said(s, words)?,
            None => {
                let after: u32 = s.guest.sh(strays)?.trim().parse()?;
                ensure!(after > before, "an event without a watch was not counted");
            }
        }
    }
    works(s)
}

/// Answers that are none fail their request, and no other.
fn answers(s: &Scene<'_>) -> Result<()> {
    for (answer, said) in [
        ("2 1 'x|'", "which is no answer to it; the request fails"),
        (
            "2 16 'EBANANA|'",
            "an error that the protocol does not have",
        ),
    ] {
        s.guest.sh("dmesg -c >/dev/null")?;
        let stopped = Stopped::new(s.dom0())?;
        let asked = s.guest.spawn_sh(ASK)?;
        store_page(s.dom0(), &format!("answer {answer}"))?;
        drop(stopped);
        let asked = asked.wait(BRIEF)?;
        ensure!(
            !asked.stdout.starts_with("Ok("),
            "a wrong answer was taken: {asked}"
        );
        has_said(s, said)?;
    }
    works(s)
}

/// The list of devices ends in the middle of a name: no device is taken for gone.
fn directory(s: &Scene<'_>) -> Result<()> {
    const DEVICES: &str = "ls /sys/bus/oxen/devices";
    let before = s.guest.sh(DEVICES)?;
    let stopped = Stopped::new(s.dom0())?;
    // One of these is the token of the watch that has the kernel look for devices.
    for token in 1..=12 {
        store_page(s.dom0(), &format!("say 15 0 'device|{token:016x}|'"))?;
    }
    let asked = s.guest.spawn_sh(ASK)?;
    store_page(s.dom0(), "answer 1 1 'vbd|v'")?;
    drop(stopped);
    asked.wait(BRIEF)?;
    works(s)?;
    let after = s.guest.sh(DEVICES)?;
    ensure!(
        before == after,
        "devices before: {before}, and after: {after}"
    );
    Ok(())
}

/// Indices and lengths that cannot be: the rings are started anew.
fn indices(s: &Scene<'_>) -> Result<()> {
    for (act, said) in [
        ("shift replies 5000", "reply index [0-9]* does not fit"),
        ("say 2 1 '' --length 5000", "a message of 5000 bytes"),
    ] {
        s.guest.sh("dmesg -c >/dev/null")?;
        let stopped = Stopped::new(s.dom0())?;
        store_page(s.dom0(), act)?;
        let asked = s.guest.spawn_sh(ASK)?;
        store_page(s.dom0(), "anew")?;
        drop(stopped);
        asked.wait(BRIEF)?;
        has_said(s, said)?;
        works(s).context(act)?;
    }
    // The guest sends nothing until this index fits again.
    s.guest.sh("dmesg -c >/dev/null")?;
    let stopped = Stopped::new(s.dom0())?;
    store_page(s.dom0(), "shift requests 5000")?;
    let asked = s.guest.spawn_sh(ASK)?;
    let said = has_said(s, "request index [0-9]* does not fit");
    store_page(s.dom0(), "shift requests -5000")?;
    drop(stopped);
    said?;
    asked.wait(BRIEF)?;
    works(s)
}
