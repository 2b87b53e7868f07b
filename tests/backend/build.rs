// SPDX-License-Identifier: GPL-2.0

//! Has the C compiler compare what is laid out by hand with Xen's headers.

fn main() {
    let headers = std::env::var("XEN_INCLUDE").unwrap_or_else(|_| "/usr/include".into());
    cc::Build::new()
        .include(headers)
        .file("c/layout.c")
        .flag_if_supported("-std=gnu11")
        .warnings(false)
        .compile("backend_layout");
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-env-changed=XEN_INCLUDE");
}
