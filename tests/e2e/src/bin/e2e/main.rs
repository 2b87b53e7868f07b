// SPDX-License-Identifier: GPL-2.0

//! The end-to-end suite: every promise, on real Xen, in as few boots as possible.

mod bare;
mod clock;
mod debian;
mod hotplug;
mod refusals;
mod scene;
mod settings;
mod store;

use anyhow::Result;
use clap::Parser;
use companion::{progress, Companion, Options};
use e2e::guests;
use e2e::suite::{Suite, Test};
use settings::Settings;
use std::process::ExitCode;

fn main() -> ExitCode {
    let settings = Settings::parse();
    settings.patience.set();
    match run(&settings) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            println!("e2e: {why:#}\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn names<S>(tests: &[Test<S>]) -> impl Iterator<Item = &'static str> + '_ {
    tests.iter().map(|(name, _)| *name)
}

fn run(settings: &Settings) -> Result<bool> {
    let (debian, bare) = (debian::tests(), bare::tests());
    let all: Vec<&str> = names(&refusals::WITHOUT_XEN)
        .chain(names(&debian))
        .chain(names(&bare))
        .chain(names(&refusals::with_c_support()))
        .chain(names(&refusals::OTHER_KIND))
        .collect();
    if settings.list {
        println!("{}", all.join("\n"));
        return Ok(true);
    }
    let mut suite = Suite::new(settings.words.clone(), &all)?;
    progress("end-to-end suite: about 20 minutes under emulation");
    let options = Options {
        name: settings.companion.clone(),
        ..Options::default()
    };
    let found = Companion::is_running(&options.name);
    if !found {
        Companion::ends_with_us(&options.name)?;
    }

    refusals::without_xen(&mut suite);
    let xen = |name: &&str| !names(&refusals::WITHOUT_XEN).any(|other| other == *name);
    if all
        .iter()
        .filter(|name| xen(name))
        .any(|name| suite.wants(name))
    {
        if let Some(machine) = suite.stage("companion", || Companion::ensure(&options)) {
            scene::run(
                &mut suite,
                &machine,
                settings,
                &guests::debian("debian"),
                &debian,
            );
            scene::run(&mut suite, &machine, settings, &guests::bare("bare"), &bare);
            refusals::on_xen(&mut suite, &machine, settings);
            if !found {
                machine.stop();
            }
        }
    }
    Ok(suite.finish())
}
