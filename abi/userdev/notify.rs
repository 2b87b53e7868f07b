// SPDX-License-Identifier: GPL-2.0

//! What the other domain is to see when a program lets go of a page, be it that it dies: a byte that becomes 0, an event.

use crate::types::{Port, PAGE_SIZE};

/// In [`Notify::action`]: the byte becomes 0 (`UNMAP_NOTIFY_CLEAR_BYTE`).
pub const CLEAR_BYTE: u32 = 1;
/// In [`Notify::action`]: the port is notified (`UNMAP_NOTIFY_SEND_EVENT`).
pub const SEND_EVENT: u32 = 2;

crate::shared::wire! {
    /// `ioctl_gntalloc_unmap_notify` and `ioctl_gntdev_unmap_notify`.
    pub struct Notify {
        /// Where the byte, or any byte of its page, is in the file.
        pub index: u64,
        /// [`CLEAR_BYTE`], [`SEND_EVENT`], both or, to take it back, none.
        pub action: u32,
        /// The port.
        pub port: Port,
    }
}

/// What a [`Notify`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The page of the file.
    pub page: u64,
    /// The byte of it that becomes 0.
    pub clear: Option<usize>,
    /// The port that is notified.
    pub send: Option<Port>,
}

// CAST: `u64` is not smaller.
const SIZE: u64 = PAGE_SIZE as u64;

impl Notify {
    /// What it asks for; nothing if it has an action that is not known.
    pub fn wanted(&self) -> Option<Wanted> {
        if self.action & !(CLEAR_BYTE | SEND_EVENT) != 0 {
            return None;
        }
        // CAST: Below the size of a page.
        let byte = (self.index % SIZE) as usize;
        Some(Wanted {
            page: self.index / SIZE,
            clear: (self.action & CLEAR_BYTE != 0).then_some(byte),
            send: (self.action & SEND_EVENT != 0).then_some(self.port),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_known_and_a_byte_lies_in_its_page() {
        let notify = |index, action| Notify {
            index,
            action,
            port: Port(7),
        };
        let wanted = |page, clear, send| Some(Wanted { page, clear, send });
        assert_eq!(notify(0x5fff, 0).wanted(), wanted(5, None, None));
        assert_eq!(notify(0x5fff, 1).wanted(), wanted(5, Some(4095), None));
        assert_eq!(notify(0x6000, 2).wanted(), wanted(6, None, Some(Port(7))));
        let all = notify(u64::MAX, 3).wanted();
        assert_eq!(all, wanted(u64::MAX >> 12, Some(4095), Some(Port(7))));
        for action in [4, 7, u32::MAX] {
            assert_eq!(notify(0, action).wanted(), None);
        }
    }
}
