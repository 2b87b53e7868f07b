// SPDX-License-Identifier: GPL-2.0

//! What the terminal is told.

use std::sync::OnceLock;
use std::time::Instant;

/// Progress on the terminal, with the time since the program began.
pub fn progress(what: &str) {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let at = BEGIN.get_or_init(Instant::now).elapsed().as_secs();
    eprintln!("[{:3}:{:02}] {what}", at / 60, at % 60);
}
