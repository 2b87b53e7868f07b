// SPDX-License-Identifier: GPL-2.0

//! Modules with one wrong letter, as another build would have it.

use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A symbol that the module imports from one of our crates.
///
/// # Errors
///
/// When it imports none, or binutils are missing.
pub fn imported_from(krate: &str, module: &Path) -> Result<String> {
    let output = Command::new("nm").arg("-u").arg(module).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace()
        .find(|name| name.starts_with("_R") && name.contains(krate))
        .map(String::from)
        .with_context(|| format!("{} imports nothing from {krate}", module.display()))
}

/// The module, without what only a debugger reads, and with another letter behind `text`, or at its end where a NUL
/// follows, wherever it stands.
///
/// # Errors
///
/// When the module cannot be read or has no such text, or binutils are missing.
pub fn after(text: &str, module: &Path) -> Result<Vec<u8>> {
    let stripped = tempfile::NamedTempFile::new()?;
    let status = Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .arg(stripped.path())
        .arg(module)
        .status()?;
    ensure!(status.success(), "strip {}: {status}", module.display());
    let mut bytes = fs::read(stripped.path())?;
    let places: Vec<usize> = bytes
        .windows(text.len())
        .enumerate()
        .filter_map(|(at, window)| (window == text.as_bytes()).then_some(at + text.len()))
        .collect();
    ensure!(!places.is_empty(), "{} has no {text}", module.display());
    for at in places {
        let at = if bytes.get(at).is_none_or(|byte| *byte == 0) {
            at - 1
        } else {
            at
        };
        bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
    }
    Ok(bytes)
}
