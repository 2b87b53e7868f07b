// SPDX-License-Identifier: GPL-2.0

//! The companion: Xen, a Debian control domain and Debian guests inside one QEMU, to try Oxen on.
//!
//! [`Companion`] starts or finds the machine, [`GuestConfig`] says what a guest is made of, and
//! [`Domain`] runs commands in dom0 or in a guest. Everything that waits has a limit, and every
//! error carries what was printed up to then.

mod assets;
mod console;
mod domain;
mod guest;
mod link;
mod lost;
mod machine;
mod plain;
mod progress;
mod signals;
mod watch;

pub use assets::{Assets, Ramdisk};
pub use console::Console;
pub use domain::{Background, Domain, Output, Patience, BRIEF, LONG};
pub use guest::{Disk, GuestConfig, Kind, Vif};
pub use link::{Job, JobEvent, Link};
pub use machine::{accelerator_name, Companion, Options};
pub use plain::PlainMachine;
pub use progress::progress;
pub use signals::is_ending;
