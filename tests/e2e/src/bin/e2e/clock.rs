// SPDX-License-Identifier: GPL-2.0

//! The guest's clock and timers: that they are ours, right, and stay so when CPUs and the module come and go.

use anyhow::{ensure, Context, Result};
use companion::{Domain, BRIEF, LONG};
use e2e::{check, checking_kernel};
use std::time::Duration;

/// The test agent, which is in every guest and in dom0.
const AGENT: &str = "/run/companion/agent";
/// How far the guest's clocks may be from dom0's.
const APART: Duration = Duration::from_millis(10);

/// A slow machine wakes a sleeper hundreds of times in two seconds; the checking kernel on an emulated timer, once or twice.
const OFTEN: u64 = 10;

/// The clock that a kernel goes by.
pub(crate) const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// The timer of each CPU that is there, a line each.
const TIMERS: &str = "for d in /sys/devices/system/clockevents/clockevent[0-9]*; do \
     cpu=/sys/devices/system/cpu/cpu${d##*clockevent}; \
     [ -d $cpu ] && [ \"$(cat $cpu/online 2>/dev/null)\" != 0 ] && cat $d/current_device; done; true";

/// Clock and timers are ours, nobody asked for them, and they tell the time that dom0 tells.
pub(crate) fn is_ours(dom0: &Domain, guest: &Domain) -> Result<()> {
    check::bring_up_network(guest)?;
    in_use(guest)?;
    let words = guest.sh("cat /proc/cmdline")?;
    for about in ["clock", "tsc", "hpet", "timer", "lpj", "nohz"] {
        ensure!(
            !words.contains(about),
            "the command line has {about}: {words}"
        );
    }
    let device = device(guest)?;
    let server = dom0.spawn_sh(&format!("exec {AGENT} clock serve"))?;
    // The PTP clock is Xen's, which the system's clock was set by.
    let xen = apart(guest, &device)?;
    let system = apart(guest, "")?;
    system
        .agrees_with(&xen, lead(guest)?)
        .context("the system's clock")?;
    // Xen's is what dom0 told it last. Xen takes the word as of when it is heard, and under emulation dom0 may lose its CPU
    // in between: then it is told again.
    let mut agrees = Ok(());
    for _ in 0..5 {
        tell_xen(dom0)?;
        agrees = apart(guest, &device)?.agrees_with(&Apart::default(), 0);
        if agrees.is_ok() {
            break;
        }
    }
    agrees.context("the PTP clock")?;
    server.stop()?;
    Ok(())
}

/// Has dom0 tell Xen its time. By itself it does so again after eleven minutes, and Xen's clock of the time of day jumps by as
/// much as the word comes late: until then it stays.
pub(crate) fn tell_xen(dom0: &Domain) -> Result<()> {
    dom0.sh("date -s \"@$(date +%s.%N)\"").map(drop)
}

/// The file of Xen's clock in the guest.
fn device(guest: &Domain) -> Result<String> {
    let devices = guest.sh(
        "for d in /sys/class/ptp/*; do [ \"$(cat $d/clock_name)\" != oxen ] || basename $d; done",
    )?;
    let [device] = devices.split_whitespace().collect::<Vec<_>>()[..] else {
        anyhow::bail!("not one PTP clock called oxen: {devices:?}");
    };
    Ok(format!("/dev/{device}"))
}

/// How far the system's clock is ahead of Xen's now. For two looks within minutes, see [`tell_xen`].
pub(crate) fn ahead(dom0: &Domain, guest: &Domain) -> Result<Apart> {
    in_use(guest)?;
    let server = dom0.spawn_sh(&format!("exec {AGENT} clock serve"))?;
    let xen = apart(guest, &device(guest)?)?;
    let system = apart(guest, "")?;
    server.stop()?;
    Ok(Apart {
        nanoseconds: system.nanoseconds - xen.nanoseconds,
        trip: system.trip + xen.trip,
    })
}

/// How far the system's clock is from dom0's now: for what lasts longer than Xen's clock stays, see [`tell_xen`].
pub(crate) fn from_dom0(dom0: &Domain, guest: &Domain) -> Result<Apart> {
    in_use(guest)?;
    let server = dom0.spawn_sh(&format!("exec {AGENT} clock serve"))?;
    let system = apart(guest, "")?;
    server.stop()?;
    Ok(system)
}

/// By how many nanoseconds the system's clock was ahead of Xen's as the module was loaded: it is not set back, and the
/// module says so.
fn lead(guest: &Domain) -> Result<i64> {
    let said = guest.sh("dmesg")?;
    let last = said.lines().filter_map(|line| {
        let (_, rest) = line.split_once("oxen_time: The time of day is ")?;
        rest.split_once(" us ahead")?.0.parse::<i64>().ok()
    });
    Ok(last.last().unwrap_or(0) * 1000)
}

/// How far a clock is from dom0's, as well as can be told over the network.
#[derive(Debug, Default)]
pub(crate) struct Apart {
    nanoseconds: i64,
    /// How long asking took, of which half is in doubt.
    trip: i64,
}

impl Apart {
    /// Two clocks agree; this one may be ahead by `lead`.
    pub(crate) fn agrees_with(&self, other: &Apart, lead: i64) -> Result<()> {
        let allowed = i64::try_from(APART.as_nanos())? + (self.trip + other.trip) / 2;
        let apart = self.nanoseconds - other.nanoseconds;
        ensure!(
            (-allowed..=allowed + lead).contains(&apart),
            "{apart} ns from the other: {self:?}, {other:?}"
        );
        Ok(())
    }
}

/// Compares a clock of the guest with dom0's.
fn apart(guest: &Domain, device: &str) -> Result<Apart> {
    let said = guest.sh_for(
        &format!("{AGENT} clock compare {} {device}", check::DOM0),
        LONG,
    )?;
    let numbers: Vec<i64> = said
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let &[nanoseconds, trip] = numbers.as_slice() else {
        anyhow::bail!("agent clock compare: {said}");
    };
    Ok(Apart { nanoseconds, trip })
}

/// The clock is ours, and the timer of every CPU that is there.
fn in_use(guest: &Domain) -> Result<()> {
    let source = guest.sh(&format!("cat {SOURCE}"))?;
    ensure!(source.trim() == "oxen", "the clock is {source}");
    let timers = guest.sh(TIMERS)?;
    let cpus = guest.sh("getconf _NPROCESSORS_ONLN 2>/dev/null || nproc")?;
    ensure!(
        timers.lines().count().to_string() == cpus.trim()
            && timers.lines().all(|name| name == "oxen"),
        "the timers of {} CPUs are {timers}",
        cpus.trim()
    );
    Ok(())
}

/// No CPU sees a time before the one that another has told it. That this can be seen at all is shown first.
pub(crate) fn monotonic(guest: &Domain, seconds: u64) -> Result<()> {
    let skewed = guest.try_sh(&format!("{AGENT} monotonic 20 --skew"), LONG)?;
    ensure!(
        skewed.code == 1,
        "a clock that is 1 ms behind goes unnoticed: {skewed}"
    );
    guest.sh_for(&format!("{AGENT} monotonic {seconds}"), LONG)?;
    Ok(())
}

/// Threads on all CPUs sleep for a millisecond, again and again, and each wakes up `least` times within two seconds.
fn timers_run(guest: &Domain, least: u64) -> Result<()> {
    let said = guest.sh_for(&format!("{AGENT} sleepers 2 4"), LONG)?;
    let fewest: u64 = said
        .split_once("fewest ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("agent sleepers: {said}"))?;
    // A timer that is lost wakes nobody, and then there is no end to it.
    ensure!(fewest >= least, "{said}");
    Ok(())
}

/// A CPU goes and comes, `rounds` times, while others work; its timer comes with it.
pub(crate) fn cpu_off_and_on(guest: &Domain, rounds: u64) -> Result<()> {
    let online = "/sys/devices/system/cpu/cpu1/online";
    let load = guest.spawn_sh(&format!(
        "{AGENT} sleepers 3600 4 >/dev/null & \
         while :; do dd if=/dev/xvdb of=/dev/null bs=64k count=64 iflag=direct 2>/dev/null || exit 1; done"
    ))?;
    let done = (1..=rounds).try_for_each(|round| {
        e2e::round(round, || {
            guest.sh_for(&format!("echo 0 >{online}"), LONG)?;
            in_use(guest)?;
            guest.sh_for(&format!("echo 1 >{online}"), LONG)?;
            in_use(guest)?;
            timers_run(guest, OFTEN)
        })
    });
    // The tests after this one need it, however this one went.
    let back = guest.sh_for(&format!("echo 1 >{online}"), LONG);
    done?;
    back?;
    let load = load.stop()?;
    ensure!(load.code != 1, "the disk had an error: {load}");
    Ok(())
}

/// The module goes and comes, `rounds` times, while others work. Time goes on without it and does not go back.
pub(crate) fn reload(guest: &Domain, rounds: u64) -> Result<()> {
    let switched = "dmesg | grep 'Switched to clocksource' | tail -n 1";
    let load = guest.spawn_sh(&format!("exec {AGENT} monotonic 3600"))?;
    let done = (1..=rounds).try_for_each(|round| {
        e2e::round(round, || {
            guest.sh_for("/sbin/modprobe -r oxen_time", LONG)?;
            let source = guest.sh(&format!("cat {SOURCE}"))?;
            ensure!(source.trim() != "oxen", "the clock is still ours");
            let timers = guest.sh(TIMERS)?;
            ensure!(
                !timers.contains("oxen"),
                "timers that are still ours: {timers}"
            );
            let said = guest.sh(switched)?;
            ensure!(
                said.trim()
                    .ends_with(&format!("clocksource {}", source.trim())),
                "the clock is {source}, and the kernel says {said}"
            );
            timers_run(guest, if checking_kernel() { 1 } else { OFTEN })
                .context("without oxen_time")?;
            guest.sh_for("/sbin/modprobe oxen_time", LONG)?;
            guest.until(&format!("grep -qx oxen {SOURCE}"), BRIEF)?;
            in_use(guest)?;
            timers_run(guest, OFTEN)
        })
    });
    let back = guest.sh_for("/sbin/modprobe oxen_time", LONG);
    done?;
    back?;
    let load = load.stop()?;
    ensure!(load.code != 1, "time went back: {load}");
    Ok(())
}
