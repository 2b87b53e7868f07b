// SPDX-License-Identifier: GPL-2.0

//! Where Oxen must not run it says so in one sentence.

use crate::scene::{self, Scene};
use crate::settings::Settings;
use anyhow::{Context, Result};
use companion::{Companion, PlainMachine, LONG};
use e2e::check;
use e2e::guests;
use e2e::suite::{Suite, Test};

/// On a machine without Xen.
pub(crate) const WITHOUT_XEN: [Test<PlainMachine>; 2] = [
    ("refusal/no-xen", |machine| {
        check::refuses(machine.domain(), "/sbin/modprobe oxen_xen_core", &["Xen"]).map(drop)
    }),
    ("refusal/no-xen-leaves-nothing", |machine| {
        check::dmesg_is_clean(machine.domain())
    }),
];

/// Where the kernel's own support is in the way.
pub(crate) fn with_c_support<'a>() -> Vec<Test<Scene<'a>>> {
    vec![
        ("refusal/c-support-active", |s| {
            check::refuses(&s.guest, "/sbin/modprobe oxen_xen_core", &["nopv"]).map(drop)
        }),
        ("refusal/c-support-dmesg-clean", |s| {
            check::dmesg_is_clean(&s.guest)
        }),
    ]
}

/// In a guest of another kind.
pub(crate) const OTHER_KIND: [Test<Companion>; 1] = [("refusal/pvh", pvh)];

const PVH: &str = "pvh";

/// Runs those on a machine without Xen.
pub(crate) fn without_xen(suite: &mut Suite) {
    if !suite.wants_any(&WITHOUT_XEN) {
        return;
    }
    let boot = || PlainMachine::start(&e2e::modules());
    if let Some(machine) = suite.stage("refusal/plain-boot", boot) {
        suite.tests(&WITHOUT_XEN, |test| test(&machine), || None);
        machine.stop();
    }
}

/// Runs those under Xen.
pub(crate) fn on_xen(suite: &mut Suite, machine: &Companion, settings: &Settings) {
    let config = guests::with_c_support("with-c");
    scene::run(suite, machine, settings, &config, &with_c_support());
    suite.group(|suite| {
        let lost = suite.tests(&OTHER_KIND, |test| test(machine), || machine.lost(PVH));
        if suite.wants_any(&OTHER_KIND) {
            machine.destroy(PVH).ok();
        }
        lost
    });
}

fn pvh(machine: &Companion) -> Result<()> {
    let name = PVH;
    machine.create(&guests::pvh(name))?;
    let log = format!("/var/log/xen/console/guest-{name}.log");
    machine
        .dom0()
        .until(
            &format!("grep -q 'oxen-init: modprobe oxen_xen_core failed' {log}"),
            LONG,
        )
        .with_context(|| machine.report(Some(name)))?;
    let said = machine.dom0().sh(&format!("cat {log}"))?;
    check::one_sentence(&said, &["PVH"]).map(drop)
}
