// SPDX-License-Identifier: GPL-2.0

//! Bindings of the C APIs in `bindings_helper.h`, for this crate alone.

pub(crate) use oxen_bindings::*;
