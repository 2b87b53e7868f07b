// SPDX-License-Identifier: GPL-2.0

//! Layouts, properties and hostile peers, one file per subject.

mod barriers;
mod block;
mod connection;
mod console;
mod event;
mod grant;
mod layout;
mod net;
mod pvclock;
mod ring;
mod sentences;
mod xenstore;
