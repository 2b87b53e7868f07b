// SPDX-License-Identifier: GPL-2.0

//! A sample, and the numbers that it is made of.

use anyhow::{Context, Result};
use serde_json::Value;

/// What one run gave.
pub(crate) struct Sample {
    /// Units of work per second, as the workload's `rate` says.
    pub(crate) rate: f64,
    /// Whatever else it said.
    pub(crate) detail: Value,
}

/// The number at that place.
///
/// # Errors
///
/// When there is none.
pub(crate) fn number(value: &Value, path: &str) -> Result<f64> {
    value
        .pointer(path)
        .and_then(Value::as_f64)
        .with_context(|| format!("there is no number at {path} in {value}"))
}
