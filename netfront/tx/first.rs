// SPDX-License-Identifier: GPL-2.0

//! Whether the backend takes anything from a new connection.

use abi::net::patience::Patience;
use kernel::time::{
    Instant,
    Monotonic, //
};

/// Whether the backend takes packets at all.
pub(super) enum First {
    /// Nothing was sent yet.
    None,
    /// This long ago, and nothing was taken.
    Sent(Instant<Monotonic>),
    /// It does.
    Taken,
}

impl First {
    /// A packet is to be sent: tells whether the backend has left those before it where they are, for as long as `patience`
    /// allows. `touched` tells whether it has taken anything.
    #[inline]
    pub(super) fn is_ignored(
        &mut self,
        patience: &Patience,
        touched: impl FnOnce() -> bool,
    ) -> bool {
        match self {
            First::Taken => false,
            First::None => {
                *self = First::Sent(Instant::now());
                false
            }
            First::Sent(_) if touched() => {
                *self = First::Taken;
                patience.kept();
                false
            }
            First::Sent(at) => {
                let waited = at.elapsed().as_millis();
                u64::try_from(waited).is_ok_and(|waited| waited >= patience.limit_ms())
            }
        }
    }
}
