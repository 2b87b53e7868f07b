// SPDX-License-Identifier: GPL-2.0

//! The connection to the xenstore: its page, its event channel, and the thread that serves both.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::kthread::Thread;

use crate::client::Client;

/// The running connection. Dropping it stops the thread and gives page and channel back.
pub(crate) struct Link {
    _thread: Thread,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    ///
    /// `ENODEV` when the toolstack has given this domain no xenstore.
    pub(crate) fn new(_client: &Arc<Client>) -> Result<Self> {
        Err(ENODEV)
    }
}
