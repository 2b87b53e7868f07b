// SPDX-License-Identifier: GPL-2.0

//! `make demo`: Xen in QEMU, and a Debian guest whose root disk, network and console are Oxen.
//! Each line that it prints was proved; with `INTERACTIVE=1` the guest's console is handed over.

use anyhow::{ensure, Context, Result};
use clap::Parser;
use companion::{progress, Companion, Domain, Options, Patience, BRIEF};
use e2e::{check, explain, guests};
use std::env;
use std::process::{Command, ExitCode};

const GUEST: &str = "demo";

/// The demo: a Debian guest on Oxen.
#[derive(Parser)]
struct Settings {
    /// Name of the companion.
    #[arg(long, env = "OXEN_COMPANION", default_value = "demo")]
    companion: String,
    #[command(flatten)]
    patience: Patience,

    /// Only say whether all this is understood.
    #[arg(long, hide = true)]
    check: bool,
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    if settings.check {
        return ExitCode::SUCCESS;
    }
    settings.patience.set();
    let begin = std::time::Instant::now();
    let options = Options {
        name: settings.companion,
        ..Options::default()
    };
    match demo(&options) {
        Ok(proofs) => {
            let took = begin.elapsed().as_secs();
            println!(
                "{proofs} of {proofs} proved in {} min {} s.",
                took / 60,
                took % 60
            );
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("NOT PROVED: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(options: &Options) -> Result<usize> {
    let found = Companion::is_running(&options.name);
    if !found {
        Companion::ends_with_us(&options.name)?;
    }
    let machine = Companion::ensure(options)?;
    let done = (|| {
        if found {
            machine.destroy(GUEST)?;
        }
        let proofs = match prove(&machine) {
            Ok(proofs) => proofs,
            Err(why) => {
                let how = machine.lost(GUEST).ok_or(why)?;
                progress(&format!("{how}; it is booted again, once"));
                machine.destroy(GUEST)?;
                let proofs = prove(&machine)?;
                println!("1 guest lost by the emulator and booted again");
                proofs
            }
        };
        if env::var("INTERACTIVE").is_ok_and(|value| value == "1") {
            hand_over(&options.name)?;
        }
        Ok(proofs)
    })();
    if !found {
        machine.stop();
    }
    done
}

fn prove(machine: &Companion) -> Result<usize> {
    let dom0 = machine.dom0();
    progress("guest: booting Debian from a disk of Xen's, about a minute and a half");
    let guest = machine
        .create(&guests::debian(GUEST))?
        .context("the guest was created but not waited for")?;
    progress("guest: up; now the proofs");
    let mut proofs = 0;
    let mut proof = |what: &str, done: Result<String>| -> Result<()> {
        let detail = done.map_err(|why| explain(why, machine, &guest).context(what.to_owned()))?;
        proofs += 1;
        println!("proved: {what}: {}", detail.replace('\n', "\n        "));
        Ok(())
    };

    proof(
        "the kernel is Debian's own, unmodified",
        check::kernel_is_stock(&guest, machine.assets().release()),
    )?;
    proof("the C frontends are not there", no_c_frontends(&guest))?;
    proof(
        "modules, each on those below it",
        check::modules_stack_up(&guest),
    )?;
    proof("the root filesystem is on", check::root_is_xvda(&guest))?;
    proof(
        "random writes read back with crc32c",
        check::fio_verify(&guest, "xvdb", 16),
    )?;
    proof(
        "disk data, written by dom0, has the same sha256 in the guest",
        disk_checksum(dom0, &guest),
    )?;
    check::bring_up_network(&guest)?;
    proof("eth0", check::ethtool_names_us(&guest))?;
    proof("ping both ways", check::ping(dom0, &guest))?;
    proof(
        "16 MiB over TCP both ways, sha256",
        check::tcp_both_ways(dom0, &guest, 16),
    )?;
    proof("event-channel interrupts on every CPU", interrupts(&guest))?;
    proof("xl console answers", check::console_login(dom0, GUEST))?;
    proof(
        "no warning, trace or lockup in the kernel log",
        check::dmesg_is_clean(&guest).map(|()| "clean".into()),
    )?;
    guest.close();
    Ok(proofs)
}

fn no_c_frontends(guest: &Domain) -> Result<String> {
    let bound = guest.sh("ls /proc/xen 2>/dev/null; lsmod | grep -E '^xen_' || true")?;
    ensure!(
        bound.trim().is_empty(),
        "the kernel's own Xen support is active: {bound}"
    );
    Ok("the kernel was booted with nopv".into())
}

fn disk_checksum(dom0: &Domain, guest: &Domain) -> Result<String> {
    // A disk that comes while the guest runs, full of what dom0 made.
    let image = format!("/var/lib/companion/{GUEST}-xvdf.img");
    let made = dom0.sh(&format!(
        "head -c 16M /dev/urandom >{image}; sync; sha256sum <{image}"
    ))?;
    dom0.sh(&format!(
        "xl block-attach {GUEST} 'format=raw,vdev=xvdf,access=rw,script=/run/companion/block,target={image}'"
    ))?;
    guest.until(
        "[ -b /dev/xvdf ] && [ $(blockdev --getsize64 /dev/xvdf) = 16777216 ]",
        BRIEF,
    )?;
    let read = guest.sh("dd if=/dev/xvdf bs=256k iflag=direct 2>/dev/null | sha256sum")?;
    dom0.sh(&format!("xl block-detach {GUEST} xvdf"))?;
    ensure!(made == read, "dom0 wrote {made}, the guest read {read}");
    Ok(made.split_whitespace().next().unwrap_or_default().into())
}

fn interrupts(guest: &Domain) -> Result<String> {
    guest.sh("for c in 0 1; do taskset -c $c dd if=/dev/xvdb of=/dev/null bs=64k count=32 iflag=direct; done 2>&1")?;
    let (sums, count) = check::interrupts(guest)?;
    ensure!(
        sums.len() > 1 && sums.iter().all(|sum| *sum > 0),
        "{count} interrupts, per CPU {sums:?}"
    );
    Ok(format!("{count} of them, per CPU {sums:?}"))
}

/// The companion's own command has the terminal code.
fn hand_over(name: &str) -> Result<()> {
    let companion = env::current_exe()?.with_file_name("companion");
    println!("The guest's console: log in as root, password oxen; leave with Ctrl-].");
    Command::new(companion)
        .args(["--name", name, "console", GUEST])
        .status()?;
    Ok(())
}
