// SPDX-License-Identifier: GPL-2.0

//! A guest that is checkpointed, saved and restored, and migrated, under load: nothing is lost or done twice, and its
//! clocks go on.

use crate::clock;
use crate::settings::Settings;
use crate::tools;
use anyhow::{ensure, Context, Result};
use companion::{Background, Companion, Domain, BRIEF, LONG};
use e2e::suite::{Suite, Test};
use e2e::{check, explain, guests};
use std::time::Duration;

const NAME: &str = "suspend";

/// Where dom0 keeps a saved guest.
const SAVED: &str = "/var/lib/companion/suspend.save";

/// The test agent.
const AGENT: &str = "/run/companion/agent";

/// What every test gets. The guest's session ends with the device model of each of its domains, so each test has its own.
pub(crate) struct Place<'a> {
    machine: &'a Companion,
    settings: &'a Settings,
}

impl Place<'_> {
    fn dom0(&self) -> &Domain {
        self.machine.dom0()
    }

    fn guest(&self) -> Result<Domain> {
        self.machine.guest(NAME, LONG)
    }

    /// How often each is done: once, and in a soak as often as is asked for.
    fn rounds(&self) -> u64 {
        if self.settings.rounds >= 20 {
            self.settings.rounds
        } else {
            1
        }
    }

    /// A layer that cannot stop keeps the guest as it is, whichever it is: its connections are those of before. The first and
    /// the last are tried, and in a soak all.
    fn refused(&self) -> Result<()> {
        let guest = self.guest()?;
        let load = Load::start(self.dom0(), &guest)?;
        let id = check::domid(self.dom0(), NAME)?;
        let node = format!("/local/domain/{id}/control/shutdown");
        let said = "could not be stopped (.*) and goes on as before";
        let stages: &[usize] = if self.rounds() > 1 {
            &[0, 1, 2, 3, 4, 5]
        } else {
            &[0, 5]
        };
        let refused = stages.iter().zip(1..).try_for_each(|(stage, times)| {
            guest.sh(&format!("/sbin/modprobe resume_test stage={stage}"))?;
            self.dom0().sh(&format!("xenstore-write {node} suspend"))?;
            guest
                .until(&format!("[ $(dmesg | grep -c '{said}') = {times} ]"), BRIEF)
                .with_context(|| format!("layer {stage}"))?;
            guest.sh("/sbin/modprobe -r resume_test").map(drop)
        });
        let ended = refused
            .and_then(|()| load.end(self.dom0(), &guest))
            .map_err(|why| explain(why, self.machine, &guest));
        guest.close();
        ended
    }

    /// A program's ports and the pages that it mapped are gone after a restore: it is told, the new ports of their numbers
    /// are not touched, and there is memory of the guest's own.
    fn programs(&self) -> Result<()> {
        let before = self.guest()?;
        tools::install(&before)?;
        tools::install(self.dom0())?;
        let id = check::domid(self.dom0(), NAME)?;
        let (share, gref) = tools::start(self.dom0(), &format!("share {id} 1"))?;
        for (part, words) in [("outlive", ""), ("lose", &*format!("0 {gref}"))] {
            before.sh(&format!(
                "cd /run; rm -f {part}*; \
                 setsid sh -c '{} {part} {words}; echo $? >{part}.code' </dev/null >{part} 2>&1 &",
                tools::PROGRAM
            ))?;
            before.until(&format!("[ -s /run/{part} ]"), BRIEF)?;
        }
        before.close();
        let done = save_and_restore(self.dom0());
        let after = self.guest()?;
        let well = |part: &str| {
            let code = format!("/run/{part}.code");
            after.until(&format!("[ -s {code} ]"), BRIEF)?;
            after.sh(&format!("cat /run/{part}; [ $(cat {code}) = 0 ]"))
        };
        let ended = done
            .and_then(|()| well("outlive"))
            .and_then(|_| well("lose"))
            .and_then(|_| check::dmesg_is_clean(&after))
            .map_err(|why| explain(why, self.machine, &after));
        after.close();
        share.stop()?;
        ended
    }

    /// A guest that was paused goes on where it was, with data that came meanwhile and more than it has room for. All its
    /// CPUs are busy, and it sends as fast as it can: neither is taken for stuck afterwards.
    fn pause(&self) -> Result<()> {
        let guest = self.guest()?;
        let load = Load::start(self.dom0(), &guest)?;
        let sink = self
            .dom0()
            .spawn_sh("exec socat -u TCP-LISTEN:5007,reuseaddr - >/dev/null")?;
        let busy = guest.spawn_sh(&format!(
            "sha256sum /dev/zero & sha256sum /dev/zero & nc {} 5007 </dev/zero & wait",
            check::DOM0
        ))?;
        // Dom0's end of the stream would be given up after a quarter of an hour by itself, and its TSC goes by the rate that
        // Xen measured as it booted, a hundred ppm and more from Xen's own clock.
        let settings = [
            ("/proc/sys/net/ipv4/tcp_retries2", "100"),
            (clock::SOURCE, "xen"),
        ];
        let mut usual = Vec::new();
        for (setting, value) in settings {
            let change = format!("cat {setting}; echo {value} >{setting}");
            usual.push((setting, self.dom0().sh(&change)?));
        }
        let apart = clock::from_dom0(self.dom0(), &guest)?;
        let flood = self
            .dom0()
            .spawn_sh(&format!("exec ping -q -f -s 1400 {}", check::GUEST))?;
        self.dom0().sh_for(
            &format!(
                "xl pause {NAME} && sleep {} && xl unpause {NAME}",
                self.settings.pause_seconds
            ),
            LONG + Duration::from_secs(self.settings.pause_seconds),
        )?;
        flood.stop()?;
        let got = "stat -c %s /run/load/got";
        let ended = guest
            .sh(got)
            .and_then(|before| {
                let more = format!("[ $({got}) -gt {} ]", before.trim());
                guest.until(&more, BRIEF)
            })
            .and_then(|_| busy.stop())
            .and_then(|_| sink.stop())
            .and_then(|_| load.end(self.dom0(), &guest))
            .and_then(|()| clock::from_dom0(self.dom0(), &guest)?.agrees_with(&apart, 0))
            .and_then(|()| check::dmesg_is_clean(&guest))
            .map_err(|why| explain(why, self.machine, &guest));
        guest.close();
        for (setting, value) in usual {
            self.dom0()
                .sh(&format!("echo {} >{setting}", value.trim()))?;
        }
        ended
    }

    /// Does `with` to a loaded guest, `rounds` times.
    fn under_load(&self, rounds: u64, with: fn(&Domain) -> Result<()>) -> Result<()> {
        for round in 1..=rounds {
            let before = self.guest()?;
            let load = Load::start(self.dom0(), &before)?;
            clock::tell_xen(self.dom0())?;
            let ahead = clock::ahead(self.dom0(), &before)?;
            before.close();
            let done = with(self.dom0());
            let after = self.guest()?;
            let ended = done
                .and_then(|()| load.end(self.dom0(), &after))
                .and_then(|()| clock::ahead(self.dom0(), &after)?.agrees_with(&ahead, 0))
                .and_then(|()| check::dmesg_is_clean(&after))
                .map_err(|why| explain(why, self.machine, &after))
                .with_context(|| format!("round {round} of {rounds}"));
            after.close();
            ended?;
        }
        Ok(())
    }
}

/// Tests in one guest, in this order.
pub(crate) fn tests<'a>() -> Vec<Test<Place<'a>>> {
    vec![
        ("suspend/is-offered", |s| is_offered(s.dom0())),
        ("suspend/pause", |s| s.pause()),
        ("suspend/refused-by-a-layer", |s| s.refused()),
        ("suspend/checkpoint", |s| {
            s.under_load(s.rounds(), checkpoint)
        }),
        ("suspend/save-and-restore", |s| {
            s.under_load(s.rounds(), save_and_restore)
        }),
        ("suspend/programs", |s| s.programs()),
        ("suspend/migrate", |s| {
            s.under_load(s.rounds().div_ceil(4), migrate)
        }),
        ("suspend/unload", |s| {
            let guest = s.guest()?;
            let unloaded = guest.sh(
                "for m in userdev balloon console netfront blkfront control time xenbus grant_table evtchn xen_core; do \
                   rmmod oxen_$m || exit; \
                 done; ! grep ^oxen /proc/modules",
            );
            unloaded
                .and_then(|_| check::dmesg_is_clean(&guest))
                .map_err(|why| explain(why, s.machine, &guest))?;
            guest.close();
            Ok(())
        }),
    ]
}

/// Runs them.
pub(crate) fn on_xen(suite: &mut Suite, machine: &Companion, settings: &Settings) {
    let tests = tests();
    if !suite.wants_any(&tests) {
        return;
    }
    suite.group(|suite| {
        let boot = || {
            let guest = machine.create(&guests::suspend(NAME))?;
            let guest = guest.context("it was not waited for")?;
            check::bring_up_network(&guest)?;
            guest.close();
            Ok(())
        };
        let lost = match suite.stage("suspend/boot", boot) {
            None => machine.lost(NAME),
            Some(()) => suite.tests(
                &tests,
                |test| test(&Place { machine, settings }),
                || machine.lost(NAME),
            ),
        };
        machine.destroy(NAME).ok();
        lost
    });
}

fn is_offered(dom0: &Domain) -> Result<()> {
    let id = check::domid(dom0, NAME)?;
    dom0.until(
        &format!("[ \"$(xenstore-read /local/domain/{id}/control/feature-suspend)\" = 1 ]"),
        BRIEF,
    )
    .context("feature-suspend is not 1")?;
    Ok(())
}

/// A disk that is written and compared, a TCP connection that brings data, and clocks that are read on all CPUs.
struct Load(Background);

impl Load {
    fn start(dom0: &Domain, guest: &Domain) -> Result<Load> {
        dom0.sh("rm -f /tmp/over /tmp/sent")?;
        let server = dom0.spawn_sh(
            "until [ -e /tmp/over ]; do dd if=/dev/urandom bs=16k count=1 2>/dev/null; sleep 0.1; done | \
             tee /tmp/sent | socat -u - TCP-LISTEN:5006,reuseaddr",
        )?;
        // In sessions of their own: the agent ends what it has started with its own session.
        guest.sh(&format!(
            "rm -rf /run/load; mkdir /run/load; cd /run/load; \
             run() {{ name=$1; shift; setsid sh -c '\"$@\"; echo $? >$0.code' $name \"$@\" </dev/null >$name 2>&1 & }}; \
             run tcp sh -c 'until nc {} 5006 >got; do sleep 0.5; done'; \
             run disk {AGENT} verify /dev/xvdb 32 /run/load/over; \
             run clock {AGENT} monotonic 10",
            check::DOM0
        ))?;
        guest.until("[ -s /run/load/got ]", BRIEF)?;
        Ok(Load(server))
    }

    /// What ran all along has to end well.
    fn end(self, dom0: &Domain, guest: &Domain) -> Result<()> {
        dom0.sh("touch /tmp/over")?;
        guest.sh("touch /run/load/over")?;
        for part in ["tcp", "disk", "clock"] {
            let code = format!("/run/load/{part}.code");
            guest.until(&format!("[ -s {code} ]"), LONG)?;
            guest
                .sh(&format!(
                    "[ $(cat {code}) = 0 ] || {{ cat /run/load/{part}; exit 1; }}"
                ))
                .with_context(|| format!("{part} under load"))?;
        }
        let sum = "sha256sum <";
        let sent = dom0.sh(&format!("{sum}/tmp/sent"))?;
        check::same_sum(
            "to the guest",
            &sent,
            &guest.sh(&format!("{sum}/run/load/got"))?,
        )?;
        self.0.wait(LONG)?;
        Ok(())
    }
}

/// The guest goes on where it was: the same domain, with the same connections.
fn checkpoint(dom0: &Domain) -> Result<()> {
    let before = check::domid(dom0, NAME)?;
    dom0.sh_for(&format!("xl save -c {NAME} {SAVED}; rm {SAVED}"), LONG)?;
    ensure!(check::domid(dom0, NAME)? == before);
    Ok(())
}

/// The guest goes on as another domain.
fn save_and_restore(dom0: &Domain) -> Result<()> {
    let before = check::domid(dom0, NAME)?;
    dom0.sh_for(&format!("xl save {NAME} {SAVED}"), LONG)?;
    dom0.sh_for(&format!("xl restore {SAVED} && rm {SAVED}"), LONG)?;
    ensure!(check::domid(dom0, NAME)? > before);
    is_offered(dom0)
}

/// The guest goes on as another domain of the same host, most of its memory having been sent while it ran.
fn migrate(dom0: &Domain) -> Result<()> {
    let before = check::domid(dom0, NAME)?;
    let socket = companion::GuestConfig::agent_socket(NAME);
    // In the place of ssh: what xl has run on the other host. The former device model removes the socket of the agent as
    // it ends, which is the new one's by then: it gets another name until it has.
    dom0.sh(&format!(
        "printf '%s\\n' '#!/bin/sh' 'shift' 'old=$(stat -c %i {socket})' \
         '(while [ \"$(stat -c %i {socket})\" = \"$old\" ]; do sleep 0.1; done; ln -f {socket} {socket}.new) \
           </dev/null >/dev/null 2>&1 &' 'exec \"$@\"' >/run/companion/here; chmod +x /run/companion/here"
    ))?;
    dom0.sh_for(
        &format!("xl migrate -s /run/companion/here {NAME} localhost"),
        LONG,
    )?;
    dom0.sh(&format!("mv {socket}.new {socket}"))?;
    ensure!(check::domid(dom0, NAME)? > before);
    is_offered(dom0)
}
