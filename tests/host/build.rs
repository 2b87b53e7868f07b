// SPDX-License-Identifier: GPL-2.0

//! Compiles Xen's public headers into the tables and oracles that the tests compare with.

fn main() {
    let headers = std::env::var("XEN_INCLUDE").unwrap_or_else(|_| "/usr/include".into());
    cc::Build::new()
        .include(headers)
        .files(["c/layout.c", "c/ring.c"])
        // The headers are C of many years; what they do is what counts here.
        .warnings(false)
        .flag_if_supported("-std=gnu11")
        .compile("xen_truth");
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-env-changed=XEN_INCLUDE");
}
