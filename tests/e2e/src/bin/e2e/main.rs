// SPDX-License-Identifier: GPL-2.0

//! The end-to-end suite: every promise, on real Xen, in as few boots as possible.

mod balloon;
mod bare;
mod clock;
mod debian;
mod disk;
mod far;
mod filesystems;
mod folders;
mod hostile;
mod hotplug;
mod kexec;
mod life;
mod multicast;
mod offload;
mod paths;
mod queues;
mod refusals;
mod room;
mod scene;
mod settings;
mod steering;
mod store;
mod suspend;
mod tools;
mod xdp;

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

/// What takes long for what it shows beside the others, with all of [`kexec`] and [`paths`]: for a soak, or when it is asked for.
const LONG: [&str; 41] = [
    "debian/any-state-in-any-order",
    "debian/block-attach-detach",
    "debian/streams-go-on-without-their-interface",
    "debian/disk-backend-killed-under-fio",
    "debian/disk-is-swapped-to-while-it-reconnects",
    "debian/disk-with-xfs",
    "debian/folders-removed",
    "debian/multicast-all",
    "debian/multicast-answers",
    "debian/multicast-filtered",
    "debian/multicast-many",
    "debian/multicast-reconnect",
    "debian/multicast-under-load",
    "debian/multicast-unload",
    "debian/network-attach-detach",
    "debian/time-reload",
    "debian/xdp-other-backends",
    "debian/xdp-under-load",
    "bare/two-level-events",
    "bare/upcall-callback",
    "bare/upcall-intx",
    "bare/upcall-vector",
    "bare/intx-after-vector",
    "hostile/disk-states",
    "hostile/net-backend-changes-under-load",
    "hostile/net-states",
    "ending/power-off",
    "ending/restart",
    "ending/panic",
    "ending/crash-on-request",
    "ending/no-program-to-power-off",
    "ending/watchdog-that-nobody-sets",
    "ending/xl-reboot-then-shutdown",
    "large/fill",
    "suspend/checkpoint",
    "suspend/save-and-restore",
    "suspend/migrate",
    "suspend/pause",
    "suspend/refused-by-a-layer",
    "tools/vchan-two-guests",
    "refusal/pvh",
];

fn names<S>(tests: &[Test<S>]) -> impl Iterator<Item = &'static str> + '_ {
    tests.iter().map(|(name, _)| *name)
}

fn run(settings: &Settings) -> Result<bool> {
    let paths = paths::tests();
    let (mut debian, bare, kexec) = (debian::tests(), bare::tests(), kexec::tests());
    // A boot costs a minute.
    debian.extend(life::tests());
    let (mut hostile, tools) = (hostile::tests(), tools::tests());
    let all: Vec<&'static str> = names(&refusals::WITHOUT_XEN)
        .chain(names(&debian))
        .chain(names(&bare))
        .chain(names(&life::ends()))
        .chain(names(&balloon::OWN))
        .chain(names(&suspend::tests()))
        .chain(names(&kexec))
        .chain(names(&hostile))
        .chain(names(&tools))
        .chain(names(&refusals::with_c_support()))
        .chain(names(&refusals::OTHER_KIND))
        .collect();
    if settings.list {
        println!("{}", all.join("\n"));
        return Ok(true);
    }
    let left_out = if settings.is_long() {
        Vec::new()
    } else {
        LONG.iter()
            .copied()
            .chain(names(&kexec))
            .chain(names(&paths))
            .collect()
    };
    let mut words = settings.words.clone();
    if names(&hostile).any(|name| words.iter().any(|word| name.contains(word.as_str()))) {
        // The others of that guest stand on it.
        words.push("hostile/bystanders".into());
    }
    hostile.extend(tools);
    let mut suite = Suite::new(words, &all, &left_out)?.until(settings.end());
    if settings.check {
        return Ok(true);
    }
    progress("end-to-end suite: 20 to 60 minutes under emulation");
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
            life::on_xen(&mut suite, &machine);
            suspend::on_xen(&mut suite, &machine, settings);
            scene::run(
                &mut suite,
                &machine,
                settings,
                &guests::kexec("kexec"),
                &kexec,
            );
            scene::run(
                &mut suite,
                &machine,
                settings,
                &guests::hostile("hostile"),
                &hostile,
            );
            refusals::on_xen(&mut suite, &machine, settings);
            if !found {
                machine.stop();
            }
        }
    }
    Ok(suite.finish())
}
