// SPDX-License-Identifier: GPL-2.0

//! The life of every frontend, written once: what a driver supplies is in [`driver`], what is done with it in [`engine`],
//! what is decided in [`abi::connection::Life`].

pub(crate) mod driver;
pub(crate) mod engine;
pub(crate) mod publication;
pub(crate) mod registration;
