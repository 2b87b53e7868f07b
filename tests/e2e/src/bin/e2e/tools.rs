// SPDX-License-Identifier: GPL-2.0

//! The devices under `/dev/xen`, as programs use them through Xen's own libraries (`tests/xenlibs`), and CPUs that come and go;
//! in the guest that had the hostile backends.

use crate::life;
use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{Background, Domain, BRIEF, LONG};
use e2e::suite::Test;
use e2e::{check, guests};
use std::env;

/// The program, in dom0 and in the guest.
pub(crate) const PROGRAM: &str = "/run/companion/xenlibs";

/// The tests, in their order.
pub(crate) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    vec![
        ("tools/vcpu-set", life::vcpus),
        ("tools/only-root", |s| only_root(&s.guest)),
        ("tools/events-alone", |s| events_alone(&s.guest)),
        ("tools/events-with-dom0", events_with_dom0),
        ("tools/pages-alone", |s| pages_alone(&s.guest)),
        ("tools/pages-for-dom0", pages_for_dom0),
        ("tools/last-words", last_words),
        ("tools/pages-that-dom0-keeps", pages_that_dom0_keeps),
        ("tools/grants-of-dom0", grants_of_dom0),
        ("tools/pages-of-dom0", pages_of_dom0),
        ("tools/vchan-with-dom0", vchan_with_dom0),
        ("tools/vchan-two-guests", vchan_two_guests),
        ("tools/unload", |s| unload(&s.guest)),
        ("tools/dmesg-clean", |s| check::dmesg_is_clean(&s.guest)),
    ]
}

/// Brings the program to a domain.
pub(crate) fn install(domain: &Domain) -> Result<()> {
    let built = env::current_exe()?.with_file_name("xenlibs");
    domain.put(&built, PROGRAM)?;
    domain.sh(&format!("chmod +x {PROGRAM}")).map(drop)
}

/// Whether the device is there, and whose.
fn only_root(guest: &Domain) -> Result<()> {
    let listed = guest.sh("stat -c '%a %u %n' /dev/xen/*")?;
    let expected =
        ["evtchn", "gntalloc", "gntdev", "xenbus"].map(|name| format!("600 0 /dev/xen/{name}\n"));
    ensure!(listed == expected.concat(), "/dev/xen: {listed}");
    Ok(())
}

/// Where the ports are that are bound, as the module counts them.
const PORTS: &str = "grep ^bound /sys/kernel/debug/oxen/evtchn/ports";

/// Where the grants are that the guest has given, and those whose peer keeps them.
const GRANTS: &str = "grep -E 'in_use|deferred|lost' /sys/kernel/debug/oxen/grants/counters";

/// Runs `what`, after which `counts` come to be what they were.
fn leaves_nothing(guest: &Domain, counts: &str, what: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = guest.sh(counts)?;
    what()?;
    let same = format!("[ \"$({counts})\" = '{}' ]", before.trim());
    let waited = guest.until(&same, BRIEF).map(drop);
    waited.with_context(|| format!("{before} before, {:?} after", guest.sh(counts)))
}

/// So many grants have a peer that keeps them.
fn deferred(guest: &Domain, count: u32) -> Result<()> {
    let counters = "/sys/kernel/debug/oxen/grants/counters";
    let script = format!("grep -q '^deferred: {count}$' {counters}");
    guest.until(&script, BRIEF).map(drop)
}

fn events_alone(guest: &Domain) -> Result<()> {
    install(guest)?;
    leaves_nothing(guest, PORTS, || {
        guest.sh_for(&format!("{PROGRAM} events"), LONG)?;
        // A program that dies leaves nothing either.
        let (job, _) = start(guest, "echo 0 1")?;
        job.stop().map(drop)
    })
}

/// Starts the program in a domain; returns it and the line that it tells the other side.
pub(crate) fn start(domain: &Domain, words: &str) -> Result<(Background, String)> {
    let told = "/run/companion/xenlibs.told";
    domain.sh(&format!("rm -f {told}"))?;
    let job = domain.spawn_sh(&format!("exec {PROGRAM} {words} >{told} 2>&1"))?;
    domain
        .until(&format!("[ -s {told} ]"), BRIEF)
        .with_context(|| format!("xenlibs {words} tells nothing"))?;
    let line = domain.sh(&format!("cat {told}"))?;
    Ok((job, line.trim().into()))
}

/// Has `server` wait with `words`, and `client` do what `others` says of the line that the first tells.
fn both(
    server: &Domain,
    words: &str,
    client: &Domain,
    others: impl Fn(&str) -> String,
) -> Result<()> {
    let (job, line) = start(server, words)?;
    let words = others(&line);
    let said = client.sh_for(&format!("{PROGRAM} {words}"), LONG);
    if said.is_err() {
        // It may wait for ever.
        let _ = job.stop();
        said?;
        return Ok(());
    }
    let ended = job.wait(LONG)?;
    ensure!(ended.success(), "xenlibs in {}: {ended}", server.name());
    Ok(())
}

/// A port of each side, connected by the other, on the C driver there and ours here.
fn events_with_dom0(s: &Scene<'_>) -> Result<()> {
    const COUNT: u32 = 50;
    install(s.dom0())?;
    install(&s.guest)?;
    let id = check::domid(s.dom0(), s.name())?;
    let (echo, ping) = (format!("echo 0 {COUNT}"), move |port: &str| {
        format!("ping {id} {port} {COUNT}")
    });
    both(&s.guest, &echo, s.dom0(), ping).context("dom0 connects")?;
    let echo = format!("echo {id} {COUNT}");
    both(s.dom0(), &echo, &s.guest, |port| {
        format!("ping 0 {port} {COUNT}")
    })
    .context("the guest connects")
}

fn pages_alone(guest: &Domain) -> Result<()> {
    install(guest)?;
    leaves_nothing(guest, GRANTS, || {
        guest
            .sh_for(&format!("{PROGRAM} pages 1024"), LONG)
            .map(drop)
    })
}

/// Pages of the guest, which the C driver maps there.
fn pages_for_dom0(s: &Scene<'_>) -> Result<()> {
    install(s.dom0())?;
    install(&s.guest)?;
    let id = check::domid(s.dom0(), s.name())?;
    // dom0's program may end after the guest's.
    leaves_nothing(&s.guest, GRANTS, || {
        for count in [1, 64] {
            both(&s.guest, &format!("share 0 {count}"), s.dom0(), |refs| {
                format!("answer {id} {refs}")
            })?;
        }
        Ok(())
    })
}

/// dom0 learns by a byte and an event that a program of the guest has died.
fn last_words(s: &Scene<'_>) -> Result<()> {
    install(s.dom0())?;
    install(&s.guest)?;
    let id = check::domid(s.dom0(), s.name())?;
    both(&s.guest, "perish 0", s.dom0(), |line| {
        format!("mourn {id} {line}")
    })
}

/// A page that dom0 still maps is nobody else's when the program that shared it has died, and counts until dom0 lets go.
fn pages_that_dom0_keeps(s: &Scene<'_>) -> Result<()> {
    install(s.dom0())?;
    install(&s.guest)?;
    let id = check::domid(s.dom0(), s.name())?;
    deferred(&s.guest, 0)?;
    leaves_nothing(&s.guest, GRANTS, || {
        let (share, gref) = start(&s.guest, "share 0 1")?;
        let (keep, said) = start(s.dom0(), &format!("keep {id} {gref}"))?;
        ensure!(said == "kept", "{said}");
        share.stop()?;
        deferred(&s.guest, 1)?;
        // The others are there for all, this one for none.
        let refused = s.guest.try_sh(&format!("{PROGRAM} pages 1024"), LONG)?;
        ensure!(!refused.success(), "a page that dom0 keeps is not counted");
        s.guest.sh_for(&format!("{PROGRAM} pages 1023"), LONG)?;
        keep.stop().map(drop)
    })?;
    s.guest.sh_for(&format!("{PROGRAM} pages 1024"), LONG)?;
    Ok(())
}

/// Runs `what`, after which the guest's grants are what they were, and no frame is lost at which a page of another domain lay.
fn loses_nothing(guest: &Domain, what: impl FnOnce() -> Result<()>) -> Result<()> {
    leaves_nothing(guest, GRANTS, what)?;
    let said = guest.try_sh("dmesg | grep 'could not be made RAM'", BRIEF)?;
    ensure!(!said.success(), "{said}");
    Ok(())
}

/// Pages that dom0 lends: mapped, copied, refused; and none of the guest's own.
fn grants_of_dom0(s: &Scene<'_>) -> Result<()> {
    install(s.dom0())?;
    install(&s.guest)?;
    let id = check::domid(s.dom0(), s.name())?;
    loses_nothing(&s.guest, || {
        let (lend, refs) = start(s.dom0(), &format!("lend {id}"))?;
        for _ in 0..2 {
            s.guest
                .sh_for(&format!("{PROGRAM} grants 0 {id} 4096 {refs}"), LONG)?;
        }
        lend.stop().map(drop)
    })
}

/// Pages of dom0, which the C driver there shares; a program that maps one and dies leaves it.
fn pages_of_dom0(s: &Scene<'_>) -> Result<()> {
    install(s.dom0())?;
    install(&s.guest)?;
    let id = check::domid(s.dom0(), s.name())?;
    loses_nothing(&s.guest, || {
        for count in [1, 64] {
            both(s.dom0(), &format!("share {id} {count}"), &s.guest, |refs| {
                format!("answer 0 {refs}")
            })?;
        }
        both(s.dom0(), &format!("perish {id}"), &s.guest, |line| {
            format!("mourn 0 {line}")
        })?;
        let (share, gref) = start(s.dom0(), &format!("share {id} 1"))?;
        let (keep, _) = start(&s.guest, &format!("keep 0 {gref}"))?;
        keep.stop()?;
        s.guest
            .sh_for(&format!("{PROGRAM} answer 0 {gref}"), LONG)?;
        let ended = share.wait(LONG)?;
        ensure!(ended.success(), "xenlibs in dom0: {ended}");
        Ok(())
    })
}

/// How much goes through a stream, both ways.
const BYTES: u32 = 300_000;

/// A stream from `client` to `server`, whose numbers are those of their domains.
fn vchan(server: (&Domain, u32), client: (&Domain, u32)) -> Result<()> {
    let path = format!("/local/domain/{}/data/vchan", server.1);
    let serve = format!("serve {} {path} {BYTES}", client.1);
    both(server.0, &serve, client.0, |_| {
        format!("call {} {path} {BYTES}", server.1)
    })
}

fn vchan_with_dom0(s: &Scene<'_>) -> Result<()> {
    install(s.dom0())?;
    install(&s.guest)?;
    let id = check::domid(s.dom0(), s.name())?;
    loses_nothing(&s.guest, || {
        vchan((&s.guest, id), (s.dom0(), 0)).context("dom0 calls")?;
        vchan((s.dom0(), 0), (&s.guest, id)).context("the guest calls")
    })
}

fn vchan_two_guests(s: &Scene<'_>) -> Result<()> {
    let name = "tools-other";
    install(&s.guest)?;
    let other = s
        .machine
        .create(&guests::tools(name))?
        .context("it was not waited for")?;
    let called = install(&other).and_then(|()| {
        let ids = [s.name(), name].map(|name| check::domid(s.dom0(), name));
        let [one, two] = ids;
        let (one, two) = ((&s.guest, one?), (&other, two?));
        loses_nothing(&s.guest, || {
            vchan(one, two)?;
            vchan(two, one)
        })
    });
    other.close();
    s.machine.destroy(name)?;
    called
}

/// The module stays while a file is open, and goes then; a second load has the devices again.
fn unload(guest: &Domain) -> Result<()> {
    let said = guest.sh("exec 3<>/dev/xen/evtchn; \
         /sbin/modprobe -r oxen_userdev 2>/dev/null && echo gone; exec 3<&-; \
         /sbin/modprobe -r oxen_userdev && [ ! -e /dev/xen/evtchn ] && \
         /sbin/modprobe oxen_userdev && [ -c /dev/xen/evtchn ] && echo back")?;
    ensure!(said.trim() == "back", "{said}");
    Ok(())
}
