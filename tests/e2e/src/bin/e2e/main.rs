// SPDX-License-Identifier: GPL-2.0

//! The end-to-end suite: every promise, on real Xen, in as few boots as possible.

mod bare;
mod debian;
mod hotplug;
mod refusals;
mod settings;
mod store;

use clap::Parser;
use companion::{progress, Companion, Options};
use e2e::suite::Suite;
use settings::Settings;
use std::process::ExitCode;

fn main() -> ExitCode {
    let settings = Settings::parse();
    progress("end-to-end suite: about 40 minutes under emulation");
    let mut suite = Suite::new(settings.words.clone());
    let name = std::env::var("OXEN_COMPANION").unwrap_or_else(|_| "e2e".into());
    let options = Options {
        name: name.clone(),
        ..Options::default()
    };
    let found = Companion::is_running(&name);

    refusals::without_xen(&mut suite);
    if let Some(machine) = suite.stage("companion", || Companion::ensure(&options)) {
        if suite.wants_group("debian") {
            debian::run(&mut suite, &machine, &settings);
        }
        if suite.wants_group("bare") {
            bare::run(&mut suite, &machine, &settings);
        }
        if suite.wants_group("refusal") {
            refusals::on_xen(&mut suite, &machine);
        }
        if !found {
            machine.stop();
        }
    }
    ExitCode::from(u8::from(!suite.finish()))
}
