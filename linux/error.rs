// SPDX-License-Identifier: GPL-2.0

//! Errors that the `kernel` crate names from Linux 7.3 on only.
//!
//! A file that uses one says so: without that, a pattern of this name would match anything on an older kernel.

use core::num::NonZeroI32;
use kernel::{
    bindings,
    prelude::*, //
};

macro_rules! errors {
    ($($name:ident: $what:literal,)*) => { $(
        #[doc = $what]
        pub const $name: Error = {
            // CAST: Numbers of errors are below 4096.
            let number = NonZeroI32::new(-(bindings::$name as i32)).unwrap();
            // SAFETY: An `Error` holds this number and nothing else: it has its size. It is a valid one.
            unsafe { core::mem::transmute::<NonZeroI32, Error>(number) }
        };
    )* };
}

errors! {
    ECONNRESET: "The connection was lost.",
    ENETDOWN: "The network is down.",
    ENOBUFS: "There is no room for more.",
    ENOTCONN: "It is not connected.",
    EOPNOTSUPP: "What was asked for is not offered.",
    EPROTO: "The other end does not keep to the protocol.",
}
