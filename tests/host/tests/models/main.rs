// SPDX-License-Identifier: GPL-2.0

//! Memory models: loom runs the code of `abi` in every order that the barriers in it allow.

mod console;
mod event;
mod grant;
mod ring;
mod xenstore;

/// Runs `model` in all its orders, up to a number of preemptions that keeps the time in seconds.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}
