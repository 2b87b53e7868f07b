// SPDX-License-Identifier: GPL-2.0

//! A program that is told to end takes its machine with it.

use crate::machine::Companion;
use crate::progress;
use anyhow::Result;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::process;
use std::thread;

impl Companion {
    /// From now on a signal that ends this program ends the machine of that name first.
    ///
    /// # Errors
    ///
    /// When the signals cannot be caught.
    pub fn ends_with_us(name: &str) -> Result<()> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let name = name.to_owned();
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                progress(&format!("signal {signal}: ending the machine {name}"));
                Companion::kill(&name);
                process::exit(128 + signal);
            }
        });
        Ok(())
    }
}
