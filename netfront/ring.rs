// SPDX-License-Identifier: GPL-2.0

//! What a ring stands on: a page that the backend sees, and a way to tell it to look.

use crate::queue::Waker;
use evtchn::Listener;
use kernel::sync::Arc;

/// The page of a ring.
pub(crate) type SharedPage = grant_table::GrantedPages;

/// The event channel of a ring, or of both rings of a queue.
pub(crate) type Notifier = Arc<Listener<Waker>>;
