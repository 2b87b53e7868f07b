// SPDX-License-Identifier: GPL-2.0

//! How guests end: as the toolstack asks, by themselves, or in a crash, and that Xen is told which it was.

use crate::balloon;
use crate::scene::Scene;
use anyhow::{ensure, Context, Result};
use companion::{Companion, Domain, GuestConfig, BRIEF, LONG};
use e2e::suite::{Suite, Test};
use e2e::{check, checking_kernel, guests};

const ENDING: &str = "ending";

/// Reasons for which a domain stops, as Xen's `sched.h` has them and `xl list -v` shows them.
const POWEROFF: u32 = 0;
const REBOOT: u32 = 1;
const CRASH: u32 = 3;
const WATCHDOG: u32 = 4;

/// Tests in a guest that lives on, Debian with a console; the last ends it.
pub(crate) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    let mut tests: Vec<Test<Scene<'a>>> = vec![
        ("life/comes-with-the-disk", |s| {
            s.guest.until("[ -d /sys/module/oxen_control ]", BRIEF)?;
            features(s.dom0(), s.name(), "1")
        }),
        ("life/unknown-words-are-refused", |s| refused(s)),
        ("life/sysrq", |s| sysrq(s)),
        ("life/unload-takes-features-back", |s| unload(s)),
        ("life/dmesg-clean", |s| check::dmesg_is_clean(&s.guest)),
        ("life/xl-shutdown", |s| shutdown(s)),
    ];
    // Before the log is looked at, and the guest ends.
    tests.splice(3..3, balloon::tests());
    if has_watchdogs() {
        tests.insert(
            0,
            ("life/watchdog-stops-when-asked", |s| {
                watchdog_stops(&s.guest)
            }),
        );
    }
    tests
}

/// Whether the guests' kernel has the watchdog core.
fn has_watchdogs() -> bool {
    !checking_kernel()
}

/// Tests that end a guest of their own.
pub(crate) fn ends() -> Vec<Test<Companion>> {
    let mut tests: Vec<Test<Companion>> = vec![
        ("ending/power-off", |machine| {
            end(machine, POWEROFF, |guest| run(guest, "poweroff -f"))
        }),
        ("ending/restart", |machine| {
            end(machine, REBOOT, |guest| run(guest, "reboot -f"))
        }),
        ("ending/panic", |machine| {
            end(machine, CRASH, |guest| {
                run(guest, "echo c >/proc/sysrq-trigger")
            })?;
            last_words(machine, "sysrq triggered crash")
        }),
        ("ending/crash-on-request", |machine| {
            end(machine, CRASH, |guest| {
                ask(machine.dom0(), guest.name(), "shutdown", "crash")
            })?;
            last_words(machine, "the toolstack has this guest crash")
        }),
        ("ending/no-program-to-power-off", |machine| {
            end(machine, POWEROFF, |guest| {
                guest.sh("rm -f /sbin/poweroff /bin/poweroff")?;
                let ask = format!("xl shutdown {ENDING}");
                machine.dom0().sh(&ask).map(drop)
            })
        }),
        ("ending/xl-reboot-then-shutdown", reboot_then_shutdown),
    ];
    if has_watchdogs() {
        tests.push(("ending/watchdog-that-nobody-sets", |machine| {
            end(machine, WATCHDOG, |guest| {
                // It is set once, as it is opened, and for five seconds.
                run(guest, "exec watchdog -F -t 3600 -T 5 /dev/watchdog0")
            })
        }));
    }
    tests
}

/// Runs those with guests of their own.
pub(crate) fn on_xen(suite: &mut Suite, machine: &Companion) {
    let ends = ends().into_iter().map(|test| (ENDING, test));
    let sizes = balloon::OWN.into_iter().map(|test| (balloon::LARGE, test));
    for (guest, test) in ends.chain(sizes) {
        let test = [test];
        if !suite.wants_any(&test) {
            continue;
        }
        suite.group(|suite| {
            let lost = suite.tests(&test, |test| test(machine), || machine.lost(guest));
            machine.destroy(guest).ok();
            lost
        });
    }
}

/// The toolstack's node `control/NODE` of a guest.
fn path(dom0: &Domain, name: &str, node: &str) -> Result<String> {
    Ok(format!(
        "/local/domain/{}/control/{node}",
        check::domid(dom0, name)?
    ))
}

fn ask(dom0: &Domain, name: &str, node: &str, value: &str) -> Result<()> {
    let path = path(dom0, name, node)?;
    dom0.sh(&format!("xenstore-write {path} '{value}'"))?;
    Ok(())
}

/// Waits until the guest has taken what is in the node.
fn taken(dom0: &Domain, name: &str, node: &str) -> Result<()> {
    let path = path(dom0, name, node)?;
    dom0.until(&format!("[ -z \"$(xenstore-read {path})\" ]"), BRIEF)
        .with_context(|| format!("{node} is not acknowledged"))?;
    Ok(())
}

fn features(dom0: &Domain, name: &str, value: &str) -> Result<()> {
    for feature in ["feature-poweroff", "feature-reboot", "feature-suspend"] {
        let path = path(dom0, name, feature)?;
        dom0.until(
            &format!("[ \"$(xenstore-read {path})\" = '{value}' ]"),
            BRIEF,
        )
        .with_context(|| format!("{feature} is not {value:?}"))?;
    }
    Ok(())
}

/// Each word is taken and told in one line, and the guest lives on.
fn refused(s: &Scene<'_>) -> Result<()> {
    let long = "x".repeat(1000);
    for (node, value, said) in [
        ("shutdown", "fly", "\"fly\" is no request"),
        ("shutdown", long.as_str(), "of 1000 bytes is no request"),
        ("sysrq", "help", "\"help\" is no key"),
    ] {
        let before: usize = s.guest.sh("dmesg | wc -l")?.trim().parse()?;
        ask(s.dom0(), s.name(), node, value)?;
        taken(s.dom0(), s.name(), node)?;
        let new = format!("dmesg | tail -n +{} | grep oxen_control", before + 1);
        s.guest.until(&format!("{new} | grep -q '{said}'"), BRIEF)?;
        check::one_sentence(&s.guest.sh(&new)?, &[])?;
    }
    Ok(())
}

/// A key that only prints.
fn sysrq(s: &Scene<'_>) -> Result<()> {
    let count = "dmesg | grep -c 'sysrq: HELP' || true";
    let before: usize = s.guest.sh(count)?.trim().parse()?;
    s.dom0().sh(&format!("xl sysrq {} h", s.name()))?;
    s.guest
        .until(&format!("[ $({count}) -gt {before} ]"), BRIEF)?;
    taken(s.dom0(), s.name(), "sysrq")
}

/// The device names itself, runs while it is open, and stops when it is closed in the agreed way.
fn watchdog_stops(guest: &Domain) -> Result<()> {
    let at = "/sys/class/watchdog/watchdog0";
    ensure!(guest.sh(&format!("cat {at}/identity"))?.trim() == "oxen");
    let states = guest.sh(&format!(
        "exec 3>/dev/watchdog0; cat {at}/state; [ $(cat {at}/timeleft) -gt 30 ] && echo set; \
         /sbin/modprobe -r oxen_control 2>/dev/null || echo kept; \
         echo V >&3; exec 3>&-; cat {at}/state"
    ))?;
    ensure!(
        states
            .split_whitespace()
            .eq(["active", "set", "kept", "inactive"]),
        "{states}"
    );
    Ok(())
}

/// CPUs go and come as the operator says, those that were never plugged in before too, under load.
pub(crate) fn vcpus(s: &Scene<'_>) -> Result<()> {
    let set = |count: u32, online: &str| -> Result<()> {
        // The machine has one CPU, which is all that `xl` means by the host.
        s.dom0()
            .sh(&format!("xl vcpu-set --ignore-host {} {count}", s.name()))?;
        s.guest
            .until(
                &format!("[ \"$(cat /sys/devices/system/cpu/online)\" = {online} ]"),
                LONG,
            )
            .with_context(|| format!("{count} vCPUs"))?;
        Ok(())
    };
    let _load = s
        .guest
        .spawn_sh("for n in 1 2; do sha256sum /dev/zero & done; wait")?;
    let outcome = (1..=s.settings.rounds / 2).try_for_each(|round| {
        e2e::round(round, || {
            set(1, "0")?;
            // The test kernel has no hot-plug of CPUs in ACPI.
            if checking_kernel() {
                set(2, "0-1")
            } else {
                set(4, "0-3")
            }
        })
    });
    s.guest.sh("killall sha256sum")?;
    outcome?;
    // Some are as wanted already.
    s.guest.sh(
        "cd /sys/devices/system/cpu; for n in 3 2; do [ ! -d cpu$n ] || echo 0 >cpu$n/online; done",
    )?;
    set(1, "0")?;
    set(2, "0-1")
}

fn unload(s: &Scene<'_>) -> Result<()> {
    let device = if has_watchdogs() {
        "[ -c /dev/watchdog0 ]"
    } else {
        ":"
    };
    for _ in 0..3 {
        s.guest.sh_for("/sbin/modprobe -r oxen_control", LONG)?;
        features(s.dom0(), s.name(), "")?;
        s.guest.sh("[ ! -e /dev/watchdog0 ]")?;
        // Nobody takes it now; the next one to be loaded does.
        ask(s.dom0(), s.name(), "shutdown", "fly")?;
        s.guest.sh_for("/sbin/modprobe oxen_control", LONG)?;
        features(s.dom0(), s.name(), "1")?;
        taken(s.dom0(), s.name(), "shutdown")?;
        s.guest.until(device, BRIEF)?;
    }
    Ok(())
}

/// `xl shutdown`, and the guest is gone.
fn shutdown(s: &Scene<'_>) -> Result<()> {
    // Not `s.dom0()`: the guest ends on purpose.
    shut_down(s.machine.dom0(), s.name())
}

fn shut_down(dom0: &Domain, name: &str) -> Result<()> {
    let id = check::domid(dom0, name)?;
    dom0.sh(&format!("xl shutdown {name}"))?;
    dom0.until(&format!("! xl domname {id} 2>/dev/null"), LONG)?;
    no_triple_fault(dom0, id)
}

/// Xen takes a triple fault for a reboot, too.
fn no_triple_fault(dom0: &Domain, id: u32) -> Result<()> {
    dom0.sh(&format!("! xl dmesg | grep 'd{id}v[0-9]* Triple fault'"))?;
    Ok(())
}

/// `xl reboot`, and the guest is back by itself, as another domain; then `xl shutdown`, and it is gone.
fn reboot_then_shutdown(machine: &Companion) -> Result<()> {
    let guest = machine
        .create(&guests::life(ENDING))?
        .context("it was not waited for")?;
    let dom0 = machine.dom0();
    let first = check::domid(dom0, ENDING)?;
    guest.close();
    dom0.sh(&format!("xl reboot {ENDING}"))?;
    dom0.until(
        &format!("id=$(xl domid {ENDING}) && [ $id -gt {first} ]"),
        LONG,
    )?;
    no_triple_fault(dom0, first)?;
    let second = check::domid(dom0, ENDING)?;
    // Paused until all of it is there, the agent's socket too.
    dom0.until(
        &format!("xl list {second} | tail -n 1 | awk '{{ print $5 }}' | grep -qv p"),
        LONG,
    )?;
    let guest = machine.guest(ENDING, LONG / 2)?;
    guest.until("[ -d /sys/module/oxen_control ]", BRIEF)?;
    features(dom0, ENDING, "1")?;
    guest.close();
    shut_down(dom0, ENDING)
}

/// Boots a guest, has it end by `by`, and looks whether Xen was told `reason`.
fn end(machine: &Companion, reason: u32, by: impl FnOnce(&Domain) -> Result<()>) -> Result<()> {
    let config: GuestConfig = guests::ending(ENDING);
    let guest = machine.create(&config)?.context("it was not waited for")?;
    let ended = by(&guest).and_then(|()| wait_for_end(machine, ENDING));
    guest.close();
    ended.with_context(|| machine.report(Some(ENDING)))?;
    let list = machine.dom0().sh(&format!("xl list -v {ENDING}"))?;
    // Name, id, memory, vCPUs, state, time, UUID, reason.
    let line = list.lines().nth(1).unwrap_or_default();
    let found = line.split_whitespace().nth(7);
    ensure!(
        found == Some(reason.to_string().as_str()),
        "the reason is not {reason}: {list}"
    );
    // The device model would have to end a guest that had only its firmware for that, and says so.
    let log = format!("/var/log/xen/qemu-dm-{ENDING}.log");
    machine.dom0().sh(&format!(
        "! grep -E 'Issued domain .* (poweroff|reboot)' {log}"
    ))?;
    Ok(())
}

/// Runs what ends the guest, so nobody is left to tell how it went.
fn run(guest: &Domain, script: &str) -> Result<()> {
    guest.try_sh(script, LONG).ok();
    Ok(())
}

/// Waits until the domain has stopped.
fn wait_for_end(machine: &Companion, name: &str) -> Result<()> {
    machine.dom0().until(
        &format!("xl list {name} | tail -n 1 | awk '{{ print $5 }}' | grep -q s"),
        LONG,
    )?;
    Ok(())
}

/// What the console's log has of a guest that panicked, though its kernel printed to another console.
fn last_words(machine: &Companion, words: &str) -> Result<()> {
    let log = format!("/var/log/xen/console/guest-{ENDING}.log");
    machine
        .dom0()
        .until(
            &format!("grep -a 'Kernel panic' {log} | grep -q '{words}'"),
            BRIEF,
        )
        .with_context(|| machine.report(Some(ENDING)))?;
    Ok(())
}
