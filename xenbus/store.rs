// SPDX-License-Identifier: GPL-2.0

//! The xenstore client.
//!
//! From below: [`doorbell`] and [`places`] are what is waited for, [`request`] and [`watches`] what is under way,
//! [`client`] what all callers share, [`pump`] the thread that serves the rings, and [`connection`] the page and the event
//! channel. Above the client are the calls: [`nodes`], [`keys`], [`transaction`], [`watch`], [`offer`] and [`error`].

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod doorbell;
pub(crate) mod error;
pub(crate) mod halt;
pub(crate) mod keys;
pub(crate) mod nodes;
pub(crate) mod offer;
pub(crate) mod opened;
pub(crate) mod places;
pub(crate) mod pump;
pub(crate) mod request;
pub(crate) mod text;
pub(crate) mod transaction;
pub(crate) mod watch;
pub(crate) mod watches;

pub use self::nodes::Store;
pub(crate) use self::text::text;
