// SPDX-License-Identifier: GPL-2.0

//! On what it was measured.

use crate::guests::{Arena, Side};
use anyhow::Result;
use companion::Domain;
use serde::Serialize;
use std::fs;
use std::process::Command;

/// The machine, from the host's CPUs to the guests' clocks.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Header {
    pub(crate) date: String,
    pub(crate) revision: String,
    pub(crate) kernel: String,
    pub(crate) xen: String,
    pub(crate) xen_flags: String,
    pub(crate) qemu: String,
    pub(crate) host: String,
    pub(crate) guests: Vec<Clocks>,
    pub(crate) vcpus: u32,
    pub(crate) pairs: u32,
    pub(crate) seconds: u32,
}

/// What a guest keeps time with.
#[derive(Debug, Serialize)]
pub(crate) struct Clocks {
    pub(crate) side: &'static str,
    pub(crate) clocksource: String,
    pub(crate) clockevent: String,
    /// Its command line.
    pub(crate) command_line: String,
    /// Modules of ours in it.
    pub(crate) modules: String,
}

impl Header {
    /// Asks everyone.
    ///
    /// # Errors
    ///
    /// When a domain does not answer.
    pub(crate) fn new(arena: &mut Arena<'_>) -> Result<Header> {
        let dom0 = arena.machine.dom0().clone();
        let info = dom0.sh("xl info")?;
        let of_xen = |key: &str| {
            let line = info
                .lines()
                .find(|line| line.split(':').next().map(str::trim) == Some(key));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or_else(String::new, |(_, value)| value.trim().into())
        };
        let mut header = Header {
            date: first_line("date", &["-u", "+%F %H:%M UTC"]),
            revision: std::env::var("OXEN_REVISION").unwrap_or_default(),
            xen: of_xen("xen_version"),
            xen_flags: of_xen("xen_commandline"),
            qemu: first_line("qemu-system-x86_64", &["--version"]),
            host: host(),
            ..Header::default()
        };
        for side in Side::BOTH {
            let guest = &arena.only(side)?.domain;
            header.kernel = says(guest, "uname -rv")?;
            header.guests.push(Clocks {
                side: side.label(),
                clocksource: says(
                    guest,
                    "cat /sys/devices/system/clocksource/clocksource0/current_clocksource",
                )?,
                clockevent: says(
                    guest,
                    "cat /sys/devices/system/clockevents/clockevent0/current_device",
                )?,
                command_line: says(guest, "cat /proc/cmdline")?,
                modules: says(
                    guest,
                    "lsmod | sed -n 's/^\\(oxen_[^ ]*\\).*/\\1/p' | sort | xargs",
                )?,
            });
        }
        Ok(header)
    }

    /// One line for each thing.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("date:      {}", self.date),
            format!("oxen:      {}", self.revision),
            format!("kernel:    {}", self.kernel),
            format!("xen:       {}: {}", self.xen, self.xen_flags),
            format!("qemu:      {}", self.qemu),
            format!("host:      {}", self.host),
            format!(
                "runs:      {} pairs of {} s, guests of {} CPUs",
                self.pairs, self.seconds, self.vcpus
            ),
        ];
        for guest in &self.guests {
            lines.push(format!(
                "{:10} clocksource {}, clockevent {}, command line: {}",
                format!("{}:", guest.side),
                guest.clocksource,
                guest.clockevent,
                guest.command_line
            ));
        }
        lines
    }
}

fn says(domain: &Domain, script: &str) -> Result<String> {
    Ok(domain.sh(script)?.trim().into())
}

fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok()
        .and_then(|text| text.lines().next().map(String::from))
        .unwrap_or_else(|| "unknown".into())
}

/// The host's CPUs, and whether they are emulated for the machine.
fn host() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(':'))
        .map_or("unknown", |(_, name)| name.trim());
    let count = text
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    format!(
        "{count} × {model}; {} below Xen",
        companion::accelerator_name()
    )
}
