// SPDX-License-Identifier: GPL-2.0

//! A backend of our own for a device of a running guest: `backend vbd --domain 3 --vdev 51744 --memory 16`.
//!
//! It runs in dom0, plays the toolstack too, and serves until `backend tell SOCKET detach`. `backend tell` with other
//! words makes it hang, die, come back with other features, or break the rules by script.

mod channel;
mod control;
mod life;
mod node;
mod store_page;
mod tap;
mod vbd;
mod vif;
mod xen;

use anyhow::{Context, Result};
use backend::block::script::Hostile;
use backend::block::Block;
use backend::disk::Disk;
use clap::{Args, Parser, Subcommand};
use control::Control;
use life::{Life, Service};
use node::{key, Keys, Node};
use std::path::PathBuf;
use std::rc::Rc;
use xen::events::Events;
use xen::grants::Grants;
use xen::store::Store;

/// A backend for tests: complete, and hostile by script.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves a disk.
    Vbd(Box<VbdArgs>),
    /// Serves a network interface.
    Vif(VifArgs),
    /// Serves a further console.
    Console(ConsoleArgs),
    /// Sends one line of words to a backend and prints its answer.
    Tell {
        /// Its socket.
        socket: PathBuf,
        /// What to say.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Removes the nodes of a device whose backend has died.
    Clean {
        /// What kind of device.
        #[arg(value_parser = ["vbd", "vif", "console"])]
        kind: String,
        /// The guest.
        #[arg(long)]
        domain: u16,
        /// The device's number.
        #[arg(long, aliases = ["handle", "number"])]
        vdev: u32,
    },
    /// Writes to the page that the guest and xenstored share.
    StorePage {
        /// The guest.
        #[arg(long)]
        domain: u16,
        #[command(subcommand)]
        act: store_page::Act,
    },
    /// Names the scripts.
    Scripts,
}

/// What all devices have.
#[derive(Args)]
struct Common {
    /// The guest.
    #[arg(long)]
    domain: u16,
    /// Socket on which it takes words.
    #[arg(long)]
    control: PathBuf,
    /// The device is there already: its backend has died.
    #[arg(long)]
    adopt: bool,
    /// Another value for a key of ours, KEY=VALUE; KEY alone leaves it out.
    #[arg(long = "key", value_name = "KEY=VALUE")]
    keys: Vec<String>,
}

#[derive(Args)]
struct VbdArgs {
    #[command(flatten)]
    common: Common,
    /// Virtual device number: 51744 is xvdc.
    #[arg(long)]
    vdev: u32,
    /// The data is in a file.
    #[arg(long, conflicts_with = "memory", required_unless_present = "memory")]
    file: Option<PathBuf>,
    /// The data is in memory, so many MiB.
    #[arg(long, value_name = "MIB")]
    memory: Option<usize>,
    #[command(flatten)]
    offer: vbd::Offer,
    /// Hangs after so many requests.
    #[arg(long, value_name = "REQUESTS")]
    hang_after: Option<u64>,
    /// Dies after so many requests.
    #[arg(long, value_name = "REQUESTS")]
    die_after: Option<u64>,
    /// Breaks the rules as this script says.
    #[arg(long, value_name = "SCRIPT", value_parser = script)]
    hostile: Option<Hostile>,
    /// Answers so many requests before that.
    #[arg(long, default_value_t = 0, value_name = "REQUESTS")]
    after: u64,
    /// Breaks them so often.
    #[arg(long, default_value_t = 1)]
    times: u64,
}

#[derive(Args)]
struct VifArgs {
    #[command(flatten)]
    common: Common,
    /// Number of the interface in the guest.
    #[arg(long)]
    handle: u32,
    /// Hardware address.
    #[arg(long)]
    mac: String,
    /// Name of the TAP device to be made in dom0: the other end.
    #[arg(long)]
    tap: String,
    #[command(flatten)]
    offer: vif::Offer,
}

#[derive(Args)]
struct ConsoleArgs {
    #[command(flatten)]
    common: Common,
    /// Number of the console in the guest.
    #[arg(long)]
    number: u32,
    /// What it is for.
    #[arg(long)]
    name: Option<String>,
    /// File that the output is appended to.
    #[arg(long)]
    output: PathBuf,
}

fn script(name: &str) -> Result<Hostile> {
    Hostile::by_name(name).context("there is no such script, `backend scripts` names them")
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Vbd(args) => serve_disk(*args),
        Command::Vif(args) => serve_interface(args),
        Command::Console(args) => serve_console(args),
        Command::Tell { socket, words } => {
            println!("{}", control::tell(&socket, &words)?);
            Ok(())
        }
        Command::Clean { kind, domain, vdev } => {
            let kind = match kind.as_str() {
                "vif" => "vif",
                "console" => "console",
                _ => "vbd",
            };
            node(kind, domain, vdev).remove(&Store::open()?)
        }
        Command::StorePage { domain, act } => store_page::play(domain, &act),
        Command::Scripts => {
            for hostile in Hostile::ALL {
                println!("vbd {}", hostile.name());
            }
            for hostile in backend::net::script::Hostile::ALL {
                println!("vif {}", hostile.name());
            }
            for hostile in backend::console::script::Hostile::ALL {
                println!("console {}", hostile.name());
            }
            Ok(())
        }
    }
}

fn node(kind: &'static str, domain: u16, number: u32) -> Node {
    Node {
        domain,
        kind,
        name: number.to_string(),
    }
}

/// Serves a device: the toolstack's part of its nodes is `front` and `back`, and `make` makes what it does.
fn serve<S: Service>(
    common: Common,
    kind: &'static str,
    number: u32,
    [front, back]: [Keys; 2],
    make: impl FnOnce(Grants, Rc<Events>, u16) -> Result<S>,
) -> Result<()> {
    let Common {
        domain,
        control,
        adopt,
        keys,
    } = common;
    let events = Rc::new(Events::open()?);
    let service = make(Grants::open(domain)?, events.clone(), domain)?;
    Life::new(
        Store::open()?,
        events,
        Control::new(&control)?,
        node(kind, domain, number),
        service,
        &keys,
    )?
    .run(&front, &back, adopt)
}

fn serve_disk(args: VbdArgs) -> Result<()> {
    let data = match (&args.file, args.memory) {
        (Some(path), _) => Disk::open(path)?,
        (None, mib) => Disk::memory(mib.unwrap_or(1)),
    };
    let mut block = Block::new(data);
    (block.hang_after, block.die_after) = (args.hang_after, args.die_after);
    block.play(args.hostile, args.after, args.times);
    let mut front = vec![key("virtual-device", args.vdev), key("device-type", "disk")];
    front.extend(args.offer.trusted.map(|trusted| key("trusted", trusted)));
    let (offer, keys) = (args.offer, [front, Vec::new()]);
    serve(
        args.common,
        "vbd",
        args.vdev,
        keys,
        |grants, events, domain| Ok(vbd::Vbd::new(grants, events, domain, offer, block)),
    )
}

fn serve_interface(args: VifArgs) -> Result<()> {
    let keys = vec![key("handle", args.handle), key("mac", &args.mac)];
    let (offer, keys) = (args.offer, [keys.clone(), keys]);
    serve(
        args.common,
        "vif",
        args.handle,
        keys,
        |grants, events, domain| {
            let tap = tap::Tap::new(&args.tap)?;
            Ok(vif::Vif::new(grants, events, domain, offer, tap))
        },
    )
}

fn serve_console(args: ConsoleArgs) -> Result<()> {
    let name = args.name.map(|name| key("name", name));
    let name: Vec<_> = name.into_iter().collect();
    let keys = [name.clone(), name];
    serve(
        args.common,
        "console",
        args.number,
        keys,
        |grants, events, domain| channel::Channel::new(grants, events, domain, &args.output),
    )
}
