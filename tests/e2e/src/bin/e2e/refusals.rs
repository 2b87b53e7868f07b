// SPDX-License-Identifier: GPL-2.0

//! Where Oxen must not run it says so in one sentence.

use anyhow::{Context, Result};
use companion::{Companion, PlainMachine, LONG};
use e2e::check;
use e2e::guests;
use e2e::suite::Suite;

/// On a machine without Xen.
pub(crate) fn without_xen(suite: &mut Suite) {
    if !suite.wants_group("refusal") {
        return;
    }
    let Some(machine) = suite.stage(
        "refusal/plain-boot",
        || PlainMachine::start(&e2e::modules()),
    ) else {
        return;
    };
    suite.test("refusal/no-xen", || {
        check::refuses(machine.domain(), "/sbin/modprobe oxen_xen_core", &["Xen"]).map(drop)
    });
    suite.test("refusal/no-xen-leaves-nothing", || {
        check::dmesg_is_clean(machine.domain())
    });
    machine.stop();
}

/// Under Xen, but where the kernel's own support is in the way or the guest is of another kind.
pub(crate) fn on_xen(suite: &mut Suite, machine: &Companion) {
    let name = "with-c";
    if let Some(Some(guest)) = suite.stage("refusal/c-boot", || {
        machine.create(&guests::with_c_support(name))
    }) {
        suite.test("refusal/c-support-active", || {
            check::refuses(&guest, "/sbin/modprobe oxen_xen_core", &["nopv"]).map(drop)
        });
        suite.test("refusal/c-support-dmesg-clean", || {
            check::dmesg_is_clean(&guest)
        });
        guest.close();
    }
    machine.destroy(name).ok();

    let name = "pvh";
    suite.test("refusal/pvh", || pvh(machine, name));
    machine.destroy(name).ok();
}

fn pvh(machine: &Companion, name: &str) -> Result<()> {
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
