// SPDX-License-Identifier: GPL-2.0

//! The companion on the command line: a machine that stays up, guests that come and go.

mod terminal;

use anyhow::{bail, Context, Result};
use clap::{Parser, Subcommand};
use companion::{Companion, Disk, Domain, GuestConfig, Kind, Options, Output, Patience, Vif};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Xen, a Debian dom0 and Debian guests inside one QEMU, to try Oxen on.
#[derive(Parser)]
struct Cli {
    /// Name of the machine: several can run side by side.
    #[arg(
        long,
        env = "OXEN_COMPANION",
        default_value = "companion",
        global = true
    )]
    name: String,
    #[command(flatten)]
    patience: Patience,
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Boots the machine and leaves it running in the background.
    Start {
        /// Memory in MiB.
        #[arg(long, default_value_t = 4096)]
        memory: u32,
        /// More words for Xen's command line.
        #[arg(long, default_value = "", allow_hyphen_values = true)]
        xen_args: String,
    },
    /// Ends the machine.
    Stop,
    /// Says whether it runs, and which guests it has.
    Status,
    /// Creates a guest and waits for its agent.
    Create(Create),
    /// Ends a guest at once.
    Destroy { guest: String },
    /// Runs a command in `dom0` or a guest; ends with its exit code.
    Exec {
        /// Seconds after which it is killed.
        #[arg(long, default_value_t = 300)]
        limit: u64,
        /// `dom0` or the name of a guest.
        target: String,
        /// The command; one word alone is a shell script.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Writes modules into a running guest (then `modprobe` finds them); other files go to /tmp.
    Push { guest: String, files: Vec<PathBuf> },
    /// Shows the logs: serial port, Xen, a guest's serial port, console and kernel.
    Logs { guest: Option<String> },
    /// The guest's console (`xl console`) on this terminal; leave with Ctrl-].
    Console { guest: String },
}

#[derive(Parser)]
struct Create {
    #[arg(default_value = "guest")]
    guest: String,
    #[arg(long, default_value_t = 2)]
    vcpus: u32,
    /// Memory in MiB.
    #[arg(long, default_value_t = 512)]
    memory: u32,
    /// Folder with the modules under test.
    #[arg(long, env = "MODULES")]
    modules: Option<PathBuf>,
    /// Modules the initramfs loads, in this order: a,b,c
    #[arg(long, value_delimiter = ',')]
    load: Vec<String>,
    /// Modules of Debian's kernel to load before.
    #[arg(long, value_delimiter = ',')]
    early: Vec<String>,
    /// Boots Debian from xvda; otherwise the guest stays in its initramfs.
    #[arg(long)]
    root: bool,
    /// A disk: xvdb=64 (MiB), or xvdb=64:ro. An hd name has an emulated twin.
    #[arg(long)]
    disk: Vec<String>,
    /// A network interface on bridge xenbr0 or xenbr1.
    #[arg(long)]
    vif: Vec<String>,
    /// More kernel arguments.
    #[arg(long, default_value = "")]
    extra: String,
    /// A further line for the xl configuration.
    #[arg(long)]
    line: Vec<String>,
    /// Leaves the kernel's own Xen support on.
    #[arg(long)]
    pv: bool,
    /// A PVH guest.
    #[arg(long)]
    pvh: bool,
    /// Created paused.
    #[arg(long)]
    pause: bool,
    /// Does not wait for the agent.
    #[arg(long)]
    no_wait: bool,
}

impl Create {
    fn config(self) -> Result<GuestConfig> {
        let mut config = GuestConfig::new(&self.guest);
        config.kind = if self.pvh { Kind::Pvh } else { Kind::Hvm };
        config.vcpus = self.vcpus;
        config.memory = self.memory;
        config.root = self.root;
        config.modules = self.modules;
        config.load = self.load;
        config.early = self.early;
        config.nopv = !self.pv;
        config.extra = self.extra;
        config.lines = self.line;
        config.paused = self.pause;
        config.wait = !self.no_wait;
        for disk in &self.disk {
            let (name, size) = disk
                .split_once('=')
                .context("a disk is NAME=MIB or NAME=MIB:ro")?;
            let (size, writable) = match size.strip_suffix(":ro") {
                Some(size) => (size, false),
                None => (size, true),
            };
            config.disks.push(Disk {
                writable,
                ..Disk::new(name, size.parse()?)
            });
        }
        for (n, bridge) in self.vif.iter().enumerate() {
            config.vifs.push(Vif::new(u8::try_from(n)?, bridge));
        }
        Ok(config)
    }
}

fn main() -> ExitCode {
    match act(Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            eprintln!("companion: {why:#}");
            ExitCode::from(125)
        }
    }
}

fn act(cli: Cli) -> Result<u8> {
    cli.patience.set();
    let machine = || Companion::attach(&cli.name);
    match cli.command {
        Action::Start { memory, xen_args } => {
            Companion::ensure(&Options {
                name: cli.name,
                memory,
                xen_args,
            })?;
        }
        Action::Stop => machine()?.stop(),
        Action::Status => {
            if !Companion::is_running(&cli.name) {
                bail!("no companion called {} is running", cli.name);
            }
            print!("{}", machine()?.dom0().sh("xl list")?);
        }
        Action::Create(create) => {
            let config = create.config()?;
            companion::progress(&format!("guest {}: creating", config.name));
            machine()?.create(&config)?;
            companion::progress(&format!("guest {}: up", config.name));
        }
        Action::Destroy { guest } => machine()?.destroy(&guest)?,
        Action::Exec {
            limit,
            target,
            command,
        } => {
            let machine = machine()?;
            let limit = Duration::from_secs(limit);
            let domain = domain(&machine, &target)?;
            let output = match command.as_slice() {
                [script] => domain.try_sh(script, limit)?,
                argv => domain.run(argv, b"", limit)?,
            };
            return print(&output);
        }
        Action::Push { guest, files } => {
            let machine = machine()?;
            let domain = domain(&machine, &guest)?;
            let release = machine.assets().release();
            for file in &files {
                let name = file.file_name().context("not a file")?.to_string_lossy();
                if name.ends_with(".ko") {
                    domain.put(file, &format!("/lib/modules/{release}/updates/{name}"))?;
                } else {
                    domain.put(file, &format!("/tmp/{name}"))?;
                }
            }
            domain.sh(&format!("/sbin/depmod -a {release}"))?;
        }
        Action::Logs { guest } => {
            let machine = machine()?;
            println!("{}", machine.report(guest.as_deref()));
            if let Some(guest) = guest {
                let domain = machine.guest(&guest, Duration::from_secs(20))?;
                println!("--- {guest}: dmesg\n{}", domain.sh("dmesg")?);
            }
        }
        Action::Console { guest } => return terminal::console(&machine()?, &guest),
    }
    Ok(0)
}

fn domain(machine: &Companion, name: &str) -> Result<Domain> {
    if name == "dom0" {
        return Ok(machine.dom0().clone());
    }
    machine
        .guest(name, Duration::from_secs(60))
        .map_err(|why| why.context(machine.report(Some(name))))
}

fn print(output: &Output) -> Result<u8> {
    std::io::stdout().write_all(output.stdout.as_bytes())?;
    std::io::stderr().write_all(output.stderr.as_bytes())?;
    Ok(u8::try_from(output.code).unwrap_or(255))
}
