// SPDX-License-Identifier: GPL-2.0

//! A guest and the tests in it, from its boot to its end.

use crate::settings::Settings;
use anyhow::{ensure, Context, Result};
use companion::{Companion, Domain, GuestConfig};
use e2e::explain;
use e2e::suite::{Suite, Test};
use std::cell::Cell;

/// What every test in a guest gets.
pub(crate) struct Scene<'a> {
    pub(crate) machine: &'a Companion,
    pub(crate) settings: &'a Settings,
    pub(crate) guest: Domain,
    dom0: Domain,
}

impl Scene<'_> {
    /// The control domain; nothing is waited for in it once the guest is gone.
    pub(crate) fn dom0(&self) -> &Domain {
        &self.dom0
    }

    /// The guest's name.
    pub(crate) fn name(&self) -> &str {
        self.guest.name()
    }

    /// Runs one test; a failure is explained by what the guest says, its first one when it has ended.
    fn run(&self, test: fn(&Self) -> Result<()>) -> Result<()> {
        ensure!(!self.guest.is_gone(), "not run: the guest is gone");
        test(self).map_err(|why| explain(why, self.machine, &self.guest))
    }
}

/// Boots a guest and runs the tests in it that are wanted; all of it once more when the emulator loses the guest.
pub(crate) fn run<'a>(
    suite: &mut Suite,
    machine: &'a Companion,
    settings: &'a Settings,
    config: &GuestConfig,
    tests: &[Test<Scene<'a>>],
) {
    if !suite.wants_any(tests) {
        return;
    }
    let name = config.name.as_str();
    suite.group(|suite| {
        let boot = || machine.create(config)?.context("it was not waited for");
        let lost = match suite.stage(&format!("{name}/boot"), boot) {
            None => machine.lost(name),
            Some(guest) => {
                let scene = Scene {
                    machine,
                    settings,
                    dom0: machine.dom0().beside(&guest),
                    guest,
                };
                let over = Cell::new(false);
                let lost = suite.tests(
                    tests,
                    |test| scene.run(test),
                    // Xen is asked once about a guest that is gone.
                    || (!over.replace(scene.guest.is_gone())).then(|| machine.lost(name))?,
                );
                scene.guest.close();
                lost
            }
        };
        machine.destroy(name).ok();
        lost
    });
}
